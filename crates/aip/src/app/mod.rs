//! The application put together: every crate gets what it works with, and nothing else is global.
//!
//! `aip serve`, the sandbox and the tests all build it here, each with their own clock,
//! randomness, network and storage.

mod background;
mod health;
mod metadata;

use std::sync::Arc;

use aip_atproto::{Origin, ScopeSet};
use aip_base::{Clock, DnsTxt, Http, Rng};
use aip_http::ports::{Health, PdsEmails};
use aip_http::{AppState, Parts, RateLimiter, TrustedProxies};
use aip_keys::{KeyRing, KeySet, MasterKeys};
use aip_listen::Lifecycle;
use aip_oauth::{AuthorizationServer, Issuer};
use aip_pds::{MemoryNonces, NonceStore, PdsClient, Resolver, ResolverConfig};
use aip_sessions::{
    AccountEmails, AppPasswords, Keeper, SessionSealer, SignIn, Spill, UpstreamIdentity,
};
use aip_shared_state::{SharedState, TieredNonces};
use aip_storage::Storage;
use aip_storage::nonces::SharedNonces;
use aip_storage::rates::RateLimits;
use aip_xrpc::Forwarder;
use aip_xrpc::quota::{CallLimits, CallQuota};
use axum::Router;
use http::HeaderName;
use ipnet::IpNet;
use tokio::task::JoinHandle;

use self::health::ServerHealth;
pub use self::metadata::ClientDocument;

/// How many sessions' DPoP nonces are remembered in this process.
const NONCES: usize = 50_000;

/// What the application is built from.
pub struct Setup {
    /// The public base URL, without a trailing slash.
    pub external_base: Origin,
    /// The name of this process in leases and logs.
    pub worker_id: String,
    /// The name on the pages.
    pub brand: String,
    /// The scopes named in the discovery document.
    pub scopes_supported: ScopeSet,
    /// What AIP says of itself to PDSs.
    pub client_document: ClientDocument,
    /// The PDSs whose word on a confirmed e-mail address counts as AIP's own.
    pub email_verifiers: Vec<Origin>,
    /// How handles and DIDs are resolved.
    pub resolver: ResolverConfig,
    /// Where things are kept.
    pub storage: Arc<dyn Storage>,
    /// Where tokens wait that cannot be stored.
    pub spill: Spill,
    /// What replicas share besides.
    pub shared: SharedState,
    /// Whether calls are limited by the network they come from.
    pub rate_limits: bool,
    /// How many calls on PDSs an app may make; `None` for any number.
    pub call_limits: Option<CallLimits>,
    /// The networks of the proxies in front of the process.
    pub trusted_proxies: Vec<IpNet>,
    /// The header in which they tell whom they serve.
    pub forwarded_header: HeaderName,
    /// The keys that AIP signs with.
    pub keys: KeySet,
    /// The keys that protect the storage.
    pub master_keys: MasterKeys,
    /// The way out.
    pub http: Arc<dyn Http>,
    /// DNS.
    pub dns: Arc<dyn DnsTxt>,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub rng: Arc<dyn Rng>,
    /// How far the process has come.
    pub life: Lifecycle,
}

/// The newest nonces of PDSs: in memory, and behind that what replicas share.
fn nonces(shared: Option<Arc<dyn SharedNonces>>, clock: &Arc<dyn Clock>) -> Arc<dyn NonceStore> {
    let own = MemoryNonces::new(NONCES, Arc::clone(clock));
    match shared {
        Some(shared) => Arc::new(TieredNonces::new(own, shared, Arc::clone(clock))),
        None => Arc::new(own),
    }
}

fn limiter(enabled: bool, rates: Arc<dyn RateLimits>) -> RateLimiter {
    if enabled {
        RateLimiter::new(rates)
    } else {
        RateLimiter::off()
    }
}

