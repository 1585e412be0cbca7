//! One statement on its way to the engine, and one row on its way back.

use aip_storage::StorageError;
use aip_storage::query_stats::{self, QueryStats};
use sqlx::{Database, Decode, Encode, Row as _, Type};
use tokio::time::Instant;

use super::pool::Pool;
use super::pooled::{PooledConnection, in_time};
use super::{Db, DbConnection};
use crate::columns::Stored;
use crate::failure::DriverError;

/// A row as the driver gives it.
pub(crate) type Row = <Db as Database>::Row;

/// A statement with its values. Its text is fixed at compile time.
#[must_use = "a statement does nothing until it is run"]
pub(crate) struct Sql(sqlx::query::Query<'static, Db, <Db as Database>::Arguments>);

/// Begins a statement; `$1` is the first value bound.
pub(crate) fn sql(text: &'static str) -> Sql {
    metrics::counter!("aip_sql_statements_total").increment(1);
    Sql(sqlx::query(text))
}

/// The engine failed; what was asked may be asked again later.
pub(crate) fn unavailable(error: sqlx::Error) -> StorageError {
    StorageError::Unavailable(Box::new(DriverError::from(error)))
}

impl Sql {
    /// Binds the next value.
    pub(crate) fn bind<T>(self, value: &T) -> Self
    where
        T: Stored,
        T::Column: Encode<'static, Db> + Type<Db>,
    {
        Self(self.0.bind(value.to_column()))
    }

    /// Runs it for its effect; the number of rows it touched.
    pub(crate) async fn execute(self, on: impl Executor) -> Result<u64, StorageError> {
        let mut held = on.acquire().await.map_err(unavailable)?;
        let began = Instant::now();
        let DbConnection {
            driver,
            prepares_statements,
            statement_timeout,
        } = held.connection();
        let statement = self.0.persistent(*prepares_statements);
        let done = in_time(*statement_timeout, statement.execute(driver)).await;
        count(began);
        let done = held.finish(done).await.map_err(unavailable)?;
        Ok(done.rows_affected())
    }

    /// Its rows.
    pub(crate) async fn all(self, on: impl Executor) -> Result<Vec<Row>, StorageError> {
        let mut held = on.acquire().await.map_err(unavailable)?;
        let began = Instant::now();
        let DbConnection {
            driver,
            prepares_statements,
            statement_timeout,
        } = held.connection();
        let statement = self.0.persistent(*prepares_statements);
        let rows = in_time(*statement_timeout, statement.fetch_all(driver)).await;
        count(began);
        held.finish(rows).await.map_err(unavailable)
    }

    /// Its first row. The statement is run to its end all the same: a `RETURNING` that is left
    /// half-read would leave its write unfinished.
    pub(crate) async fn first(self, on: impl Executor) -> Result<Option<Row>, StorageError> {
        Ok(self.all(on).await?.into_iter().next())
    }
}

/// Where a statement can be run: on any connection that is free, or on one that is held already.
pub(crate) trait Executor: Send {
    /// The connection while the statement runs.
    type Acquired: Acquired;

    /// Gets it.
    fn acquire(self) -> impl Future<Output = Result<Self::Acquired, sqlx::Error>> + Send;
}

/// A connection for one statement.
pub(crate) trait Acquired: Send {
    /// The connection.
    fn connection(&mut self) -> &mut DbConnection;

    /// Takes the result of the statement.
    fn finish<T: Send>(
        &mut self,
        result: Result<T, sqlx::Error>,
    ) -> impl Future<Output = Result<T, sqlx::Error>> + Send;
}

impl Executor for &Pool {
    type Acquired = PooledConnection;

    fn acquire(self) -> impl Future<Output = Result<PooledConnection, sqlx::Error>> + Send {
        self.for_one_statement()
    }
}

impl<'c> Executor for &'c mut DbConnection {
    type Acquired = &'c mut DbConnection;

    async fn acquire(self) -> Result<&'c mut DbConnection, sqlx::Error> {
        Ok(self)
    }
}

impl Acquired for PooledConnection {
    fn connection(&mut self) -> &mut DbConnection {
        self
    }

    fn finish<T: Send>(
        &mut self,
        result: Result<T, sqlx::Error>,
    ) -> impl Future<Output = Result<T, sqlx::Error>> + Send {
        PooledConnection::finish(self, result)
    }
}

impl Acquired for &mut DbConnection {
    fn connection(&mut self) -> &mut DbConnection {
        self
    }

    /// The end of its transaction says so.
    async fn finish<T: Send>(&mut self, result: Result<T, sqlx::Error>) -> Result<T, sqlx::Error> {
        result
    }
}

/// Counts a statement that was sent at `began`, and has been answered.
fn count(began: Instant) {
    query_stats::add(QueryStats {
        statements: 1,
        execute_time: began.elapsed(),
        ..QueryStats::default()
    });
}

/// What rows hold. One that cannot be read is reported and left out: it must not take the others
/// with it.
pub(crate) fn readable<T>(rows: &[Row], read: impl Fn(&Row) -> Result<T, StorageError>) -> Vec<T> {
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
pub(crate) struct Fields<'r> {
    table: &'static str,
    name: String,
    row: &'r Row,
}

impl<'r> Fields<'r> {
    /// Reads `row` of `table`; `key` is the text column by which errors name the row.
    pub(crate) fn of(
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
    pub(crate) fn get<T>(&self, column: &'static str) -> Result<T, StorageError>
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
    pub(crate) fn inconsistent(&self, what: impl Into<String>) -> StorageError {
        StorageError::Inconsistent {
            table: self.table,
            row: self.name.clone(),
            what: what.into(),
        }
    }
}
