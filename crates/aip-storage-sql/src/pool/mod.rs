//! The connection pool: few connections, kept open, each used by one statement or transaction at a
//! time.
//!
//! `deadpool` holds the connections and the queue of callers, first come, first served. What it
//! cannot know is here: in which state a connection comes back (`guard`), and when one is tested
//! (`manager`). A connection that answered its last statement is returned as it is; any other one is
//! tested in the background, and closed if that fails. A connection that fails takes the idle ones
//! with it.
//!
//! `sqlx::Pool` (0.9.0, read in November 2026) cannot do that: it pings every connection on release,
//! which cannot be switched off (`test_before_acquire` covers acquiring only), so it doubles the
//! round trips where nearly every request is one statement; and the ping has no time limit, so that a
//! silent peer keeps a permit for ever (sqlx issues #4349 and #4146, pull request #4363).

use std::fmt;
use std::pin::pin;
use std::sync::atomic::Ordering;

use aip_base::{QueryStats, RequestNotes};
use deadpool::managed::PoolError;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use self::manager::{Inner, Manager, discard_idle, report};

mod config;
mod connection;
mod driver;
mod guard;
mod manager;

pub(crate) use self::config::PoolConfig;
pub(crate) use self::connection::Connection;
pub(crate) use self::driver::{Driver, Row, Statement};
pub(crate) use self::guard::{PooledConnection, PooledTransaction};

/// The connections, shared by clones.
pub(crate) struct Pool<D: Driver> {
    inner: Inner<D>,
    /// While this is false, callers wait.
    gate: Option<watch::Receiver<bool>>,
}

impl<D: Driver> Pool<D> {
    /// Connects once, so that what is wrong is known at once and as it is.
    pub(crate) async fn open(options: D::Options, config: PoolConfig) -> Result<Self, sqlx::Error> {
        Self::open_with(options, config, None).await
    }

    /// As [`Self::open`]; `first` is a connection that was made with the same options already, and
    /// saves the attempt.
    pub(crate) async fn open_with(
        options: D::Options,
        config: PoolConfig,
        first: Option<D>,
    ) -> Result<Self, sqlx::Error> {
        let pool = Self {
            inner: Manager::pool(options, config, first)?,
            gate: None,
        };
        pool.acquire().await?.answered();
        let manager = pool.inner.manager();
        manager.connected_once.store(true, Ordering::Release);
        Ok(pool)
    }

    /// The same connections for callers who wait while `gate` is false, at most as long as for a
    /// connection.
    pub(crate) fn behind(&self, gate: watch::Receiver<bool>) -> Self {
        Self {
            inner: self.inner.clone(),
            gate: Some(gate),
        }
    }

    /// From now on connections to another server.
    pub(crate) fn switch_to(&self, options: D::Options, prepares_statements: bool) {
        let manager = self.inner.manager();
        manager.switch_to(options, prepares_statements);
    }

    /// Acquires a connection, waiting for one if all are in use.
    pub(crate) async fn acquire(&self) -> Result<PooledConnection<D>, sqlx::Error> {
        let began = Instant::now();
        let manager = self.inner.manager();
        if let Some(gate) = &self.gate {
            let mut gate = gate.clone();
            let opened = gate.wait_for(|open| *open);
            // Nobody is left who would open it: then it is open.
            if timeout(manager.config.acquire_timeout, opened)
                .await
                .is_err()
            {
                return Err(sqlx::Error::PoolTimedOut);
            }
        }
        let connection = match timeout(manager.config.acquire_timeout, self.inner.get()).await {
            Ok(Ok(connection)) => PooledConnection::new(connection),
            Ok(Err(PoolError::Backend(error))) => return Err(error),
            Ok(Err(PoolError::Closed)) => return Err(sqlx::Error::PoolClosed),
            Ok(Err(_)) => return Err(sqlx::Error::PoolTimedOut),
            Err(_) => {
                // Perhaps one was being tested and is silent; then the others may be, too.
                discard_idle(&self.inner);
                return Err(manager.take_refusal().unwrap_or(sqlx::Error::PoolTimedOut));
            }
        };
        if manager.closing.load(Ordering::Acquire) {
            return Err(sqlx::Error::PoolClosed);
        }
        let waited = began.elapsed();
        metrics::histogram!("aip_database_wait_seconds", "pool" => manager.config.name)
            .record(waited.as_secs_f64());
        report(&self.inner);
        RequestNotes::note_query(QueryStats {
            acquire_time: waited,
            ..QueryStats::default()
        });
        Ok(connection)
    }

    /// Acquires a connection for one statement.
    pub(crate) async fn for_one_statement(&self) -> Result<PooledConnection<D>, sqlx::Error> {
        let mut connection = self.acquire().await?;
        if !connection.prepares_statements() {
            connection.begin().await?;
        }
        Ok(connection)
    }

    pub(crate) async fn begin(&self) -> Result<PooledTransaction<D>, sqlx::Error> {
        PooledTransaction::begin(self.acquire().await?).await
    }

    /// A connection outside the pool, which does not count among its connections.
    pub(crate) async fn connect_apart(&self) -> Result<Connection<D>, sqlx::Error> {
        let manager = self.inner.manager();
        timeout(manager.config.acquire_timeout, manager.connect())
            .await
            .map_err(|_| sqlx::Error::PoolTimedOut)?
    }

    /// Refuses further use, waits until all are returned, and closes them.
    pub(crate) async fn close(&self) {
        let manager = self.inner.manager();
        manager.closing.store(true, Ordering::Release);
        loop {
            let mut released = pin!(manager.released.notified());
            // From here on no release is missed.
            released.as_mut().enable();
            for mut idle in self.inner.retain(|_, _| false).removed {
                idle.close().await;
            }
            if self.inner.status().size == 0 {
                break;
            }
            released.await;
        }
        self.inner.close();
    }
}

impl<D: Driver> Clone for Pool<D> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            gate: self.gate.clone(),
        }
    }
}

impl<D: Driver> fmt::Debug for Pool<D> {
    /// Without the options, which hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let config = &self.inner.manager().config;
        f.debug_tuple("Pool").field(config).finish()
    }
}

#[cfg(test)]
mod tests;
