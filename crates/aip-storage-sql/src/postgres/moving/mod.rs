//! Moving the database to another PostgreSQL server while AIP runs on it.
//!
//! Triggers in the source note the keys of rows that are written, so that neither rights of replication nor
//! `wal_level` are needed, nor a way from one server to the other: the process that moves talks to both.
//!
//! 1. **Copy** (`copy`): the target gets the schema, the source the triggers. Each table is copied in one
//!    transaction, which ends when both sides have the same digest of it; then the noted rows, again and again.
//!    A row is read when its note is applied, so that applying a note twice does no harm, and a process that
//!    was killed is followed by another.
//! 2. **Switch** (`switch`): servers that follow the move hold their writes; a trigger in the source refuses
//!    those of all others. The last notes are applied, rows are counted and the noted ones compared, the
//!    source is closed, the target is opened. The pause ends by itself after [`MAX_PAUSE`]: whoever is killed in it
//!    leaves a source that is written again. The source is closed only while its fence holds, and opened again
//!    if it cannot be followed by the target in time.
//! 3. **Follow** (`follow`): servers that know both URLs go on at the target as soon as it is open. Sessions
//!    whose refresh was under way are stored there: leases, fences and journal are copied like all else.
//! 4. **Finish** (`finish`): references between tables are checked, and what the move needed is removed.
//!    The source refuses writes for ever, so that no server with an old configuration forks the history.
//!
//! Until the target is opened, `cancel` is the way back. From the first step on to the last neither side is
//! migrated (`migrations`).

mod alone;
mod changes;
mod check;
mod copy;
mod finish;
mod follow;
mod install;
mod migrations;
mod switch;
mod tables;

use std::time::Duration;

use aip_base::Rng;
use async_trait::async_trait;
use secrecy::SecretString;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection as _, PgConnection, Postgres, Row as _, Transaction};
use strum::{Display, EnumIter};

use self::alone::{Worker, Workers};
pub use self::follow::FollowError;
pub(super) use self::follow::Following;
pub(super) use self::migrations::require_no_move;
use super::{ConnectPgError, PgOptions, PgStorage};
use crate::failure::DriverError;
use crate::schema::SchemaError;

/// The longest time that writes are paused.
pub const MAX_PAUSE: Duration = Duration::from_secs(10);
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// A move between two databases.
#[derive(Debug)]
pub struct DatabaseMove {
    source: PgStorage,
    target: PgStorage,
    /// The longest time that writes are paused.
    pause: Duration,
}

/// A point between two steps, in their order. A process may be killed at each of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Display, EnumIter)]
#[strum(serialize_all = "kebab-case")]
pub enum MovePoint {
    /// Both databases were found fit; nothing was changed.
    Checked,
    /// The source notes what is written.
    SourcePrepared,
    /// The target has the schema and refuses writes.
    TargetPrepared,
    /// One table is copied.
    TableCopied,
    /// All tables are copied.
    Copied,
    /// Few notes are left.
    Followed,
    /// Servers hold their writes.
    Announced,
    /// The source refuses writes for some seconds.
    Fenced,
    /// Every note is applied.
    Drained,
    /// Both sides hold the same, and references are in force at the target.
    Compared,
    /// The source refuses writes for ever; the target is not open yet.
    SourceClosed,
    /// The target is open.
    Live,
    /// `finish`: the source keeps only what refuses writes.
    SourceCleaned,
    /// `finish`: every reference was checked.
    Validated,
}

/// Told how far a move is.
#[async_trait]
pub trait MoveObserver: Send + Sync {
    /// It is between two steps; it goes on when this returns.
    async fn reached(&self, point: MovePoint);

    /// So many bytes of all tables were read.
    fn copied(&self, bytes: u64);
}

/// How far a move is, by what both databases say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MoveState {
    /// There is none.
    None,
    /// Tables are being copied.
    Copying,
    /// All tables are copied; the source goes on to be used.
    Copied,
    /// The source is closed and the target is not open: `switch` opens it.
    Closed,
    /// The target is used.
    Live,
    /// The target is used, and nothing of the move is left there.
    Finished,
}

/// How far a move is, with figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MoveStatus {
    /// The state.
    pub state: MoveState,
    /// Tables that are copied.
    pub copied: u64,
    /// Tables there are.
    pub tables: u64,
    /// Notes of rows that are yet to be copied again.
    pub behind: u64,
    /// The size of the source, in bytes.
    pub bytes: u64,
}

