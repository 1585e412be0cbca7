//! The application put together: every crate gets what it works with, and nothing else is global.
//!
//! `aip serve`, the sandbox and the tests all build it here, each with their own clock,
//! randomness, network and storage.

mod background;
mod database_keys;
mod emails;
mod events;
mod health;
mod metadata;
mod profiles;

use std::sync::Arc;

use aip_atproto::{BaseUrl, Did, Origin, Scope, ScopeSet};
use aip_base::{Clock, DnsTxt, Http, Rng};
use aip_events::{EventServer, Following};
use aip_http::{
    AppState, Endpoint, Health, Parts, RateLimiter, ServiceIdentity, TrustedProxies, V1Names,
};
use aip_keys::{KeyRing, KeySet, MasterKeys, Sealer};
use aip_listen::Lifecycle;
use aip_oauth::credentials::RecordedCredentials;
use aip_oauth::developer_tokens::DeveloperTokenUses;
use aip_oauth::{
    AuthorizationServer, ClientDocuments, ClientKeySets, DocumentPolicy, Issuer, KnownClients,
    KnownTokens, RegistrationPolicy, claims,
};
use aip_pds::{MemoryNonces, NonceStore, PdsClient, Resolver, ResolverConfig};
use aip_sessions::{
    AccountEmails, AccountHints, AccountProfiles, Keeper, SessionSealer, SignIn, Spill, Upstream,
    UpstreamIdentity,
};
use aip_shared_state::{SharedState, TieredNonces};
use aip_storage::Storage;
use aip_storage::nonces::SharedNonces;
use aip_storage::rates::RateLimits;
use aip_xrpc::Forwarder;
use aip_xrpc::quota::{CallLimits, CallQuota};
use axum::Router;
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

pub(crate) use self::database_keys::pinned_keys;
pub use self::database_keys::{
    DatabaseKeys, DatabaseKeysError, KeyRotation, POLL_INTERVAL, ReadKeySet,
};
use self::emails::PdsEmails;
pub use self::events::OperatorDial;
use self::health::ServerHealth;
pub use self::metadata::ClientDocument;
use self::profiles::PdsProfiles;

/// How many sessions' DPoP nonces are remembered in this process.
const MAX_NONCES: usize = 50_000;

/// How the application behaves.
pub struct AppConfig {
    /// The public base URL.
    pub external_base: BaseUrl,
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
    /// Whether every client must push its authorization requests (RFC 9126).
    pub require_par: bool,
    /// Whether client assertions are signed for apps that talk to PDSs themselves (AT Protocol proposal
    /// 0010).
    pub client_assertions: bool,
    /// Which clients may register themselves, and as what; where anybody may, for
    /// [`AppConfig::scopes_supported`].
    pub registration: RegistrationPolicy,
    /// How many clients are kept that are known by a document at their `client_id`; `None` where such
    /// clients are not taken.
    pub max_document_clients: Option<u64>,
    /// The accounts that may change clients over the network.
    pub admin_dids: Vec<Did>,
    /// Whether calls are limited by the network they come from.
    pub rate_limits: bool,
    /// The server whose events are followed ([`Application::events`]), if there is one: then the keeper
    /// leaves the sessions of accounts alone that are not in use.
    pub events: Option<EventServer>,
    /// How many calls on PDSs an app may make; `None` for any number.
    pub call_limits: Option<CallLimits>,
    /// The proxies in front of the process.
    pub proxies: TrustedProxies,
    /// How the names of AIP v1 are answered; `None` where there are none. The document follows from
    /// [`AppConfig::client_document`].
    pub v1: Option<V1Names>,
}

impl AppConfig {
    /// For one process that nothing is in front of: no limits, no proxy, nothing in the client
    /// document but what follows from the address.
    pub fn new(
        external_base: BaseUrl,
        scopes_supported: ScopeSet,
        resolver: ResolverConfig,
    ) -> Self {
        Self {
            external_base,
            worker_id: "aip".to_owned(),
            brand: "AIP".to_owned(),
            scopes_supported,
            client_document: ClientDocument::default(),
            email_verifiers: Vec::new(),
            resolver,
            require_par: false,
            client_assertions: false,
            registration: RegistrationPolicy::default(),
            max_document_clients: None,
            admin_dids: Vec::new(),
            rate_limits: false,
            events: None,
            call_limits: None,
            proxies: TrustedProxies::new(Vec::new(), http::header::FORWARDED),
            v1: None,
        }
    }
}

