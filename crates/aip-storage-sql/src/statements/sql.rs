//! One statement on its way to the engine, and one row on its way back.

use aip_storage::StorageError;
use aip_storage::tally::{self, Tally};
use sqlx::{Database, Decode, Encode, Row as _, Type};
use tokio::time::Instant;

use super::connections::Connections;
use super::lent::{Lent, in_time};
use super::{Conn, Db};
use crate::columns::Stored;
use crate::failure::DriverError;

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
    StorageError::Unavailable(Box::new(DriverError::from(error)))
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
    pub(in super::super) async fn execute(self, on: impl Lane) -> Result<u64, StorageError> {
        let mut held = on.hold().await.map_err(unavailable)?;
        let began = Instant::now();
        let Conn {
            driver,
            keeps_statements,
            patience,
        } = held.connection();
        let statement = self.0.persistent(*keeps_statements);
        let done = in_time(*patience, statement.execute(driver)).await;
        count(began);
        let done = held.answered(done).await.map_err(unavailable)?;
        Ok(done.rows_affected())
    }

    /// Its rows.
    pub(in super::super) async fn all(self, on: impl Lane) -> Result<Vec<Row>, StorageError> {
        let mut held = on.hold().await.map_err(unavailable)?;
        let began = Instant::now();
        let Conn {
            driver,
            keeps_statements,
            patience,
        } = held.connection();
        let statement = self.0.persistent(*keeps_statements);
        let rows = in_time(*patience, statement.fetch_all(driver)).await;
        count(began);
        held.answered(rows).await.map_err(unavailable)
    }

    /// Its first row. The statement is run to its end all the same: a `RETURNING` that is left
    /// half-read would leave its write unfinished.
    pub(in super::super) async fn first(self, on: impl Lane) -> Result<Option<Row>, StorageError> {
        Ok(self.all(on).await?.into_iter().next())
    }
}

/// Where a statement can be run: on any connection that is free, or on one that is held already.
pub(in super::super) trait Lane: Send {
    /// The connection while the statement runs.
    type Held: Held;

    /// Gets it.
    fn hold(self) -> impl Future<Output = Result<Self::Held, sqlx::Error>> + Send;
}

/// A connection for one statement.
pub(in super::super) trait Held: Send {
    /// The connection.
    fn connection(&mut self) -> &mut Conn;

    /// Hears how the statement ended.
    fn answered<T: Send>(
        &mut self,
        result: Result<T, sqlx::Error>,
    ) -> impl Future<Output = Result<T, sqlx::Error>> + Send;
}

impl Lane for &Connections {
    type Held = Lent;

    fn hold(self) -> impl Future<Output = Result<Lent, sqlx::Error>> + Send {
        self.for_one_statement()
    }
}

impl<'c> Lane for &'c mut Conn {
    type Held = &'c mut Conn;

    async fn hold(self) -> Result<&'c mut Conn, sqlx::Error> {
        Ok(self)
    }
}

impl Held for Lent {
    fn connection(&mut self) -> &mut Conn {
        self
    }

    fn answered<T: Send>(
        &mut self,
        result: Result<T, sqlx::Error>,
    ) -> impl Future<Output = Result<T, sqlx::Error>> + Send {
        Lent::answered(self, result)
    }
}

impl Held for &mut Conn {
    fn connection(&mut self) -> &mut Conn {
        self
    }

    /// The end of its transaction says so.
    async fn answered<T: Send>(
        &mut self,
        result: Result<T, sqlx::Error>,
    ) -> Result<T, sqlx::Error> {
        result
    }
}

/// Counts a statement that was sent at `began`, and has been answered.
fn count(began: Instant) {
    tally::add(Tally {
        statements: 1,
        took: began.elapsed(),
        ..Tally::default()
    });
}

/// What rows hold. One that cannot be read is reported and left out: it must not take the others
/// with it.
pub(in super::super) fn readable<T>(
    rows: &[Row],
    read: impl Fn(&Row) -> Result<T, StorageError>,
) -> Vec<T> {
    let read = |row| match read(row) {
        Ok(value) => Some(value),
        Err(error) => {
            tracing::error!(%error, "a row is left out");
            None
        }
    };
    rows.iter().filter_map(read).collect()
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