/// What a switch did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SwitchResult {
    /// From the moment at which servers held their writes to that at which the target was open.
    pub paused: Duration,
    /// Rows of all tables.
    pub rows: u64,
}

/// A move did not go on. Unless the variant says more, the source is used as before.
#[derive(Debug, thiserror::Error)]
pub enum MoveError {
    /// No connection.
    #[error(transparent)]
    Connect(#[from] ConnectPgError),
    /// The schema of one of them.
    #[error(transparent)]
    Schema(#[from] SchemaError),
    /// The source failed.
    #[error("the database to move: {0}")]
    Source(#[source] DriverError),
    /// The target failed.
    #[error("the database to move to: {0}")]
    Target(#[source] DriverError),
    /// One of them is not fit; nothing was changed. Each line names the fault and what mends it.
    #[error("nothing was changed: {}", .0.join("; "))]
    Refused(Vec<String>),
    /// Another process works on the same move.
    #[error(
        "another process works on this move: wait for it, or end it and try again after some seconds"
    )]
    Busy,
    /// Another process may have gone on with the move.
    #[error(
        "the connections ended that keep other processes from this move, so this one changes nothing more: \
         `aip database move status` says how far it is; then try again"
    )]
    Overtaken,
    /// There is nothing to switch.
    #[error("the tables are not copied yet: run `aip database move copy` first")]
    NotCopied,
    /// The schema of the source was changed since the copy.
    #[error(
        "the other database lacks migrations that the one to move has got since the copy. Nothing was switched: \
         `aip database move cancel`, then copy again"
    )]
    SchemaChanged,
    /// There is nothing to finish.
    #[error("the other database is not in use yet: run `aip database move switch` first")]
    NotLive,
    /// There is no way back of this kind.
    #[error(
        "the other database is in use and has what was written since: the way back is a move in the other direction"
    )]
    IsLive,
    /// The sides differ.
    #[error(
        "{table} differs: {source_rows} row(s) in the database to move, {target_rows} in the other one, or other \
         content. Nothing was switched: `aip database move cancel`, then copy again"
    )]
    Differs {
        /// The table.
        table: String,
        /// Rows of the source.
        source_rows: i64,
        /// Rows of the target.
        target_rows: i64,
    },
    /// What had to be done in the pause took too long.
    #[error(
        "writes would have been paused for more than {} s, so they go on in the database to move: try again at a \
         time with fewer writes, or on faster servers; if much was written since the copy, \
         `aip database move cancel` and then `aip database move run`", .0.as_secs()
    )]
    PauseTooLong(Duration),
}

fn source(error: sqlx::Error) -> MoveError {
    if alone::is_lock_lost(&error) {
        return MoveError::Overtaken;
    }
    MoveError::Source(error.into())
}

fn target(error: sqlx::Error) -> MoveError {
    if alone::is_lock_lost(&error) {
        return MoveError::Overtaken;
    }
    MoveError::Target(error.into())
}

/// What one of the databases says of the move it is part of.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Marker {
    id: String,
    state: String,
    /// Whether writes are paused.
    is_fenced: bool,
}

impl DatabaseMove {
    /// Connects to both.
    pub async fn connect(from: &SecretString, to: &SecretString) -> Result<Self, MoveError> {
        let options = PgOptions {
            pool_size: 2,
            ..PgOptions::default()
        };
        Ok(Self {
            source: PgStorage::connect(from, options).await?,
            target: PgStorage::connect(to, options).await?,
            pause: MAX_PAUSE,
        })
    }

    /// The same with a shorter pause.
    #[must_use]
    pub fn pausing_at_most(self, pause: Duration) -> Self {
        Self {
            pause: pause.min(MAX_PAUSE),
            ..self
        }
    }

