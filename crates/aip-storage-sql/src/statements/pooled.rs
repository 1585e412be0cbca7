//! A connection in use, for one statement or one transaction, and the state in which it is returned
//! to the pool.

use std::io;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Duration;

use aip_storage::query_stats::{self, QueryStats};
use sqlx::Executor as _;
use tokio::runtime::Handle;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout};

use super::BEGIN;
use super::pool::{DbConnection, PoolInner, TEST};

/// A connection in use. It is returned to the pool on drop.
pub(crate) struct PooledConnection {
    pool: Arc<PoolInner>,
    created_at: Instant,
    state: State,
    /// Both are there until the drop.
    connection: Option<(DbConnection, OwnedSemaphorePermit)>,
}

/// The state in which a connection would be returned.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Its last statement was answered.
    Answered,
    /// Its user may have been cancelled while a statement was under way.
    Unknown,
    /// Likewise, and a transaction may be open.
    InTransaction,
    /// It failed.
    Broken,
}

/// A transaction. Dropped without [`Self::commit`], it is rolled back.
pub(crate) struct PooledTransaction(PooledConnection);

impl PooledConnection {
    pub(super) fn new(
        pool: Arc<PoolInner>,
        connection: DbConnection,
        created_at: Instant,
        permit: OwnedSemaphorePermit,
    ) -> Self {
        Self {
            pool,
            created_at,
            state: State::Unknown,
            connection: Some((connection, permit)),
        }
    }

    pub(super) async fn begin(&mut self) -> Result<(), sqlx::Error> {
        self.state = State::InTransaction;
        let began = Instant::now();
        let timeout = self.statement_timeout;
        in_time(timeout, self.driver.execute(BEGIN)).await?;
        took(began);
        Ok(())
    }

    async fn commit(&mut self) -> Result<(), sqlx::Error> {
        let began = Instant::now();
        let timeout = self.statement_timeout;
        in_time(timeout, self.driver.execute("COMMIT")).await?;
        took(began);
        self.state = State::Answered;
        Ok(())
    }

    /// Takes the result of the one statement for which this was acquired. Without that, the
    /// connection is tested before it is used again.
    pub(crate) async fn finish<T>(
        &mut self,
        result: Result<T, sqlx::Error>,
    ) -> Result<T, sqlx::Error> {
        match (&result, self.state) {
            (Ok(_), State::InTransaction) => self.commit().await?,
            (Ok(_), _) => self.state = State::Answered,
            (Err(error), State::Unknown) if is_reusable(error) => self.state = State::Answered,
            (Err(error), _) if !is_reusable(error) => self.state = State::Broken,
            (Err(_), _) => {}
        }
        result
    }
}

impl Deref for PooledConnection {
    type Target = DbConnection;

    #[allow(
        clippy::expect_used,
        reason = "taken by `drop` alone, after which nobody looks"
    )]
    fn deref(&self) -> &DbConnection {
        &self.connection.as_ref().expect("present until drop").0
    }
}

impl DerefMut for PooledConnection {
    #[allow(
        clippy::expect_used,
        reason = "taken by `drop` alone, after which nobody looks"
    )]
    fn deref_mut(&mut self) -> &mut DbConnection {
        &mut self.connection.as_mut().expect("present until drop").0
    }
}

impl Drop for PooledConnection {
    fn drop(&mut self) {
        let Some((connection, permit)) = self.connection.take() else {
            return;
        };
        let pool = Arc::clone(&self.pool);
        match self.state {
            State::Answered => pool.put_back(connection, self.created_at),
            State::Broken => pool.discard_idle(),
            State::Unknown | State::InTransaction => {
                let settling = recover(pool, connection, self.created_at, self.state, permit);
                // Without a runtime the process is ending, and the connection with it.
                if let Ok(runtime) = Handle::try_current() {
                    runtime.spawn(settling);
                }
                return;
            }
        }
        drop(permit);
        self.pool.report();
    }
}

/// Returns a connection whose last statement may not have ended.
async fn recover(
    pool: Arc<PoolInner>,
    mut connection: DbConnection,
    created_at: Instant,
    state: State,
    permit: OwnedSemaphorePermit,
) {
    let rolled_back = async {
        if state == State::InTransaction {
            // Refused if the engine has rolled back by itself: the test below decides.
            let _ = connection.driver.execute("ROLLBACK").await;
        }
        connection.answers().await
    };
    match timeout(TEST, rolled_back).await {
        Ok(true) => pool.put_back(connection, created_at),
        _ => pool.discard_idle(),
    }
    drop(permit);
    pool.report();
}

/// Whether a connection can be used after an error: the server answered, and neither closes the
/// connection (class 08, 57P) nor is read-only (25006: after a failover another server takes writes).
fn is_reusable(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(error) => !error.code().is_some_and(|code| {
            let closing = ["08", "57P", "25006"];
            closing.iter().any(|it| code.starts_with(it))
        }),
        _ => false,
    }
}

/// Counts the time since `began` as time in the database.
fn took(began: Instant) {
    query_stats::add(QueryStats {
        execute_time: began.elapsed(),
        ..QueryStats::default()
    });
}

impl Deref for PooledTransaction {
    type Target = DbConnection;

    fn deref(&self) -> &DbConnection {
        &self.0
    }
}

impl DerefMut for PooledTransaction {
    fn deref_mut(&mut self) -> &mut DbConnection {
        &mut self.0
    }
}

impl PooledTransaction {
    pub(super) async fn begin(mut connection: PooledConnection) -> Result<Self, sqlx::Error> {
        connection.begin().await?;
        Ok(Self(connection))
    }

    /// Commits.
    pub(crate) async fn commit(mut self) -> Result<(), sqlx::Error> {
        self.0.commit().await
    }
}

/// Runs `work` on a connection that cannot be used again when it takes longer than `patience`.
pub(crate) async fn in_time<T>(
    patience: Duration,
    work: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, sqlx::Error> {
    let late = || Err(sqlx::Error::Io(io::ErrorKind::TimedOut.into()));
    timeout(patience, work).await.unwrap_or_else(|_| late())
}
