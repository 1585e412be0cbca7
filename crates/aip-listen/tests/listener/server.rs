//! A listener with a few routes, and a hand on its shutdown.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use aip_base::PeerAddr;
use aip_listen::{Drained, Lifecycle, ListenConfig, Server, Stage, Tls};
use axum::Router;
use axum::body::Body;
use axum::extract::Extension;
use axum::routing::{get, post};
use http::StatusCode;
use http_body_util::BodyExt as _;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) life: Lifecycle,
    /// Lets requests of `/slow` and `/detached` go on, one for each permit.
    pub(crate) go_on: Arc<Semaphore>,
    /// The handlers of `/detached`.
    pub(crate) handlers: TaskTracker,
    requests: Arc<AtomicUsize>,
    task: JoinHandle<Drained>,
}

impl Running {
    pub(crate) async fn start(config: ListenConfig, tls: Option<Arc<Tls>>) -> Self {
        let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
        let handlers = TaskTracker::new();
        let server = Server::bind(any_port, config).await.unwrap();
        let mut server = server.with_handlers(handlers.clone());
        if let Some(tls) = tls {
            server = server.with_tls(tls);
        }
        let address = server.local_addr();
        let life = Lifecycle::new();
        life.advance(Stage::Ready);
        let go_on = Arc::new(Semaphore::new(0));
        let requests = Arc::default();
        let routes = routes(Arc::clone(&go_on), handlers.clone(), Arc::clone(&requests));
        let drain = life.clone();
        let task = tokio::spawn(async move {
            let drain = async move { drain.reached(Stage::Draining).await };
            server.run(routes, drain).await
        });
        Self {
            address,
            life,
            go_on,
            handlers,
            requests,
            task,
        }
    }

    pub(crate) async fn plain(config: ListenConfig) -> Self {
        Self::start(config, None).await
    }

    /// How many requests have reached a route.
    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    pub(crate) async fn drained(self) -> Drained {
        self.task.await.unwrap()
    }
}

fn refusal() -> (StatusCode, &'static str) {
    (StatusCode::PAYLOAD_TOO_LARGE, "too large")
}

async fn refuse_after_a_part(mut body: Body) -> (StatusCode, &'static str) {
    body.frame().await.unwrap().unwrap();
    refusal()
}

fn routes(go_on: Arc<Semaphore>, handlers: TaskTracker, requests: Arc<AtomicUsize>) -> Router {
    let slow = move || {
        let go_on = Arc::clone(&go_on);
        async move {
            go_on.acquire().await.unwrap().forget();
            "done"
        }
    };
    let in_its_own_task = slow.clone();
    let detached = move || {
        let task = handlers.spawn(in_its_own_task());
        async move { task.await.unwrap() }
    };
    let peer = |Extension(PeerAddr(peer)): Extension<PeerAddr>| async move { peer.to_string() };
    Router::new()
        .route("/", get(async || "hello"))
        .route("/echo", post(async |body: String| body))
        .route("/refuse", post(async || refusal()))
        .route("/refuse-after-a-part", post(refuse_after_a_part))
        .route("/peer", get(peer))
        .route("/slow", get(slow))
        .route("/detached", get(detached))
        .layer(axum::middleware::map_request(move |request| {
            requests.fetch_add(1, Ordering::SeqCst);
            std::future::ready::<axum::extract::Request>(request)
        }))
}