    /// How far it is. Changes nothing.
    pub async fn status(&self) -> Result<MoveStatus, MoveError> {
        let mut from = open(&self.source).await.map_err(source)?;
        let mut to = open(&self.target).await.map_err(target)?;
        let here = begun(marker(&mut from).await.map_err(source)?);
        let there = marker(&mut to).await.map_err(target)?;
        let there = there.filter(|it| here.as_ref().is_some_and(|here| here.id == it.id));
        let copied = query_number(&mut to, "SELECT count(*) FROM aip_move_tables").await;
        let copied = if_there(copied).map_err(target)?;
        let size = "SELECT pg_database_size(current_database())";
        let mut status = MoveStatus {
            state: MoveState::None,
            copied: copied.unwrap_or(0),
            tables: 0,
            behind: 0,
            bytes: query_number(&mut from, size).await.map_err(source)?,
        };
        let here = here.as_ref().map(|it| (&*it.id, &*it.state));
        let there = there.as_ref().map(|it| (&*it.id, &*it.state));
        status.state = match (here, there) {
            (_, Some((_, "live"))) if copied.is_none() => MoveState::Finished,
            (_, Some((_, "live"))) => MoveState::Live,
            (Some((_, "moved")), _) => MoveState::Closed,
            (None, _) => MoveState::None,
            (Some(_), _) => MoveState::Copying,
        };
        if status.state == MoveState::Copying {
            let notes = "SELECT count(*) FROM aip_move_changes";
            let notes = if_there(query_number(&mut from, notes).await).map_err(source)?;
            status.behind = notes.unwrap_or(0);
            if there.is_some() {
                let tables = tables::tables(&mut to).await.map_err(target)?;
                status.tables = u64::try_from(tables.len()).unwrap_or(u64::MAX);
                if status.tables > 0 && status.copied == status.tables {
                    status.state = MoveState::Copied;
                }
            }
        }
        Ok(status)
    }
}

/// A connection of its own. Nothing is kept prepared, which a pooler would not keep either.
async fn open(storage: &PgStorage) -> Result<PgConnection, sqlx::Error> {
    let options: PgConnectOptions = (**storage.options.borrow()).clone();
    PgConnection::connect_with(&options.statement_cache_capacity(0)).await
}

/// Begins a transaction of the move `id`, which may write where others may not, and takes the time it needs.
async fn begin<'c>(
    connection: &'c mut PgConnection,
    id: &str,
    begin: &'static str,
) -> Result<Transaction<'c, Postgres>, sqlx::Error> {
    let mut tx = connection.begin_with(begin).await?;
    sqlx::query(
        "SELECT set_config('aip.move', $1, true), set_config('bytea_output', 'hex', true),
            set_config('statement_timeout', '0', true),
            set_config('idle_in_transaction_session_timeout', '0', true)",
    )
    .bind(id.to_owned())
    .execute(&mut *tx)
    .await?;
    Ok(tx)
}

/// A transaction at the isolation that the statements are written for.
const WRITE: &str = "BEGIN ISOLATION LEVEL READ COMMITTED";

async fn query_number(
    connection: &mut PgConnection,
    query: &'static str,
) -> Result<u64, sqlx::Error> {
    let row = sqlx::query(query).fetch_one(connection).await?;
    let number: i64 = row.try_get(0)?;
    Ok(u64::try_from(number).unwrap_or(0))
}

/// The marker of a database; none if it is part of no move.
async fn marker(connection: &mut PgConnection) -> Result<Option<Marker>, sqlx::Error> {
    let row = sqlx::query(
        "SELECT id, state, coalesce(fenced_until > clock_timestamp(), false) AS is_fenced FROM aip_move",
    )
    .fetch_optional(connection)
    .await;
    let Some(Some(row)) = if_there(row)? else {
        return Ok(None);
    };
    Ok(Some(Marker {
        id: row.try_get("id")?,
        state: row.try_get("state")?,
        is_fenced: row.try_get("is_fenced")?,
    }))
}

/// The marker of a move from this database; that of a move to it, which came to its end, is none.
fn begun(marker: Option<Marker>) -> Option<Marker> {
    marker.filter(|it| it.state != "live")
}

/// None if a table does not exist: SQLSTATE 42P01.
fn if_there<T>(result: Result<T, sqlx::Error>) -> Result<Option<T>, sqlx::Error> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("42P01") => Ok(None),
        Err(error) => Err(error),
    }
}

impl DatabaseMove {
    /// Finds both fit for a move, or says what is not. Changes nothing.
    pub async fn check(&self) -> Result<(), MoveError> {
        check::check(self).await
    }

    /// Begins the move or goes on with it: copies all tables, and then what was written meanwhile, until
    /// little is left.
    pub async fn copy(&self, observer: &dyn MoveObserver, rng: &dyn Rng) -> Result<(), MoveError> {
        copy::copy(self, observer, rng).await
    }

    /// Pauses writes, copies the rest, compares, and opens the target.
    pub async fn switch(&self, observer: &dyn MoveObserver) -> Result<SwitchResult, MoveError> {
        switch::switch(self, observer).await
    }

    /// Removes what the move needed.
    pub async fn finish(&self, observer: &dyn MoveObserver) -> Result<(), MoveError> {
        finish::finish(self, observer).await
    }

    /// Gives the move up: the source is as before, the target empty.
    pub async fn cancel(&self) -> Result<(), MoveError> {
        finish::cancel(self).await
    }
}
