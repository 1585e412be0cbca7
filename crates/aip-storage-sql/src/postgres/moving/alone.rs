//! One process at a time works on a move, and one that was overtaken changes nothing more.
//!
//! Each database has an advisory lock, held by a transaction of a connection of its own: not of the session, which
//! a pooler would give to others. Such a connection may end without its process noticing (a server that is
//! restarted, a network that fails, an administrator), and then another process gets the locks. So:
//!
//! 1. What writes shares a lock of the marker first, and then looks whether the advisory lock is still held
//!    ([`Worker::begin`]).
//! 2. Who gets the locks waits for those who share that of the marker, before it does anything.
//! 3. What others go by, that the target is open or the source is open again, is written by the transaction
//!    that holds the lock of that side: it is done by who holds it, or not at all.

use std::ops::{Deref, DerefMut};
use std::time::Duration;

use sqlx::{Connection as _, PgConnection, Postgres, Row as _, Transaction};
use tokio::time::{Instant, sleep};

use super::{DatabaseMove, MoveError, POLL_INTERVAL, WRITE, begin, if_there, open, source, target};
use crate::postgres::PgStorage;

/// The advisory lock of a move in its target: the letters `aip-move`.
const TARGET_LOCK_ID: i64 = i64::from_be_bytes(*b"aip-move");
/// That in its source, which two targets would share: the letters `aip-from`.
const SOURCE_LOCK_ID: i64 = i64::from_be_bytes(*b"aip-from");
/// How long the end of another process is waited for that has just been killed.
const LOCK_TIMEOUT: Duration = Duration::from_secs(5);

/// It begins the transaction that holds a lock, which is idle for as long as the move takes.
const BEGIN: &str =
    "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL idle_in_transaction_session_timeout = 0;
    SET LOCAL lock_timeout = '2s'";
/// By which the transaction is found that holds a lock; unique while the server runs.
const TRANSACTION: &str = "SELECT virtualtransaction FROM pg_catalog.pg_locks
    WHERE locktype = 'advisory' AND granted AND pid = pg_backend_pid()";
const IS_HELD: &str = "SELECT 1 FROM pg_catalog.pg_locks
    WHERE locktype = 'advisory' AND granted AND virtualtransaction = $1";
/// A lock that excludes [`WAIT_FOR_WRITERS`].
const SHARE_MARKER: &str = "SELECT id FROM aip_move WHERE id = $1 FOR SHARE";
const WAIT_FOR_WRITERS: &str = "SELECT id FROM aip_move FOR UPDATE";

/// Another process may have the lock by now.
#[derive(Debug, thiserror::Error)]
#[error("the lock of the move is lost")]
struct LockLost;

/// Whether a statement was not done because the lock was lost.
pub(super) fn is_lock_lost(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Configuration(error) if error.is::<LockLost>())
}

/// Connections of a process that works on a move alone.
pub(super) struct Workers {
    pub(super) source: Worker,
    pub(super) target: Worker,
}

/// A connection to one side, and the lock there. Reads go over the connection itself.
pub(super) struct Worker {
    connection: PgConnection,
    lock: Lock,
}

/// A lock, until it is dropped.
pub(super) struct Lock {
    connection: PgConnection,
    transaction: String,
}

impl Deref for Worker {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.connection
    }
}

impl DerefMut for Worker {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.connection
    }
}

impl DatabaseMove {
    /// Connections for work that nobody else does at the same time.
    pub(super) async fn workers(&self) -> Result<Workers, MoveError> {
        let of_target = Lock::take(&self.target, TARGET_LOCK_ID).await;
        let of_target = of_target.map_err(target)?.ok_or(MoveError::Busy)?;
        let of_source = Lock::take(&self.source, SOURCE_LOCK_ID).await;
        let of_source = of_source.map_err(source)?.ok_or(MoveError::Busy)?;
        let to = Worker::new(&self.target, of_target).await;
        let from = Worker::new(&self.source, of_source).await;
        Ok(Workers {
            source: from.map_err(source)?.ok_or(MoveError::Busy)?,
            target: to.map_err(target)?.ok_or(MoveError::Busy)?,
        })
    }
}

