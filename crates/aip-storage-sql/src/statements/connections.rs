//! The connections to a database: few, kept open, and lent to one statement or transaction at a
//! time.
//!
//! `sqlx` has a pool, which tests every connection that comes back with a round trip of its own.
//! Nearly every request is one statement here, so that doubled what a request costs the database.
//! Here a connection that answered its last statement goes back as it is; any other one is tested
//! in the background, and closed if that fails.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aip_storage::tally::{self, Tally};
use sqlx::{Connection, Database};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::Db;
use super::lent::{Lent, UnitOfWork};

type Driver = <Db as Database>::Connection;
type Options = <Driver as Connection>::Options;

/// Between attempts to connect to a server that is starting up.
const RECONNECT: Duration = Duration::from_millis(100);
/// How long a connection may take to prove that it still answers.
pub(super) const TEST: Duration = Duration::from_secs(5);

/// How many connections there are, and how they are looked after.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Care {
    /// Their name in metrics.
    pub(in super::super) name: &'static str,
    /// The most of them.
    pub(in super::super) most: u32,
    /// How long somebody waits for one.
    pub(in super::super) patience: Duration,
    /// Older ones are replaced, and those that were not needed for so long are closed.
    pub(in super::super) max_age: Duration,
    /// One that idled longer is tested before it is lent.
    pub(in super::super) tested_after: Duration,
    /// How long a statement may take; then its connection is given up.
    pub(in super::super) statement: Duration,
    /// Off behind a pooler that gives each transaction another connection to the server. Then
    /// every statement is prepared anew, in the transaction in which it runs.
    pub(in super::super) keeps_statements: bool,
}

/// A connection, inside a transaction or not.
pub(in super::super) struct Conn {
    pub(in super::super) driver: Driver,
    /// Whether statements may stay prepared at the server.
    pub(in super::super) keeps_statements: bool,
    /// How long a statement may take.
    pub(in super::super) patience: Duration,
}

/// The connections, shared by clones.
#[derive(Clone)]
pub(in super::super) struct Connections(Arc<Home>);

pub(super) struct Home {
    options: Options,
    care: Care,
    /// One for each connection that may be lent.
    permits: Arc<Semaphore>,
    /// The one that was used last is lent first, so that surplus ones are noticed.
    idle: Mutex<Vec<Idle>>,
    closed: AtomicBool,
}

struct Idle {
    connection: Conn,
    born: Instant,
    since: Instant,
}

impl Connections {
    /// Connects once, so that what is wrong is known at once and as it is.
    pub(in super::super) async fn open(options: Options, care: Care) -> Result<Self, sqlx::Error> {
        let first = Conn::connect(&options, care);
        let connection = timeout(care.patience, first)
            .await
            .map_err(|_| sqlx::Error::PoolTimedOut)??;
        let home = Home {
            options,
            care,
            permits: Arc::new(Semaphore::new(care.most as usize)),
            idle: Mutex::default(),
            closed: AtomicBool::new(false),
        };
        home.keep(connection, Instant::now());
        Ok(Self(Arc::new(home)))
    }

    /// Borrows a connection, waiting for one if all are lent.
    pub(in super::super) async fn acquire(&self) -> Result<Lent, sqlx::Error> {
        let began = Instant::now();
        let home = &self.0;
        let lent = home.lend(began + home.care.patience).await?;
        let waited = began.elapsed();
        metrics::histogram!("aip_database_wait_seconds", "pool" => home.care.name)
            .record(waited.as_secs_f64());
        home.report();
        tally::add(Tally {
            waited,
            ..Tally::default()
        });
        Ok(lent)
    }

    /// Borrows a connection for one statement.
    pub(in super::super) async fn for_one_statement(&self) -> Result<Lent, sqlx::Error> {
        let mut lent = self.acquire().await?;
        if !lent.keeps_statements {
            lent.begin().await?;
        }
        Ok(lent)
    }

    /// Begins a transaction.
    pub(in super::super) async fn begin(&self) -> Result<UnitOfWork, sqlx::Error> {
        UnitOfWork::begin(self.acquire().await?).await
    }

    /// Lends no more, waits until all are back, and closes them.
    pub(in super::super) async fn close(&self) {
        let home = &self.0;
        home.closed.store(true, Ordering::Release);
        // An error says that somebody else has done this.
        let Ok(_all) = home.permits.acquire_many(home.care.most).await else {
            return;
        };
        let idle = std::mem::take(&mut *home.idle());
        for it in idle {
            // It is gone either way.
            let _ = it.connection.driver.close().await;
        }
        home.permits.close();
    }
}

impl Home {
    async fn lend(self: &Arc<Self>, deadline: Instant) -> Result<Lent, sqlx::Error> {
        let permit = timeout_at(deadline, Arc::clone(&self.permits).acquire_owned())
            .await
            .map_err(|_| sqlx::Error::PoolTimedOut)?
            .map_err(|_| sqlx::Error::PoolClosed)?;
        if self.closed.load(Ordering::Acquire) {
            return Err(sqlx::Error::PoolClosed);
        }
        let (connection, born) = match self.idle_one().await {
            Some(found) => found,
            None => (self.connect(deadline).await?, Instant::now()),
        };
        Ok(Lent::new(Arc::clone(self), connection, born, permit))
    }

    /// An idle connection that is good.
    async fn idle_one(&self) -> Option<(Conn, Instant)> {
        loop {
            // A statement of its own: the lock must not be held over the test.
            let next = self.idle().pop();
            let mut idle = next?;
            if idle.born.elapsed() > self.care.max_age {
                // It is gone either way.
                let _ = timeout(TEST, idle.connection.driver.close()).await;
            } else if idle.since.elapsed() <= self.care.tested_after
                || idle.connection.answers().await
            {
                return Some((idle.connection, idle.born));
            } else {
                self.start_over();
            }
        }
    }

    /// Connects, again and again while the server is starting up.
    async fn connect(&self, deadline: Instant) -> Result<Conn, sqlx::Error> {
        loop {
            let attempt = timeout_at(deadline, Conn::connect(&self.options, self.care))
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

    /// Takes a connection back that can be lent again.
    pub(super) fn keep(&self, connection: Conn, born: Instant) {
        let mut idle = self.idle();
        let now = Instant::now();
        idle.push(Idle {
            connection,
            born,
            since: now,
        });
        // The oldest is first. Dropped, it is closed.
        if now.duration_since(idle[0].since) > self.care.max_age {
            idle.remove(0);
        }
    }

    /// One connection has failed, and the others may have, too: there will be new ones.
    pub(super) fn start_over(&self) {
        self.idle().clear();
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn report(&self) {
        let (pool, most) = (self.care.name, self.care.most as usize);
        let lent = most.saturating_sub(self.permits.available_permits());
        let open = lent + self.idle().len();
        for (state, count) in [("lent", lent), ("open", open)] {
            metrics::gauge!("aip_database_connections", "pool" => pool, "state" => state)
                .set(u32::try_from(count).unwrap_or(u32::MAX));
        }
    }
}

impl Conn {
    async fn connect(options: &Options, care: Care) -> Result<Self, sqlx::Error> {
        Ok(Self {
            driver: Driver::connect_with(options).await?,
            keeps_statements: care.keeps_statements,
            patience: care.statement,
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

impl fmt::Debug for Connections {
    /// Without the options, which hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Connections").field(&self.0.care).finish()
    }
}
