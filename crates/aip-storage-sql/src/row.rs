//! One row on its way back from the engine.

use aip_storage::StorageError;
use sqlx::{ColumnIndex, Decode, Row, Type};

use crate::columns::Stored;

/// What rows hold. One that cannot be read is reported and left out: it must not take the others
/// with it.
pub(crate) fn readable<R, T>(rows: &[R], read: impl Fn(&R) -> Result<T, StorageError>) -> Vec<T> {
    let read = |row| match read(row) {
        Ok(value) => Some(value),
        Err(error) => {
            tracing::error!(%error, "skipping unreadable row");
            None
        }
    };
    rows.iter().filter_map(read).collect()
}

/// A row being read, with what an error must name.
pub(crate) struct Fields<'r, R> {
    table: &'static str,
    /// What the names of its columns begin with in this row.
    prefix: &'static str,
    name: String,
    row: &'r R,
}

impl<'r, R: Row> Fields<'r, R>
where
    for<'name> &'name str: ColumnIndex<R>,
{
    /// Reads `row` of `table`; `key` is the text column by which errors name the row.
    pub(crate) fn of(
        table: &'static str,
        key: &'static str,
        row: &'r R,
    ) -> Result<Self, StorageError>
    where
        String: Decode<'r, R::Database> + Type<R::Database>,
    {
        Self::prefixed("", table, key, row)
    }

    /// Likewise, where the names of all its columns begin with `prefix`: rows of two tables that
    /// were joined have columns of the same names.
    pub(crate) fn prefixed(
        prefix: &'static str,
        table: &'static str,
        key: &'static str,
        row: &'r R,
    ) -> Result<Self, StorageError>
    where
        String: Decode<'r, R::Database> + Type<R::Database>,
    {
        let mut fields = Self {
            table,
            prefix,
            name: String::new(),
            row,
        };
        fields.name = fields.get(key)?;
        Ok(fields)
    }

    /// The value of a column.
    pub(crate) fn get<T>(&self, column: &'static str) -> Result<T, StorageError>
    where
        T: Stored,
        T::Column: Decode<'r, R::Database> + Type<R::Database>,
    {
        let stored = if self.prefix.is_empty() {
            self.row.try_get(column).ok()
        } else {
            self.row.try_get(&*[self.prefix, column].concat()).ok()
        };
        stored
            .and_then(T::from_column)
            .ok_or_else(|| self.inconsistent(format!("column {column}")))
    }

    /// The error of a row that cannot be.
    pub(crate) fn inconsistent(&self, what: impl Into<String>) -> StorageError {
        StorageError::Inconsistent {
            table: self.table,
            row: self.name.clone(),
            what: what.into(),
        }
    }
}
