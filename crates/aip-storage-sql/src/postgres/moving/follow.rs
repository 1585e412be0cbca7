//! A server that knows where its database is being moved: it holds writes in the pause, and goes on at the
//! target once that is open.

use std::sync::Arc;
use std::time::Duration;

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
struct Switches {
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
        let there = look_once(&next).await;
        let there = there.map_err(|error| FollowError::Next(error.into()))?;
        if let Some(there) = &there
            && there.state == "live"
        {
            let here = look_once(&connect_options(url)?).await;
            // A server that was switched off meanwhile has nothing to say.
            if here.is_ok_and(|here| here.is_none_or(|here| here.id != there.id)) {
                return Err(FollowError::AnotherMove);
            }
            tracing::info!("the database was moved: using the one of database.next_url");
            return Ok(Self::connect_with(next, options).await?);
        }
        let mut storage = Self::connect(url, options).await?;
        let here = look_once(&connect_options(url)?).await.ok().flatten();
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
        let switches = Switches {
            pool: storage.connections.clone(),
            gate,
            readable,
            options: sender,
        };
        storage.connections = storage.connections.behind(is_readable);
        let mut task = JoinSet::new();
        task.spawn(follow(next, here, switches));
        storage.following = Some(Arc::new(Following { _task: task }));
        Ok(storage)
    }
}

/// Follows until the target is used.
async fn follow(next: PgConnectOptions, mut here: Option<Marker>, switches: Switches) {
    let current = Arc::clone(&switches.options.borrow());
    let mut connection = None;
    loop {
        let looked = look(&next, &mut connection).await;
        match looked {
            Ok(Some(there)) if there.state == "live" => {
                if here.as_ref().is_none_or(|it| it.id != there.id) {
                    here = look_once(&current).await.ok().flatten();
                }
                if here.as_ref().is_some_and(|it| it.id == there.id) {
                    match go_on_at(&next, &switches).await {
                        Ok(()) => return,
                        Err(error) => {
                            let error = DriverError::from(error);
                            tracing::warn!(%error, "connecting to the moved database failed, retrying");
                        }
                    }
                }
            }
            Ok(there) => {
                switches
                    .gate
                    .send_replace(!there.is_some_and(|it| it.is_fenced));
            }
            Err(_) => {
                // It may be unreachable for long, and the move may be over without it.
                connection = None;
                // Then what is here is history, which must not be told as the present.
                if let Ok(here) = look_once(&current).await {
                    let is_moved = here.is_some_and(|it| it.state == "moved");
                    switches.readable.send_replace(!is_moved);
                }
                switches.gate.send_replace(true);
                sleep(RETRY_INTERVAL).await;
            }
        }
        sleep(FOLLOW_INTERVAL).await;
    }
}

/// Uses the target from now on.
async fn go_on_at(next: &PgConnectOptions, switches: &Switches) -> Result<(), sqlx::Error> {
    let watched = timeout(ACQUIRE_TIMEOUT, pooler::watch(next))
        .await
        .unwrap_or(Err(sqlx::Error::PoolTimedOut))?;
    let options = if watched.multiplexed {
        next.clone().statement_cache_capacity(0)
    } else {
        next.clone()
    };
    switches.gate.send_replace(false);
    switches
        .pool
        .go_on_at(options.clone(), !watched.multiplexed);
    switches.options.send_replace(Arc::new(options));
    switches.readable.send_replace(true);
    // Until every server has looked: one that reads the source would not know what is written here.
    sleep(FOLLOW_INTERVAL * 2).await;
    switches.gate.send_replace(true);
    tracing::info!("the database was moved: using the one of database.next_url");
    Ok(())
}

/// The marker at a server, by a connection that is kept.
async fn look(
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

async fn look_once(options: &PgConnectOptions) -> Result<Option<Marker>, sqlx::Error> {
    let mut connection = None;
    let found = look(options, &mut connection).await;
    if let Some(connection) = connection {
        // It is gone either way.
        let _ = connection.close().await;
    }
    found
}