impl Workers {
    /// Ends the connections of the work, whatever is under way over them. The locks of source and target.
    pub(super) fn into_locks(self) -> (Lock, Lock) {
        (self.source.lock, self.target.lock)
    }
}

impl Worker {
    /// None while somebody writes who had the lock before.
    async fn new(storage: &PgStorage, lock: Lock) -> Result<Option<Self>, sqlx::Error> {
        let mut connection = open(storage).await?;
        let mut tx = connection.begin_with(WRITE).await?;
        let millis = LOCK_TIMEOUT.as_millis().to_string();
        sqlx::query("SELECT set_config('lock_timeout', $1, true)")
            .bind(millis)
            .execute(&mut *tx)
            .await?;
        let waited = sqlx::query(WAIT_FOR_WRITERS).execute(&mut *tx).await;
        let is_over = match if_there(waited) {
            Ok(_) => true,
            // lock_not_available
            Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("55P03") => false,
            Err(error) => return Err(error),
        };
        tx.rollback().await?;
        Ok(is_over.then_some(Self { connection, lock }))
    }

    /// Begins a transaction of the move `id` that writes, which only the holder of the lock does.
    pub(super) async fn begin(
        &mut self,
        id: &str,
    ) -> Result<Transaction<'_, Postgres>, sqlx::Error> {
        let mut tx = begin(&mut self.connection, id, WRITE).await?;
        let marker = sqlx::query(SHARE_MARKER)
            .bind(id.to_owned())
            .fetch_optional(&mut *tx)
            .await;
        if if_there(marker)?.flatten().is_none() {
            return Err(lock_lost());
        }
        self.lock.require_held(&mut tx).await?;
        Ok(tx)
    }

    /// The same where the marker is yet to be made.
    pub(super) async fn begin_unmarked(
        &mut self,
        id: &str,
    ) -> Result<Transaction<'_, Postgres>, sqlx::Error> {
        let mut tx = begin(&mut self.connection, id, WRITE).await?;
        self.lock.require_held(&mut tx).await?;
        Ok(tx)
    }

    /// The lock, whose transaction is to be ended by a change that others go by.
    pub(super) fn lock(&mut self) -> &mut Lock {
        &mut self.lock
    }
}

impl Lock {
    /// None if another process keeps it.
    async fn take(storage: &PgStorage, id: i64) -> Result<Option<Self>, sqlx::Error> {
        let mut connection = open(storage).await?;
        sqlx::raw_sql(BEGIN).execute(&mut connection).await?;
        let deadline = Instant::now() + LOCK_TIMEOUT;
        loop {
            let row = sqlx::query("SELECT pg_try_advisory_xact_lock($1)")
                .bind(id)
                .fetch_one(&mut connection)
                .await?;
            if row.try_get(0)? {
                let row = sqlx::query(TRANSACTION).fetch_one(&mut connection).await?;
                let transaction = row.try_get(0)?;
                return Ok(Some(Self {
                    connection,
                    transaction,
                }));
            }
            if Instant::now() > deadline {
                return Ok(None);
            }
            sleep(POLL_INTERVAL).await;
        }
    }

    async fn require_held(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        let held = sqlx::query(IS_HELD)
            .bind(self.transaction.clone())
            .fetch_optional(connection)
            .await?;
        held.map(drop).ok_or_else(lock_lost)
    }

    /// Changes the marker of the move `id`, in the transaction that holds the lock: it is seen when that is
    /// committed. `change` has the id as `$1`.
    pub(super) async fn change_marker(
        &mut self,
        change: &'static str,
        id: &str,
    ) -> Result<(), sqlx::Error> {
        let changed = sqlx::query(change)
            .bind(id.to_owned())
            .execute(&mut self.connection)
            .await?;
        if changed.rows_affected() == 0 {
            return Err(lock_lost());
        }
        Ok(())
    }

    /// Ends the transaction: others see what it has changed, and may get the lock.
    pub(super) async fn commit(&mut self) -> Result<(), sqlx::Error> {
        sqlx::raw_sql("COMMIT")
            .execute(&mut self.connection)
            .await
            .map(drop)
    }
}

fn lock_lost() -> sqlx::Error {
    sqlx::Error::Configuration(Box::new(LockLost))
}
