//! One statement on its way to the engine, and one row on its way back.

use aip_storage::StorageError;
use sqlx::{Database, Decode, Encode, Executor, Row as _, Type};

use super::Db;
use crate::columns::Stored;

/// A row as the driver gives it.
pub(in super::super) type Row = <Db as Database>::Row;

/// A statement with its values. Its text is fixed at compile time.
#[must_use = "a statement does nothing until it is run"]
pub(in super::super) struct Sql(sqlx::query::Query<'static, Db, <Db as Database>::Arguments>);

/// Begins a statement; `$1` is the first value bound.
pub(in super::super) fn sql(text: &'static str) -> Sql {
    metrics::counter!("aip_sql_statements_total").increment(1);
    Sql(sqlx::query(text))
}

/// The engine failed; what was asked may be asked again later.
pub(in super::super) fn unavailable(error: sqlx::Error) -> StorageError {
    StorageError::Unavailable(Box::new(error))
}

impl Sql {
    /// Binds the next value.
    pub(in super::super) fn bind<T>(self, value: &T) -> Self
    where
        T: Stored,
        T::Column: Encode<'static, Db> + Type<Db>,
    {
        Self(self.0.bind(value.to_column()))
    }

    /// Runs it for its effect; the number of rows it touched.
    pub(in super::super) async fn execute<'c>(
        self,
        on: impl Executor<'c, Database = Db>,
    ) -> Result<u64, StorageError> {
        Ok(self
            .0
            .execute(on)
            .await
            .map_err(unavailable)?
            .rows_affected())
    }

    /// Its rows.
    pub(in super::super) async fn all<'c>(
        self,
        on: impl Executor<'c, Database = Db>,
    ) -> Result<Vec<Row>, StorageError> {
        self.0.fetch_all(on).await.map_err(unavailable)
    }

    /// Its first row. The statement is run to its end all the same: a `RETURNING` that is left
    /// half-read would leave its write unfinished.
    pub(in super::super) async fn first<'c>(
        self,
        on: impl Executor<'c, Database = Db>,
    ) -> Result<Option<Row>, StorageError> {
        Ok(self.all(on).await?.into_iter().next())
    }
}

/// A row being read, with what an error must name.
pub(in super::super) struct Fields<'r> {
    table: &'static str,
    name: String,
    row: &'r Row,
}

impl<'r> Fields<'r> {
    /// Reads `row` of `table`; `key` is the text column by which errors name the row.
    pub(in super::super) fn of(
        table: &'static str,
        key: &'static str,
        row: &'r Row,
    ) -> Result<Self, StorageError> {
        let mut fields = Self {
            table,
            name: String::new(),
            row,
        };
        fields.name = fields.get(key)?;
        Ok(fields)
    }

    /// The value of a column.
    pub(in super::super) fn get<T>(&self, column: &'static str) -> Result<T, StorageError>
    where
        T: Stored,
        T::Column: Decode<'r, Db> + Type<Db>,
    {
        let stored = self.row.try_get(column).ok();
        stored
            .and_then(T::from_column)
            .ok_or_else(|| self.inconsistent(format!("column {column}")))
    }

    /// The error of a row that cannot be.
    pub(in super::super) fn inconsistent(&self, what: impl Into<String>) -> StorageError {
        StorageError::Inconsistent {
            table: self.table,
            row: self.name.clone(),
            what: what.into(),
        }
    }
}
