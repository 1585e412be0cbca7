//! Notices between processes, by `LISTEN` and `NOTIFY`.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use aip_base::{Backoff, Rng, supervise};
use aip_storage::notices::{LocalNotices, Notice, Notices};
use async_trait::async_trait;
use futures_util::stream::{BoxStream, StreamExt as _};
use sqlx::Executor as _;
use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::PgStorage;
use super::statements::sql::sql;
use crate::failure::DriverError;

const CHANNEL: &str = "aip";

/// A connection that is silent for so long is asked whether it still lives: one that a firewall
/// has forgotten stays silent for ever.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);

/// How long connecting, or an answer to that question, may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Between attempts to listen again.
const RETRY_BACKOFF: Backoff = Backoff {
    base: Duration::from_millis(200),
    cap: Duration::from_secs(10),
};

/// Notices between all processes on a database. One connection of its own listens, for as long as
/// this or a stream of it lives. Behind a pooler of transactions nobody can listen.
pub(crate) struct PgNotices {
    store: PgStorage,
    received: LocalNotices,
    listening: Arc<JoinSet<()>>,
}

/// Why listening failed.
#[derive(Debug, thiserror::Error)]
enum ListenError {
    #[error("the connection was closed")]
    Closed,
    #[error("the connection is silent")]
    Silent,
    #[error(transparent)]
    Database(DriverError),
}

impl From<sqlx::Error> for ListenError {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error.into())
    }
}

impl PgNotices {
    /// Starts to listen.
    pub(super) fn new(store: PgStorage, rng: Arc<dyn Rng>) -> Self {
        let received = LocalNotices::default();
        let mut listening = JoinSet::new();
        if !store.pooled {
            let (options, heard) = (store.options.clone(), received.clone());
            listening.spawn(async move {
                let listen = || listen(options.clone(), &heard, &*rng);
                supervise("notices of other replicas", listen).await;
            });
        }
        Self {
            store,
            received,
            listening: Arc::new(listening),
        }
    }
}

#[async_trait]
impl Notices for PgNotices {
    async fn publish(&self, notice: &Notice) {
        let told = sql("SELECT pg_notify($1, $2)")
            .bind((&CHANNEL.to_owned(), &notice.to_text()))
            .execute(self.store.unfenced())
            .await;
        if let Err(error) = told {
            tracing::warn!(%error, "publishing a notice to the other replicas failed");
        }
    }

    fn subscribe(&self) -> BoxStream<'static, Notice> {
        let listening = Arc::clone(&self.listening);
        let received = self.received.subscribe();
        received
            .map(move |notice| {
                // The stream keeps alive what feeds it.
                let _ = &listening;
                notice
            })
            .boxed()
    }
}

/// Listens for ever, at another server once the database has been moved.
async fn listen(
    mut options: watch::Receiver<Arc<PgConnectOptions>>,
    received: &LocalNotices,
    rng: &dyn Rng,
) {
    let mut failures = 0;
    loop {
        let current = Arc::clone(&options.borrow_and_update());
        let error = tokio::select! {
            Err(error) = listen_once(&current, received, &mut failures) => error,
            Ok(()) = options.changed() => continue,
        };
        tracing::warn!(%error, "LISTEN connection lost, reconnecting");
        sleep(RETRY_BACKOFF.delay(failures, rng)).await;
        failures = failures.saturating_add(1);
    }
}

/// Listens until the connection fails.
async fn listen_once(
    options: &PgConnectOptions,
    received: &LocalNotices,
    failures: &mut u32,
) -> Result<Infallible, ListenError> {
    let own = PgPoolOptions::new()
        .max_connections(1)
        .acquire_timeout(ANSWER_TIMEOUT)
        .idle_timeout(None)
        .max_lifetime(None)
        .connect_lazy_with(options.clone());
    let mut listener = PgListener::connect_with(&own).await?;
    // A reconnect inside the listener would not be noticed here, nor backed off from.
    listener.eager_reconnect(false);
    listener.listen(CHANNEL).await?;
    *failures = 0;
    loop {
        match timeout(KEEPALIVE_INTERVAL, listener.try_recv()).await {
            Ok(Ok(Some(heard))) => {
                // What a newer release says is not for this one.
                if let Some(notice) = Notice::from_text(heard.payload()) {
                    received.broadcast(notice);
                }
            }
            Ok(Ok(None)) => return Err(ListenError::Closed),
            Ok(Err(error)) => return Err(error.into()),
            Err(_) => {
                timeout(ANSWER_TIMEOUT, listener.execute("SELECT 1"))
                    .await
                    .map_err(|_| ListenError::Silent)??;
            }
        }
    }
}
