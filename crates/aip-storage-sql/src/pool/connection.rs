//! One connection, inside a transaction or not: its statements have a time limit and are counted.

use std::io;
use std::time::Duration;

use aip_base::{QueryStats, RequestNotes};
use tokio::time::{Instant, timeout};

use super::config::PoolConfig;
use super::driver::{Driver, Row, Statement};

/// How long a connection may take to prove that it still answers, or to close.
pub(super) const PING_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection, inside a transaction or not.
pub(crate) struct Connection<D> {
    /// `None` once it is closed.
    driver: Option<D>,
    /// Whether statements may stay prepared at the server.
    prepares_statements: bool,
    /// How long a statement may take.
    statement_timeout: Duration,
    /// Which of the servers that the pool had one after the other it leads to.
    pub(super) server: u64,
    /// When it was connected or last returned to the pool.
    pub(super) idle_since: Instant,
}

impl<D: Driver> Connection<D> {
    /// One that was just made.
    pub(super) fn new(
        driver: D,
        config: &PoolConfig,
        prepares_statements: bool,
        server: u64,
    ) -> Self {
        Self {
            driver: Some(driver),
            prepares_statements,
            server,
            statement_timeout: config.statement_timeout,
            idle_since: Instant::now(),
        }
    }

    /// The driver, for what has neither a time limit nor a place in the statistics: migrations.
    pub(crate) fn driver(&mut self) -> Result<&mut D, sqlx::Error> {
        self.driver.as_mut().ok_or(sqlx::Error::PoolClosed)
    }

    /// Whether statements may stay prepared at the server.
    pub(crate) fn prepares_statements(&self) -> bool {
        self.prepares_statements
    }

    /// Runs a statement for its effect; the number of rows it touched.
    pub(crate) async fn execute(&mut self, statement: Statement<D>) -> Result<u64, sqlx::Error> {
        let began = Instant::now();
        let statement = statement.persistent(self.prepares_statements);
        let limit = self.statement_timeout;
        let done = within(limit, self.driver()?.execute(statement)).await;
        count(1, began);
        done
    }

    /// Runs a statement to its end; its rows.
    pub(crate) async fn fetch_all(
        &mut self,
        statement: Statement<D>,
    ) -> Result<Vec<Row<D>>, sqlx::Error> {
        let began = Instant::now();
        let statement = statement.persistent(self.prepares_statements);
        let limit = self.statement_timeout;
        let rows = within(limit, self.driver()?.fetch_all(statement)).await;
        count(1, began);
        rows
    }

    /// Begins a transaction. Its time is counted, but it is no statement of the caller.
    pub(super) async fn begin(&mut self) -> Result<(), sqlx::Error> {
        let began = Instant::now();
        let limit = self.statement_timeout;
        within(limit, self.driver()?.begin()).await?;
        count(0, began);
        Ok(())
    }

    /// Ends a transaction with `COMMIT` or `ROLLBACK`. Counted like [`Self::begin`].
    pub(super) async fn end(&mut self, text: &'static str) -> Result<(), sqlx::Error> {
        let began = Instant::now();
        let limit = self.statement_timeout;
        within(limit, self.driver()?.run(text)).await?;
        count(0, began);
        Ok(())
    }

    /// Whether the server answers in time.
    pub(super) async fn answers(&mut self) -> bool {
        let Ok(driver) = self.driver() else {
            return false;
        };
        matches!(timeout(PING_TIMEOUT, driver.ping()).await, Ok(Ok(())))
    }

    /// Tells the server that the connection ends, if it listens.
    pub(crate) async fn close(&mut self) {
        if let Some(driver) = self.driver.take() {
            // It is gone either way.
            let _ = timeout(PING_TIMEOUT, driver.close()).await;
        }
    }
}

/// What `work` gives, or an error once `limit` has passed. The connection cannot be used again then.
async fn within<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, sqlx::Error> {
    let late = || Err(sqlx::Error::Io(io::ErrorKind::TimedOut.into()));
    timeout(limit, work).await.unwrap_or_else(|_| late())
}

/// Adds statements and the time since `began` to the statistics of the caller.
fn count(statements: u64, began: Instant) {
    RequestNotes::note_query(QueryStats {
        statements,
        execute_time: began.elapsed(),
        ..QueryStats::default()
    });
}
