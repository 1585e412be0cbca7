//! A server that knows where its database is being moved: it holds writes in the pause, and goes on at the
//! target once that is open.

use std::sync::Arc;
use std::time::Duration;

use aip_base::supervise;
use secrecy::SecretString;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection as _, PgConnection};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::super::{ACQUIRE_TIMEOUT, connect_options, pooler};
use super::{Marker, marker};
use crate::failure::DriverError;
use crate::pool::Pool;
use crate::postgres::{ConnectPgError, Driver, PgOptions, PgStorage};

/// How often the target is looked at.
pub(super) const FOLLOW_INTERVAL: Duration = Duration::from_millis(250);
/// After a failure.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// The task that follows a move; it ends when this is dropped.
pub(in super::super) struct Following {
    _task: JoinSet<()>,
}

/// A database with two URLs that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// The database itself.
    #[error(transparent)]
    Connect(#[from] ConnectPgError),
    /// The next one is in use, and by another move.
    #[error(
        "database.next_url (AIP_DATABASE_NEXT_URL) leads to a database that was not moved from that of \
         database.url: remove it, or name the one that `aip database move copy` was given"
    )]
    AnotherMove,
    /// The database was moved, and the next one is not where it went.
    #[error(
        "the database of database.url was moved, and database.next_url (AIP_DATABASE_NEXT_URL) does not lead to where: \
         make the URL of the database that is in use AIP_DATABASE_URL"
    )]
    Moved,
    /// The next one cannot be reached: this server would be cut off by the switch.
    #[error(
        "cannot connect to the database of database.next_url (AIP_DATABASE_NEXT_URL): {0}: mend that, or remove the \
         setting if no move is under way"
    )]
    Next(#[source] DriverError),
}

/// What the task changes.
struct PoolHandles {
    pool: Pool<Driver>,
    gate: watch::Sender<bool>,
    /// The gate of those who read.
    readable: watch::Sender<bool>,
    options: watch::Sender<Arc<PgConnectOptions>>,
}

impl PgStorage {
    /// Connects to the database at `url`, which is moved to `next`: to `next` itself if the move is complete;
    /// otherwise it goes on there as soon as it is.
    pub async fn connect_following(
        url: &SecretString,
        next: &SecretString,
        options: PgOptions,
    ) -> Result<Self, FollowError> {
        let next = connect_options(next)?;
        let there = read_marker_once(&next).await;
        let there = there.map_err(|error| FollowError::Next(error.into()))?;
        if let Some(there) = &there
            && there.state == "live"
        {
            let here = read_marker_once(&connect_options(url)?).await;
            // A server that was switched off meanwhile has nothing to say.
            if here.is_ok_and(|here| here.is_none_or(|here| here.id != there.id)) {
                return Err(FollowError::AnotherMove);
            }
            tracing::info!("the database was moved: using the one of database.next_url");
            return Ok(Self::connect_with(next, options).await?);
        }
        let mut storage = Self::connect(url, options).await?;
        let here = read_marker_once(&connect_options(url)?)
            .await
            .ok()
            .flatten();
        let is_moved = here.as_ref().is_some_and(|here| here.state == "moved");
        // Between the closing of the one and the opening of the other there is only to wait.
        if is_moved && here.as_ref().map(|it| &it.id) != there.as_ref().map(|it| &it.id) {
            return Err(FollowError::Moved);
        }
        let (gate, is_open) = watch::channel(true);
        let (readable, is_readable) = watch::channel(true);
        let (sender, receiver) = watch::channel(Arc::clone(&storage.options.borrow()));
        storage.writers = storage.connections.behind(is_open);
        storage.options = receiver;
        let handles = PoolHandles {
            pool: storage.connections.clone(),
            gate,
            readable,
            options: sender,
        };
        storage.connections = storage.connections.behind(is_readable);
        let mut task = JoinSet::new();
        task.spawn(async move {
            let follow = || follow(&next, &handles);
            supervise("move of the database", follow).await;
        });
        storage.following = Some(Arc::new(Following { _task: task }));
        Ok(storage)
    }
}

