//! The accept loop of one listener, from bind to drained.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;

use crate::connection::{self, HttpService};
use crate::networks::{ConnectionSlot, Networks};
use crate::{ListenConfig, Tls};

/// The pause after `accept` failed for want of file descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A bound listener.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    config: Arc<ListenConfig>,
    tls: Option<Arc<Tls>>,
    handlers: TaskTracker,
}

/// The listener cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {source}")]
pub struct BindError {
    /// Where it was to listen.
    pub address: SocketAddr,
    /// Why it cannot.
    pub source: io::Error,
}

/// How a drain ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Drained {
    /// Connections whose request was still running at the deadline and was cut off.
    pub cut: usize,
    /// Handlers that went on without their connection and had not finished at the deadline.
    pub unfinished_handlers: usize,
}

impl Server {
    /// Binds `address`; with port 0 the system chooses one (see [`Self::local_addr`]).
    pub async fn bind(address: SocketAddr, config: ListenConfig) -> Result<Self, BindError> {
        let failed = |source| BindError { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        Ok(Self {
            address: listener.local_addr().map_err(failed)?,
            listener,
            config: Arc::new(config),
            tls: None,
            handlers: TaskTracker::new(),
        })
    }

    /// The drain waits for the tasks of `handlers`, too: those in which the service finishes what it
    /// has begun, whether or not the client has left.
    #[must_use]
    pub fn with_handlers(mut self, handlers: TaskTracker) -> Self {
        self.handlers = handlers;
        self
    }

    /// Speaks TLS, each handshake with the certificate that is current then.
    #[must_use]
    pub fn with_tls(mut self, tls: Arc<Tls>) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `drain` completes, then stops accepting, closes idle connections, lets running
    /// requests finish (answered with `Connection: close`) and cuts off what is left at the
    /// deadline. Handlers that are left then go on until the process ends.
    pub async fn run(self, service: impl HttpService, drain: impl Future<Output = ()>) -> Drained {
        let slots = Arc::new(Semaphore::new(
            self.config.max_connections.min(Semaphore::MAX_PERMITS),
        ));
        let networks = Arc::new(Networks::new(self.config.max_connections));
        let graceful = GracefulShutdown::new();
        let mut connections = JoinSet::new();
        let mut drain = std::pin::pin!(drain);
        loop {
            let (stream, peer, slot) = tokio::select! {
                () = &mut drain => break,
                accepted = self.accept(&slots) => accepted,
            };
            join_finished(&mut connections);
            let Some(place) = networks.admit(peer.ip()) else {
                metrics::counter!("aip_connections_refused_total", "listener" => self.config.name)
                    .increment(1);
                tracing::debug!(listener = self.config.name, %peer, "connection refused: its network has its share of connections");
                continue;
            };
            let connection = Connection {
                stream,
                peer,
                slot,
                place,
                config: Arc::clone(&self.config),
                tls: self.tls.clone(),
                drain: graceful.watcher(),
            };
            connections.spawn(connection.serve(service.clone()));
        }
        drop(self.listener);
        end(connections, graceful, &self.handlers, &self.config).await
    }

    /// The next connection, once there is a slot for it.
    async fn accept(
        &self,
        slots: &Arc<Semaphore>,
    ) -> (TcpStream, SocketAddr, Option<OwnedSemaphorePermit>) {
        // The semaphore is never closed.
        let slot = Arc::clone(slots).acquire_owned().await.ok();
        loop {
            match self.listener.accept().await {
                Ok((stream, peer)) => return (stream, peer, slot),
                Err(error) if is_the_peers(&error) => {}
                Err(error) => {
                    tracing::error!(listener = self.config.name, %error, "accept failed, retrying");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

/// An accepted connection.
struct Connection {
    stream: TcpStream,
    peer: SocketAddr,
    slot: Option<OwnedSemaphorePermit>,
    place: ConnectionSlot,
    config: Arc<ListenConfig>,
    tls: Option<Arc<Tls>>,
    drain: Watcher,
}

impl Connection {
    async fn serve(self, service: impl HttpService) {
        let _slot = self.slot;
        let _place = self.place;
        let _open = OpenConnection::new(self.config.name);
        // Answers are small and somebody waits for each.
        let _ = self.stream.set_nodelay(true);
        let Some(tls) = self.tls else {
            return connection::serve(self.stream, self.peer, service, &self.config, self.drain)
                .await;
        };
        let handshake = TlsAcceptor::from(tls.current()).accept(self.stream);
        match tokio::time::timeout(self.config.handshake_timeout, handshake).await {
            Ok(Ok(stream)) => {
                connection::serve(stream, self.peer, service, &self.config, self.drain).await;
            }
            Ok(Err(error)) => {
                tracing::debug!(listener = self.config.name, %error, "TLS handshake failed");
            }
            Err(_) => {
                tracing::debug!(listener = self.config.name, "TLS handshake timed out");
            }
        }
    }
}

/// Counts a connection for as long as it lives.
struct OpenConnection(metrics::Gauge);

impl OpenConnection {
    fn new(listener: &'static str) -> Self {
        metrics::counter!("aip_connections_total", "listener" => listener).increment(1);
        let open = metrics::gauge!("aip_connections_open", "listener" => listener);
        open.increment(1);
        Self(open)
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.decrement(1);
    }
}

/// Errors of the connection that was about to be accepted, not of the listener.
fn is_the_peers(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
    )
}

/// Forgets connections that have ended; one that panicked is reported.
fn join_finished(connections: &mut JoinSet<()>) {
    while let Some(ended) = connections.try_join_next() {
        report(&ended);
    }
}

fn report(ended: &Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!("connection task panicked");
    }
}

async fn end(
    mut connections: JoinSet<()>,
    graceful: GracefulShutdown,
    handlers: &TaskTracker,
    config: &ListenConfig,
) -> Drained {
    let drained = async {
        graceful.shutdown().await;
        while let Some(ended) = connections.join_next().await {
            report(&ended);
        }
        handlers.close();
        handlers.wait().await;
    };
    if tokio::time::timeout(config.drain_timeout, drained)
        .await
        .is_ok()
    {
        return Drained::default();
    }
    join_finished(&mut connections);
    let cut = connections.len();
    connections.shutdown().await;
    Drained {
        cut,
        unfinished_handlers: handlers.len(),
    }
}