/// Where state is kept.
pub struct Stores {
    /// The database.
    pub storage: Arc<dyn Storage>,
    /// Where tokens wait that cannot be stored.
    pub spill: Spill,
    /// What replicas share besides.
    pub shared: SharedState,
}

/// The keys of this installation.
pub struct Keys {
    /// Sign `id_token`s, and prove to PDSs who AIP is.
    pub signing: Arc<KeyRing>,
    /// Protect the database.
    pub master: MasterKeys,
    /// Seals and opens with the master keys; everything in the process that does has this one.
    pub sealer: Arc<Sealer>,
}

impl Keys {
    /// Of a process that starts.
    pub fn new(signing: KeySet, master: MasterKeys) -> Self {
        Self {
            signing: Arc::new(KeyRing::new(signing)),
            sealer: Arc::new(master.sealer()),
            master,
        }
    }
}

/// What is outside the program: the network, time and randomness.
#[derive(Clone)]
pub struct Platform {
    /// Sends every request.
    pub http: Arc<dyn Http>,
    /// DNS.
    pub dns: Arc<dyn DnsTxt>,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub rng: Arc<dyn Rng>,
}

/// The newest nonces of PDSs: in memory, and behind that what replicas share.
fn nonces(shared: Option<Arc<dyn SharedNonces>>, clock: &Arc<dyn Clock>) -> Arc<dyn NonceStore> {
    let own = MemoryNonces::new(MAX_NONCES, Arc::clone(clock));
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

/// The keeper, with all that sessions at PDSs need.
pub(crate) fn keeper(
    config: &AppConfig,
    stores: Stores,
    keys: &Keys,
    platform: Platform,
) -> Arc<Keeper> {
    let Platform {
        http,
        dns,
        clock,
        rng,
    } = platform;
    let SharedState {
        nonces: shared_nonces,
        notices,
        ..
    } = stores.shared;
    let base = &config.external_base;
    let resolver = Resolver::new(
        Arc::clone(&http),
        dns,
        Arc::clone(&clock),
        config.resolver.clone(),
    );
    let pds = PdsClient::new(
        http,
        Arc::clone(&clock),
        Arc::clone(&rng),
        nonces(shared_nonces, &clock),
        Arc::new(resolver),
    );
    let upstream = Upstream {
        pds: Arc::new(pds),
        identity: UpstreamIdentity::new(
            base.is_https().then(|| Endpoint::ClientMetadata.url(base)),
            Endpoint::Callback.url(base),
            Arc::clone(&keys.signing),
        ),
        storage: stores.storage,
        sealer: SessionSealer::new(Arc::clone(&keys.sealer), Arc::clone(&rng)),
        hasher: Arc::new(keys.master.token_hasher()),
        clock,
        rng,
    };
    let owner = config.worker_id.clone();
    let keeper = Keeper::new(upstream, stores.spill, notices, owner);
    Arc::new(keeper.respecting_pauses(config.events.is_some()))
}

/// The authorization server, which talks to nobody but the storage, `emails`, and clients that keep
/// their keys at an address of their own.
pub(crate) fn authorization_server(
    external_base: &BaseUrl,
    storage: Arc<dyn Storage>,
    keys: &Keys,
    emails: Arc<dyn claims::Emails>,
    http: Arc<dyn Http>,
    clock: Arc<dyn Clock>,
    rng: Arc<dyn Rng>,
) -> AuthorizationServer {
    AuthorizationServer {
        issuer: Issuer::new(external_base.clone()),
        require_par: false,
        client_assertions: false,
        registration: RegistrationPolicy::default(),
        storage,
        known_clients: KnownClients::default(),
        client_documents: Arc::new(ClientDocuments::new(Arc::clone(&http), None)),
        client_key_sets: Arc::new(ClientKeySets::new(Arc::clone(&http))),
        logout_http: http,
        known_tokens: KnownTokens::default(),
        recorded_credentials: RecordedCredentials::default(),
        developer_token_uses: DeveloperTokenUses::default(),
        emails,
        profiles: Arc::new(claims::NoProfiles),
        keys: Arc::clone(&keys.signing),
        hasher: Arc::new(keys.master.token_hasher()),
        clock,
        rng,
    }
}

/// The application, ready to be served.
pub struct Application {
    /// The authorization server.
    pub server: AuthorizationServer,
    /// Keeps upstream sessions alive.
    pub keeper: Arc<Keeper>,
    /// What becomes of what is said about accounts.
    pub hints: Arc<AccountHints>,
    /// The stream of events that is followed, if one is.
    pub events: Option<Arc<Following>>,
    /// Follows the key set in the database, if that holds one.
    pub key_rotation: Option<Arc<KeyRotation>>,
    /// Seals and opens what is secret in the database.
    pub sealer: Arc<Sealer>,
    /// How the process is.
    pub health: Arc<dyn Health>,
    /// The public listener.
    pub public: Router,
    /// The handlers of the public listener that go on when their client leaves, for
    /// [`Server::with_handlers`](aip_listen::Server::with_handlers).
    pub handlers: TaskTracker,
}

impl Application {
    /// Wires the crates together. Nothing runs yet. `life` says how far the process has come.
    pub fn new(
        config: AppConfig,
        stores: Stores,
        keys: &Keys,
        platform: Platform,
        life: Lifecycle,
    ) -> Self {
        let storage = Arc::clone(&stores.storage);
        let limiter = limiter(config.rate_limits, Arc::clone(&stores.shared.rates));
        let http = Arc::clone(&platform.http);
        let keeper = keeper(&config, stores, keys, platform);
        let upstream = &keeper.upstream;
        let mut server = authorization_server(
            &config.external_base,
            Arc::clone(&storage),
            keys,
            Arc::new(PdsEmails(AccountEmails {
                keeper: Arc::clone(&keeper),
                trusted: config.email_verifiers,
            })),
            Arc::clone(&http),
            Arc::clone(&upstream.clock),
            Arc::clone(&upstream.rng),
        );
        let documents = config
            .max_document_clients
            .map(|max_clients| DocumentPolicy {
                max_clients,
                read: aip_http::read_client_document,
            });
        server.client_documents = Arc::new(ClientDocuments::new(http, documents));
        server.require_par = config.require_par;
        server.client_assertions = config.client_assertions;
        server.profiles = Arc::new(PdsProfiles(AccountProfiles::new(
            Arc::clone(&upstream.pds),
            Arc::clone(&upstream.clock),
        )));
        // That one is for the operator to give, to each client, whatever the settings name.
        let open_scopes = config.scopes_supported.iter();
        let open_scopes = open_scopes.filter(|scope| **scope != Scope::Credentials);
        server.registration = RegistrationPolicy {
            open_scopes: open_scopes.cloned().collect(),
            ..config.registration
        };
        let forwarder = Forwarder {
            keeper: Arc::clone(&keeper),
            quota: config.call_limits.map(CallQuota::new),
        };
        let health: Arc<dyn Health> = Arc::new(ServerHealth {
            life,
            storage,
            keys: Arc::clone(&keys.signing),
        });
        let handlers = TaskTracker::new();
        let client_metadata = config
            .client_document
            .make(&upstream.identity, &config.external_base);
        let v1 = config.v1.map(|names| V1Names {
            client_metadata: config.client_document.make_v1(&config.external_base),
            ..names
        });
        let public = aip_http::router(AppState::new(Parts {
            server: server.clone(),
            sign_in: SignIn::new(upstream.clone()),
            keeper: Arc::clone(&keeper),
            forwarder,
            handlers: handlers.clone(),
            health: Arc::clone(&health),
            limiter,
            proxies: config.proxies,
            service: ServiceIdentity::new(&config.external_base, config.admin_dids),
            brand: config.brand,
            scopes_supported: config.scopes_supported,
            client_metadata,
            v1,
        }));
        Self {
            server,
            hints: Arc::new(AccountHints::new(Arc::clone(&keeper))),
            events: None,
            keeper,
            key_rotation: None,
            sealer: Arc::clone(&keys.sealer),
            health,
            public,
            handlers,
        }
    }

    /// Follows the events of the network until it is dropped; nothing where none are followed.
    pub fn follow_events(&self) -> impl Future<Output = ()> + Send + use<> {
        let (keeper, hints) = (Arc::clone(&self.keeper), Arc::clone(&self.hints));
        let following = self.events.clone();
        async move {
            if let Some(following) = following {
                events::run(following, hints, &keeper).await;
            }
        }
    }

    /// Starts what the process does unasked.
    pub fn start_background_tasks(&self) -> JoinHandle<()> {
        let keeper = Arc::clone(&self.keeper);
        tokio::spawn(background::run(
            keeper,
            self.key_rotation.clone(),
            self.server.clone(),
            self.follow_events(),
        ))
    }
}