/// Follows until the target is used.
async fn follow(next: &PgConnectOptions, handles: &PoolHandles) {
    let current = Arc::clone(&handles.options.borrow());
    let mut connection = None;
    let mut source = Source::default();
    loop {
        let Ok(there) = read_marker(next, &mut connection).await else {
            // It may be unreachable for long, and the move may be over without it.
            connection = None;
            source.update_readable(&current, None, handles).await;
            handles.gate.send_replace(true);
            sleep(RETRY_INTERVAL + FOLLOW_INTERVAL).await;
            continue;
        };
        let id = there.as_ref().map_or("", |it| &it.id);
        if source.settled.as_deref() != Some(id) {
            source.update_readable(&current, Some(id), handles).await;
        }
        if there.as_ref().is_some_and(|it| it.state == "live") {
            if source.moves_to.as_deref() == Some(id) {
                match switch_to(next, handles).await {
                    Ok(()) => return,
                    Err(error) => {
                        let error = DriverError::from(error);
                        tracing::warn!(%error, "connecting to the moved database failed, retrying");
                    }
                }
            }
        } else {
            let is_fenced = there.as_ref().is_some_and(|it| it.is_fenced);
            handles.gate.send_replace(!is_fenced);
        }
        sleep(FOLLOW_INTERVAL).await;
    }
}

/// What the source says of itself.
#[derive(Default)]
struct Source {
    /// The id of the move that it is part of, when it was last looked at.
    moves_to: Option<String>,
    /// The id at the target (empty: none) with which there is no need to look again: that of the same move,
    /// or any while the source is part of none. It becomes part of one before the target does.
    settled: Option<String>,
}

impl Source {
    /// Reads the marker of the source, and lets nobody read the source if it was moved to a database that is not
    /// the target any more, or cannot be reached (`target_id` is none): then what is here is history, which must
    /// not be given as the present.
    async fn update_readable(
        &mut self,
        current: &PgConnectOptions,
        target_id: Option<&str>,
        handles: &PoolHandles,
    ) {
        self.settled = None;
        let Ok(here) = read_marker_once(current).await else {
            return;
        };
        let is_moved = here.as_ref().is_some_and(|it| it.state == "moved");
        self.moves_to = here.map(|it| it.id);
        let fits = match (&self.moves_to, target_id) {
            (_, None) => false,
            (None, Some(_)) => true,
            (Some(here), Some(there)) => here == there,
        };
        if fits {
            self.settled = target_id.map(str::to_owned);
        }
        let is_readable = fits || !is_moved;
        if handles.readable.send_replace(is_readable) && !is_readable {
            tracing::error!(
                "the database was moved, and database.next_url does not lead to where it is in use: nothing \
                 is read until it does"
            );
        }
    }
}

/// Uses the target from now on.
async fn switch_to(next: &PgConnectOptions, handles: &PoolHandles) -> Result<(), sqlx::Error> {
    let watched = timeout(ACQUIRE_TIMEOUT, pooler::probe(next))
        .await
        .unwrap_or(Err(sqlx::Error::PoolTimedOut))?;
    let options = if watched.multiplexed {
        next.clone().statement_cache_capacity(0)
    } else {
        next.clone()
    };
    handles.gate.send_replace(false);
    handles
        .pool
        .switch_to(options.clone(), !watched.multiplexed);
    handles.options.send_replace(Arc::new(options));
    handles.readable.send_replace(true);
    // Until every server has looked: one that reads the source would not know what is written here.
    sleep(FOLLOW_INTERVAL * 2).await;
    handles.gate.send_replace(true);
    tracing::info!("the database was moved: using the one of database.next_url");
    Ok(())
}

/// The marker at a server, by a connection that is kept.
async fn read_marker(
    options: &PgConnectOptions,
    connection: &mut Option<PgConnection>,
) -> Result<Option<Marker>, sqlx::Error> {
    let looking = async {
        if connection.is_none() {
            let options = options.clone().statement_cache_capacity(0);
            *connection = Some(PgConnection::connect_with(&options).await?);
        }
        match connection {
            Some(connection) => {
                let mut tx = connection.begin().await?;
                let found = marker(&mut tx).await;
                tx.rollback().await?;
                found
            }
            None => Ok(None),
        }
    };
    timeout(ACQUIRE_TIMEOUT, looking)
        .await
        .unwrap_or(Err(sqlx::Error::PoolTimedOut))
}

async fn read_marker_once(options: &PgConnectOptions) -> Result<Option<Marker>, sqlx::Error> {
    let mut connection = None;
    let found = read_marker(options, &mut connection).await;
    if let Some(connection) = connection {
        // It is gone either way.
        let _ = connection.close().await;
    }
    found
}
