//! What the pool and the statements need of the driver of an engine.

use sqlx::database::HasStatementCache;
use sqlx::postgres::PgConnectOptions;
use sqlx::query::Query;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{Database, PgConnection, Postgres, Sqlite, SqliteConnection};

/// A statement with its values.
pub(crate) type Statement<D> =
    Query<'static, <D as Driver>::Engine, <<D as Driver>::Engine as Database>::Arguments>;

/// A row as the driver gives it.
pub(crate) type Row<D> = <<D as Driver>::Engine as Database>::Row;

/// A connection of an engine's driver. Nothing here has a time limit: callers set one.
pub(crate) trait Driver: Send + Sized + 'static {
    /// The engine in the terms of `sqlx`.
    type Engine: Database + HasStatementCache;
    /// Where and how to connect. May hold a password.
    type Options: Send + Sync + 'static;

    /// Connects.
    fn connect(options: &Self::Options) -> impl Future<Output = Result<Self, sqlx::Error>> + Send;

    /// Begins a transaction.
    fn begin(&mut self) -> impl Future<Output = Result<(), sqlx::Error>> + Send {
        self.run(Self::BEGIN)
    }

    /// Runs a text without values, which is not prepared.
    fn run(&mut self, text: &'static str) -> impl Future<Output = Result<(), sqlx::Error>> + Send;

    /// Runs a statement for its effect; the number of rows it touched.
    fn execute(
        &mut self,
        statement: Statement<Self>,
    ) -> impl Future<Output = Result<u64, sqlx::Error>> + Send;

    /// Runs a statement to its end; its rows.
    fn fetch_all(
        &mut self,
        statement: Statement<Self>,
    ) -> impl Future<Output = Result<Vec<Row<Self>>, sqlx::Error>> + Send;

    /// Asks whether the server answers.
    fn ping(&mut self) -> impl Future<Output = Result<(), sqlx::Error>> + Send;

    /// Tells the server that the connection ends.
    fn close(self) -> impl Future<Output = Result<(), sqlx::Error>> + Send;

    /// The statement that begins a transaction.
    const BEGIN: &'static str;
}

macro_rules! driver {
    ($connection:ty, $engine:ty, $options:ty, $begin:literal) => {
        impl Driver for $connection {
            type Engine = $engine;
            type Options = $options;

            const BEGIN: &'static str = $begin;

            async fn connect(options: &$options) -> Result<Self, sqlx::Error> {
                <Self as sqlx::Connection>::connect_with(options).await
            }

            async fn run(&mut self, text: &'static str) -> Result<(), sqlx::Error> {
                sqlx::Executor::execute(&mut *self, text).await.map(drop)
            }

            async fn execute(&mut self, statement: Statement<Self>) -> Result<u64, sqlx::Error> {
                let done = statement.execute(&mut *self).await?;
                Ok(done.rows_affected())
            }

            async fn fetch_all(
                &mut self,
                statement: Statement<Self>,
            ) -> Result<Vec<Row<Self>>, sqlx::Error> {
                statement.fetch_all(&mut *self).await
            }

            async fn ping(&mut self) -> Result<(), sqlx::Error> {
                sqlx::Connection::ping(self).await
            }

            async fn close(self) -> Result<(), sqlx::Error> {
                sqlx::Connection::close(self).await
            }
        }
    };
}

// At the isolation that the statements are written for, whatever the server's default.
driver!(
    PgConnection,
    Postgres,
    PgConnectOptions,
    "BEGIN ISOLATION LEVEL READ COMMITTED"
);
// Takes the write lock at once, because a lock that is taken at the first write can fail half-way.
driver!(
    SqliteConnection,
    Sqlite,
    SqliteConnectOptions,
    "BEGIN IMMEDIATE"
);
