//! How connections are made, judged before they are used again, returned and discarded.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use aip_base::lock;
use deadpool::managed::{self, Metrics, Object, QueueMode, RecycleError, RecycleResult, WeakPool};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use super::config::PoolConfig;
use super::connection::Connection;
use super::driver::Driver;

/// The pause between attempts to connect to a server that is starting up.
const RECONNECT_PAUSE: Duration = Duration::from_millis(100);

/// The pool of the library.
pub(super) type Inner<D> = managed::Pool<Manager<D>>;

/// A connection of it in use.
pub(super) type InUse<D> = Object<Manager<D>>;

/// What the library asks for connections.
pub(crate) struct Manager<D: Driver> {
    server: Mutex<Server<D>>,
    pub(super) config: PoolConfig,
    /// A connection that was there before the pool, until it is in it.
    first: Mutex<Option<D>>,
    /// The pool that this serves, to discard its idle connections.
    pool: OnceLock<WeakPool<Self>>,
    /// Until the first connection is there, a refusal is reported at once.
    pub(super) connected_once: AtomicBool,
    /// Why the server refuses connections while it is starting up.
    refusal: Mutex<Option<sqlx::Error>>,
    pub(super) closing: AtomicBool,
    /// Notified for each connection that is returned or discarded while the pool closes.
    pub(super) released: Notify,
}

/// Where the pool connects to.
struct Server<D: Driver> {
    options: Arc<D::Options>,
    /// Whether statements may stay prepared there.
    prepares_statements: bool,
    /// Grows when the pool goes on to another server.
    number: u64,
}

impl<D: Driver> Manager<D> {
    /// A pool whose first connection is `first`, if there is one.
    pub(super) fn pool(
        options: D::Options,
        config: PoolConfig,
        first: Option<D>,
    ) -> Result<Inner<D>, sqlx::Error> {
        let manager = Self {
            server: Mutex::new(Server {
                options: Arc::new(options),
                prepares_statements: config.prepares_statements,
                number: 0,
            }),
            config,
            first: Mutex::new(first),
            pool: OnceLock::new(),
            connected_once: AtomicBool::new(false),
            refusal: Mutex::new(None),
            closing: AtomicBool::new(false),
            released: Notify::new(),
        };
        let pool = Inner::builder(manager)
            .max_size(config.max_connections as usize)
            // Last in, first out, so that surplus ones stay idle and are closed.
            .queue_mode(QueueMode::Lifo)
            .build()
            .map_err(|error| sqlx::Error::Configuration(error.into()))?;
        // It was empty until now.
        let _ = pool.manager().pool.set(pool.weak());
        Ok(pool)
    }

    /// Makes one connection, for the pool or apart from it.
    pub(super) async fn connect(&self) -> Result<Connection<D>, sqlx::Error> {
        let first = lock(&self.first).take();
        let (options, prepares_statements, server) = {
            let server = lock(&self.server);
            let options = Arc::clone(&server.options);
            (options, server.prepares_statements, server.number)
        };
        let driver = match first {
            Some(driver) => driver,
            None => D::connect(&options).await?,
        };
        let config = &self.config;
        Ok(Connection::new(driver, config, prepares_statements, server))
    }

    /// From now on another server: connections to the one before are not used again.
    pub(super) fn switch_to(&self, options: D::Options, prepares_statements: bool) {
        drop(lock(&self.first).take());
        let number = {
            let mut server = lock(&self.server);
            *server = Server {
                options: Arc::new(options),
                prepares_statements,
                number: server.number + 1,
            };
            server.number
        };
        self.keep_idle(|connection| connection.server == number);
    }

    /// Why the server refused the last attempt to connect while it was starting up, if it did.
    pub(super) fn take_refusal(&self) -> Option<sqlx::Error> {
        lock(&self.refusal).take()
    }

    fn note_refusal(&self, error: sqlx::Error) {
        *lock(&self.refusal) = Some(error);
    }

    /// Closes idle connections for which `keep` is false.
    fn keep_idle(&self, keep: impl Fn(&Connection<D>) -> bool) {
        if let Some(pool) = self.pool.get().and_then(WeakPool::upgrade) {
            // Dropped, they are closed.
            drop(pool.retain(|connection, _| keep(connection)));
        }
    }
}

impl<D: Driver> managed::Manager for Manager<D> {
    type Type = Connection<D>;
    type Error = sqlx::Error;

    /// Connects, again and again while the server is starting up. The caller sets the limit.
    async fn create(&self) -> Result<Connection<D>, sqlx::Error> {
        loop {
            match self.connect().await {
                Err(error) if starts_up(&error) && self.connected_once.load(Ordering::Acquire) => {
                    self.note_refusal(error);
                    sleep(RECONNECT_PAUSE).await;
                }
                done => {
                    if done.is_ok() {
                        drop(self.take_refusal());
                    }
                    return done;
                }
            }
        }
    }

    /// Refuses a connection that is too old, or does not answer. One that answered its last
    /// statement and was not idle for long is used as it is.
    async fn recycle(
        &self,
        connection: &mut Connection<D>,
        metrics: &Metrics,
    ) -> RecycleResult<sqlx::Error> {
        let PoolConfig {
            max_age,
            test_after_idle,
            ..
        } = self.config;
        if metrics.age() > max_age {
            self.keep_idle(|other| other.idle_since.elapsed() <= max_age);
            connection.close().await;
            return Err(RecycleError::message("the connection is too old"));
        }
        if connection.server != lock(&self.server).number {
            connection.close().await;
            return Err(RecycleError::message("the database is on another server"));
        }
        if connection.idle_since.elapsed() > test_after_idle && !connection.answers().await {
            self.keep_idle(|_| false);
            return Err(RecycleError::message("the connection does not answer"));
        }
        Ok(())
    }
}

/// Returns a connection that can be used again.
pub(super) fn put_back<D: Driver>(mut connection: InUse<D>) {
    connection.idle_since = Instant::now();
    let pool = Object::pool(&connection);
    drop(connection);
    if let Some(pool) = pool {
        after_release(&pool);
    }
}

/// Closes a connection that failed. The idle ones may have failed, too: there will be new ones.
pub(super) fn discard<D: Driver>(connection: InUse<D>) {
    let pool = Object::pool(&connection);
    drop(Object::take(connection));
    if let Some(pool) = pool {
        discard_idle(&pool);
        after_release(&pool);
    }
}

/// Closes the idle connections.
pub(super) fn discard_idle<D: Driver>(pool: &Inner<D>) {
    pool.manager().keep_idle(|_| false);
}

/// Sets the gauges of the pool.
pub(super) fn report<D: Driver>(pool: &Inner<D>) {
    let status = pool.status();
    let name = pool.manager().config.name;
    let in_use = status.size.saturating_sub(status.available);
    for (state, count) in [("lent", in_use), ("open", status.size)] {
        metrics::gauge!("aip_database_connections", "pool" => name, "state" => state)
            .set(u32::try_from(count).unwrap_or(u32::MAX));
    }
}

fn after_release<D: Driver>(pool: &Inner<D>) {
    report(pool);
    let manager = pool.manager();
    if manager.closing.load(Ordering::Acquire) {
        manager.released.notify_waiters();
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