/// The application, ready to be served.
pub struct Application {
    /// The authorization server, for the administration commands too.
    pub server: AuthorizationServer,
    /// Keeps upstream sessions alive.
    pub keeper: Arc<Keeper>,
    /// Takes app passwords.
    pub app_passwords: Arc<AppPasswords>,
    /// Resolves handles and DIDs.
    pub pds: Arc<PdsClient>,
    /// How the process is.
    pub health: Arc<dyn Health>,
    /// The public listener.
    pub public: Router,
}

impl Application {
    /// Wires the crates together. Nothing runs yet.
    pub fn new(setup: Setup) -> Self {
        let Setup {
            storage,
            http,
            clock,
            rng,
            ..
        } = setup;
        let keys = Arc::new(KeyRing::new(setup.keys));
        let hasher = Arc::new(setup.master_keys.token_hasher());
        let sealer = SessionSealer::new(Arc::new(setup.master_keys.sealer()), Arc::clone(&rng));
        let identity = UpstreamIdentity::new(setup.external_base.clone(), Arc::clone(&keys));
        let resolver = Arc::new(Resolver::new(
            Arc::clone(&http),
            setup.dns,
            Arc::clone(&clock),
            setup.resolver,
        ));
        let nonces = nonces(setup.shared.nonces, &clock);
        let pds = Arc::new(PdsClient::new(
            Arc::clone(&http),
            Arc::clone(&clock),
            Arc::clone(&rng),
            nonces,
            resolver,
        ));
        let limiter = limiter(setup.rate_limits, setup.shared.rates);
        let keeper = Arc::new(Keeper {
            pds: Arc::clone(&pds),
            identity: identity.clone(),
            storage: Arc::clone(&storage),
            sealer: sealer.clone(),
            spill: setup.spill,
            notices: setup.shared.notices,
            hasher: Arc::clone(&hasher),
            clock: Arc::clone(&clock),
            rng: Arc::clone(&rng),
            owner: setup.worker_id,
            in_flight: Arc::default(),
        });
        let server = AuthorizationServer {
            issuer: Issuer::new(setup.external_base.clone()),
            storage: Arc::clone(&storage),
            known_clients: aip_oauth::KnownClients::default(),
            emails: Arc::new(PdsEmails(AccountEmails {
                keeper: Arc::clone(&keeper),
                trusted: setup.email_verifiers,
            })),
            keys,
            hasher: Arc::clone(&hasher),
            clock: Arc::clone(&clock),
            rng: Arc::clone(&rng),
        };
        let app_passwords = Arc::new(AppPasswords {
            pds: Arc::clone(&pds),
            keeper: Arc::clone(&keeper),
            storage: Arc::clone(&storage),
            sealer: sealer.clone(),
            clock: Arc::clone(&clock),
            rng: Arc::clone(&rng),
        });
        let client_metadata = setup.client_document.make(&identity, &setup.external_base);
        let sign_in = SignIn {
            pds: Arc::clone(&pds),
            identity,
            storage: Arc::clone(&storage),
            sealer,
            hasher,
            clock,
            rng,
        };
        let forwarder = Forwarder {
            keeper: Arc::clone(&keeper),
            pds: Arc::clone(&pds),
            http,
            quota: setup.call_limits.map(CallQuota::new),
        };
        let health: Arc<dyn Health> = Arc::new(ServerHealth {
            life: setup.life,
            storage,
        });
        let public = aip_http::router(AppState::new(Parts {
            server: server.clone(),
            sign_in: Arc::new(sign_in),
            sessions: Arc::new(Arc::clone(&keeper)),
            xrpc: Arc::new(forwarder),
            health: Arc::clone(&health),
            limiter,
            proxies: TrustedProxies::new(setup.trusted_proxies, setup.forwarded_header),
            brand: setup.brand,
            scopes_supported: setup.scopes_supported,
            client_metadata,
        }));
        Self {
            server,
            keeper,
            app_passwords,
            pds,
            health,
            public,
        }
    }

    /// Starts what the process does unasked.
    pub fn start_background_tasks(&self) -> JoinHandle<()> {
        let storage = Arc::clone(&self.server.storage);
        let clock = Arc::clone(&self.server.clock);
        tokio::spawn(background::run(Arc::clone(&self.keeper), storage, clock))
    }
}
