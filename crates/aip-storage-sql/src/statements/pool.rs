//! The connection pool: few connections, kept open, each used by one statement or transaction at a
//! time.
//!
//! Own code in place of `sqlx::Pool` (0.9.0, read in November 2026): that pings every connection on release,
//! which cannot be switched off (`test_before_acquire` covers acquiring only), so it doubles the round
//! trips where nearly every request is one statement; and the ping has no time limit, so that a silent
//! peer keeps a permit for ever (sqlx issues #4349, #4363, #4146). Here a connection that answered its
//! last statement is returned as it is; any other one is tested in the background, and closed if that
//! fails.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aip_storage::query_stats::{self, QueryStats};
use sqlx::{Connection, Database};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::Db;
use super::pooled::{PooledConnection, PooledTransaction};

type Driver = <Db as Database>::Connection;
type Options = <Driver as Connection>::Options;

/// Between attempts to connect to a server that is starting up.
const RECONNECT: Duration = Duration::from_millis(100);
/// How long a connection may take to prove that it still answers.
pub(super) const TEST: Duration = Duration::from_secs(5);

/// The limits and timeouts of a pool.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PoolConfig {
    /// The `pool` label in metrics.
    pub(crate) name: &'static str,
    /// The most connections open at a time.
    pub(crate) max_connections: u32,
    /// How long a caller waits for a connection.
    pub(crate) acquire_timeout: Duration,
    /// Older ones are replaced, and those that were not needed for so long are closed.
    pub(crate) max_age: Duration,
    /// One that was idle for longer is tested before it is used.
    pub(crate) test_after_idle: Duration,
    /// How long a statement may take; then its connection is closed.
    pub(crate) statement_timeout: Duration,
    /// Off behind a pooler that gives each transaction another connection to the server. Then
    /// every statement is prepared anew, in the transaction in which it runs.
    pub(crate) prepares_statements: bool,
}

/// A connection, inside a transaction or not.
pub(crate) struct DbConnection {
    pub(crate) driver: Driver,
    /// Whether statements may stay prepared at the server.
    pub(crate) prepares_statements: bool,
    /// How long a statement may take.
    pub(crate) statement_timeout: Duration,
}

/// The connections, shared by clones.
#[derive(Clone)]
pub(crate) struct Pool(Arc<PoolInner>);

pub(super) struct PoolInner {
    options: Options,
    config: PoolConfig,
    /// One for each connection that may be in use.
    permits: Arc<Semaphore>,
    /// Last in, first out, so that surplus ones stay idle and are closed.
    idle: Mutex<Vec<Idle>>,
    closed: AtomicBool,
}

struct Idle {
    connection: DbConnection,
    created_at: Instant,
    since: Instant,
}

impl Pool {
    /// Connects once, so that what is wrong is known at once and as it is.
    pub(crate) async fn open(options: Options, config: PoolConfig) -> Result<Self, sqlx::Error> {
        let first = DbConnection::connect(&options, config);
        let connection = timeout(config.acquire_timeout, first)
            .await
            .map_err(|_| sqlx::Error::PoolTimedOut)??;
        let pool = PoolInner {
            options,
            config,
            permits: Arc::new(Semaphore::new(config.max_connections as usize)),
            idle: Mutex::default(),
            closed: AtomicBool::new(false),
        };
        pool.put_back(connection, Instant::now());
        Ok(Self(Arc::new(pool)))
    }

    /// Acquires a connection, waiting for one if all are in use.
    pub(crate) async fn acquire(&self) -> Result<PooledConnection, sqlx::Error> {
        let began = Instant::now();
        let pool = &self.0;
        let connection = pool.get(began + pool.config.acquire_timeout).await?;
        let waited = began.elapsed();
        metrics::histogram!("aip_database_wait_seconds", "pool" => pool.config.name)
            .record(waited.as_secs_f64());
        pool.report();
        query_stats::add(QueryStats {
            acquire_time: waited,
            ..QueryStats::default()
        });
        Ok(connection)
    }

    /// Acquires a connection for one statement.
    pub(crate) async fn for_one_statement(&self) -> Result<PooledConnection, sqlx::Error> {
        let mut connection = self.acquire().await?;
        if !connection.prepares_statements {
            connection.begin().await?;
        }
        Ok(connection)
    }

    /// Begins a transaction.
    pub(crate) async fn begin(&self) -> Result<PooledTransaction, sqlx::Error> {
        PooledTransaction::begin(self.acquire().await?).await
    }

