//! AIP as a process of the story, put together as `aip serve` does it.

use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use aip::app::{AppConfig, Application, ClientDocument, Keys, OperatorDial, Platform, Stores};
use aip_atproto::{Origin, ScopeSet};
use aip_base::{Clock, SystemRng};
use aip_events::{Following, Timing};
use aip_http::TrustedProxies;
use aip_keys::{KeySet, MasterKeys};
use aip_listen::{Lifecycle, ListenConfig, Server, Stage};
use aip_outbound::OperatorStreams;
use aip_pds::ResolverConfig;
use aip_sandbox::Sandbox;
use aip_sessions::Spill;
use aip_testkit::clock::ManualClock;
use aip_xrpc::quota::CallLimits;
use http::HeaderName;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use url::Url;

use super::database::Db;
use super::network::{Hosted, outbound};

/// Where the world finds AIP. The host leads to a loopback port, for everybody in the story.
pub(crate) const BASE: &str = "https://aip.example.com";

/// Whoever connects is a proxy; without its word, the caller.
const PROXIES: &str = "127.0.0.0/8";

/// Enough for every story but those about it.
pub(crate) const CALL_LIMITS: CallLimits = CallLimits {
    account: NonZeroUsize::new(100).unwrap(),
    client: NonZeroUsize::new(150).unwrap(),
};

/// Every scope that an app of a story may ask for, as AIP's document names them to PDSs.
const UPSTREAM_SCOPES: &str = "atproto transition:generic account:email blob:*/* \
     repo:app.bsky.feed.post repo:app.bsky.feed.like \
     rpc:app.bsky.feed.getTimeline?aud=did:web:api.example.com%23appview";

/// Events are told at once.
const QUICK: Timing = Timing {
    open_timeout: Duration::from_secs(5),
    ping_after: Duration::from_secs(1),
    silent_after: Duration::from_secs(3),
    deliver_every: Duration::from_millis(20),
    keep_cursor_every: Duration::from_millis(50),
    lead_every: Duration::from_millis(100),
    retry_after: Some(Duration::from_millis(50)),
};

/// RSA keys take long to make, and a story does not look at their bits.
pub(crate) static KEYS: LazyLock<KeySet> =
    LazyLock::new(|| KeySet::generate(&ManualClock::new(), &SystemRng).unwrap());

/// What a story configures in its own way.
pub(super) type ConfigChange = Arc<dyn Fn(&mut AppConfig) + Send + Sync>;

/// AIP as a process: it can be killed and started anew.
pub(crate) struct Running {
    pub(crate) app: Application,
    pub(super) address: SocketAddr,
    /// What runs in the process.
    runtime: Mutex<Option<Runtime>>,
}

impl Running {
    /// Does something in the process; an error says that it was killed meanwhile.
    pub(crate) fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        self.runtime.lock().unwrap().as_ref().unwrap().spawn(work)
    }

    /// Ends the process in the middle of whatever it does.
    pub(crate) fn kill(&self) {
        if let Some(runtime) = self.runtime.lock().unwrap().take() {
            runtime.shutdown_background();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Starts AIP and lets its host lead to it.
pub(super) async fn start(
    clock: &Arc<dyn Clock>,
    sandbox: &Sandbox,
    database: &Db,
    spill: &Path,
    keys: &KeySet,
    master_keys: &MasterKeys,
    change: &ConfigChange,
    hosted: &Hosted,
) -> Running {
    let life = Lifecycle::new();
    let scopes: ScopeSet = UPSTREAM_SCOPES.parse().unwrap();
    let resolver = ResolverConfig {
        plc: vec![Origin::parse(sandbox.plc.origin()).unwrap()],
        development: true,
        ..ResolverConfig::default()
    };
    let mut config = AppConfig {
        worker_id: "story".to_owned(),
        client_document: ClientDocument {
            scope: scopes.clone(),
            ..ClientDocument::default()
        },
        rate_limits: true,
        call_limits: Some(CALL_LIMITS),
        proxies: TrustedProxies::new(
            vec![PROXIES.parse().unwrap()],
            HeaderName::from_static("x-forwarded-for"),
        ),
        ..AppConfig::new(BASE.parse().unwrap(), scopes, resolver)
    };
    change(&mut config);
    let following = config.events.clone().map(|server| Following {
        server,
        compress: false,
        dial: Arc::new(OperatorDial(OperatorStreams::new(&[]).unwrap())),
        http: Arc::new(sandbox.http.clone()),
        clock: Arc::clone(clock),
        rng: Arc::new(SystemRng),
        timing: QUICK,
    });
    let stores = Stores {
        storage: database.storage().await,
        spill: Spill::open(spill).unwrap(),
        shared: database.shared_state(),
    };
    let keys = Keys::new(keys.clone(), master_keys.clone());
    let platform = Platform {
        http: outbound(hosted),
        dns: Arc::new(sandbox.dns.clone()),
        clock: Arc::clone(clock),
        rng: Arc::new(SystemRng),
    };
    let mut app = Application::new(config, stores, &keys, platform, life.clone());
    app.events = following.map(Arc::new);
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let server = Server::bind(address, ListenConfig::default())
        .await
        .unwrap();
    let address = server.local_addr();
    lead_to(sandbox, address);
    life.advance(Stage::Ready);
    let router = app.public.clone();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    runtime.spawn(app.follow_events());
    runtime.spawn(async move {
        server.run(router, std::future::pending()).await;
    });
    Running {
        app,
        address,
        runtime: Mutex::new(Some(runtime)),
    }
}

/// Lets the host of AIP lead to that address.
pub(super) fn lead_to(sandbox: &Sandbox, address: SocketAddr) {
    let host = Url::parse(BASE).unwrap();
    sandbox.http.map_host(host.host_str().unwrap(), address);
}
