//! The one error of storage: every expected refusal is an outcome, not an error.

/// Storage could not answer.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// The database is away, full, read-only or too slow. Worth a retry later (503).
    #[error("the database does not answer: {0}")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A row that no version of this program writes. That row alone is unusable.
    #[error("row {row} of table {table} is not readable: {what}")]
    Inconsistent {
        /// The SQL name of the table.
        table: &'static str,
        /// The row's key; never a secret.
        row: String,
        /// What is wrong with it, without the value.
        what: String,
    },
}

impl StorageError {
    /// The row `row` of `table` is not readable: `what`, without the value.
    pub fn inconsistent(
        table: &'static str,
        row: &dyn std::fmt::Display,
        what: impl Into<String>,
    ) -> Self {
        Self::Inconsistent {
            table,
            row: row.to_string(),
            what: what.into(),
        }
    }
}

/// As much as an error repeats of a URI that somebody else wrote: at most 200 characters, no control characters.
pub(crate) fn uri_excerpt(uri: &str) -> String {
    uri.chars().filter(|c| !c.is_control()).take(200).collect()
}