    /// Refuses further use, waits until all are returned, and closes them.
    pub(crate) async fn close(&self) {
        let pool = &self.0;
        pool.closed.store(true, Ordering::Release);
        // An error says that somebody else has done this.
        let Ok(_all) = pool.permits.acquire_many(pool.config.max_connections).await else {
            return;
        };
        let idle = std::mem::take(&mut *pool.idle());
        for it in idle {
            // It is gone either way.
            let _ = it.connection.driver.close().await;
        }
        pool.permits.close();
    }
}

impl PoolInner {
    async fn get(self: &Arc<Self>, deadline: Instant) -> Result<PooledConnection, sqlx::Error> {
        let permit = timeout_at(deadline, Arc::clone(&self.permits).acquire_owned())
            .await
            .map_err(|_| sqlx::Error::PoolTimedOut)?
            .map_err(|_| sqlx::Error::PoolClosed)?;
        if self.closed.load(Ordering::Acquire) {
            return Err(sqlx::Error::PoolClosed);
        }
        let (connection, created_at) = match self.take_idle().await {
            Some(found) => found,
            None => (self.connect(deadline).await?, Instant::now()),
        };
        Ok(PooledConnection::new(
            Arc::clone(self),
            connection,
            created_at,
            permit,
        ))
    }

    /// An idle connection that is good.
    async fn take_idle(&self) -> Option<(DbConnection, Instant)> {
        loop {
            // A statement of its own: the lock must not be held over the test.
            let next = self.idle().pop();
            let mut idle = next?;
            if idle.created_at.elapsed() > self.config.max_age {
                // It is gone either way.
                let _ = timeout(TEST, idle.connection.driver.close()).await;
            } else if idle.since.elapsed() <= self.config.test_after_idle
                || idle.connection.answers().await
            {
                return Some((idle.connection, idle.created_at));
            } else {
                self.discard_idle();
            }
        }
    }

    /// Connects, again and again while the server is starting up.
    async fn connect(&self, deadline: Instant) -> Result<DbConnection, sqlx::Error> {
        loop {
            let attempt = timeout_at(deadline, DbConnection::connect(&self.options, self.config))
                .await
                .map_err(|_| sqlx::Error::PoolTimedOut)?;
            match attempt {
                Err(error) if starts_up(&error) && Instant::now() + RECONNECT < deadline => {
                    sleep(RECONNECT).await;
                }
                done => return done,
            }
        }
    }

    /// Returns a connection that can be used again.
    pub(super) fn put_back(&self, connection: DbConnection, created_at: Instant) {
        let mut idle = self.idle();
        let now = Instant::now();
        idle.push(Idle {
            connection,
            created_at,
            since: now,
        });
        // The oldest is first. Dropped, it is closed.
        if now.duration_since(idle[0].since) > self.config.max_age {
            idle.remove(0);
        }
    }

    /// One connection has failed, and the others may have, too: there will be new ones.
    pub(super) fn discard_idle(&self) {
        self.idle().clear();
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn report(&self) {
        let (pool, max_connections) = (self.config.name, self.config.max_connections as usize);
        let acquired = max_connections.saturating_sub(self.permits.available_permits());
        let open = acquired + self.idle().len();
        for (state, count) in [("lent", acquired), ("open", open)] {
            metrics::gauge!("aip_database_connections", "pool" => pool, "state" => state)
                .set(u32::try_from(count).unwrap_or(u32::MAX));
        }
    }
}

impl DbConnection {
    async fn connect(options: &Options, config: PoolConfig) -> Result<Self, sqlx::Error> {
        Ok(Self {
            driver: Driver::connect_with(options).await?,
            prepares_statements: config.prepares_statements,
            statement_timeout: config.statement_timeout,
        })
    }

    pub(super) async fn answers(&mut self) -> bool {
        matches!(timeout(TEST, self.driver.ping()).await, Ok(Ok(())))
    }
}

/// Whether a server refuses connections because it is starting up, or has too many just now.
fn starts_up(error: &sqlx::Error) -> bool {
    match error {
        // On a Unix socket, a server that is away is a file that is not there.
        sqlx::Error::Io(error) => matches!(
            error.kind(),
            io::ErrorKind::ConnectionRefused
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::NotFound
        ),
        sqlx::Error::Database(error) => {
            matches!(error.code().as_deref(), Some("57P03" | "53300"))
        }
        _ => false,
    }
}

impl fmt::Debug for Pool {
    /// Without the options, which hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Connections").field(&self.0.config).finish()
    }
}
