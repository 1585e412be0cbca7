//! One way to boot the public router in a test, and the people and apps that use it.

pub(crate) mod app;
pub(crate) mod browser;
pub(crate) mod stand_ins;

use std::path::Path;
use std::sync::{Arc, LazyLock};

use aip_atproto::ScopeSet;
use aip_base::SystemRng;
use aip_http::{
    AppState, Parts, RateLimiter, ServiceIdentity, TrustedProxies, UpstreamDocument, V1Names,
    router,
};
use aip_keys::{KeyRing, KeySet, MasterKeys};
use aip_oauth::registration::ClientSettings;
use aip_oauth::{AuthorizationServer, Issuer};
use aip_pds::{MemoryNonces, PdsClient, Resolver, ResolverConfig};
use aip_sessions::{Keeper, SessionSealer, SignIn, Spill, Upstream, UpstreamIdentity};
use aip_storage::Storage;
use aip_storage::client::ClientAuthMethod;
use aip_storage::notices::LocalNotices;
use aip_storage_sql::{Database, PgOptions};
use aip_testkit::clock::ManualClock;
use aip_xrpc::Forwarder;
use axum::Router;
use axum::body::Body;
use http::{HeaderMap, HeaderName, Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use secrecy::ExposeSecret as _;
use tempfile::TempDir;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

use self::app::TestApp;
use self::browser::Browser;
use self::stand_ins::{Healthy, NoEmails, NoNetwork};

/// Where this AIP is.
pub(crate) const ISSUER: &str = "https://aip.example";
/// A handle, which nothing here looks up.
pub(crate) const ALICE_HANDLE: &str = "alice.example.com";

/// Making an RSA key takes longer than everything else here, so all tests share one set.
static KEYS: LazyLock<Arc<KeyRing>> = LazyLock::new(|| {
    let keys = KeySet::generate(&ManualClock::new(), &SystemRng).expect("keys are generated");
    Arc::new(KeyRing::new(keys))
});

/// The application under test.
pub(crate) struct World {
    pub(crate) router: Router,
    pub(crate) server: AuthorizationServer,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) health: Arc<Healthy>,
    _folder: TempDir,
}

/// An answer, read to its end.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl World {
    /// AIP at [`ISSUER`].
    pub(crate) async fn new() -> Self {
        Self::at(ISSUER).await
    }

    /// AIP at another address.
    pub(crate) async fn at(issuer: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let url = format!("sqlite://{}", folder.path().join("aip.sqlite").display());
        let database = Database::connect(&url.parse().unwrap(), PgOptions::default())
            .await
            .unwrap();
        database.migrate().await.unwrap();
        let storage: Arc<dyn Storage> = database.storage().await.unwrap();
        let clock = Arc::new(ManualClock::new());
        let master = MasterKeys::generate(&SystemRng);
        let server = AuthorizationServer {
            issuer: Issuer::new(issuer.parse().unwrap()),
            require_par: false,
            client_assertions: false,
            registration: aip_oauth::RegistrationPolicy::default(),
            storage: Arc::clone(&storage),
            known_clients: aip_oauth::KnownClients::default(),
            client_documents: Arc::new(aip_oauth::ClientDocuments::new(Arc::new(NoNetwork), None)),
            client_key_sets: Arc::new(aip_oauth::ClientKeySets::new(Arc::new(NoNetwork))),
            logout_http: Arc::new(NoNetwork),
            known_tokens: aip_oauth::KnownTokens::default(),
            recorded_credentials: aip_oauth::credentials::RecordedCredentials::default(),
            developer_token_uses: aip_oauth::developer_tokens::DeveloperTokenUses::default(),
            emails: Arc::new(NoEmails),
            profiles: Arc::new(aip_oauth::claims::NoProfiles),
            keys: Arc::clone(&KEYS),
            hasher: Arc::new(master.token_hasher()),
            clock: Arc::clone(&clock) as _,
            rng: Arc::new(SystemRng),
        };
        let keeper = keeper(&server, &master, folder.path());
        let health = Arc::new(Healthy::default());
        let router = router(AppState::new(Parts {
            server: server.clone(),
            sign_in: SignIn::new(keeper.upstream.clone()),
            forwarder: Forwarder {
                keeper: Arc::clone(&keeper),
                quota: None,
            },
            keeper,
            handlers: TaskTracker::new(),
            health: Arc::clone(&health) as _,
            limiter: RateLimiter::new(database.rate_limits()),
            proxies: TrustedProxies::default(),
            service: ServiceIdentity::new(server.issuer.base(), Vec::new()),
            brand: "Test AIP".to_owned(),
            scopes_supported: "openid profile email atproto transition:generic"
                .parse()
                .unwrap(),
            client_metadata: Some(UpstreamDocument::new(
                serde_json::json!({ "client_id": "https://aip.example/oauth-client-metadata.json" }),
                ScopeSet::default(),
            )),
            v1: Some(V1Names {
                development: true,
                ..V1Names::new("v1-apps".parse().unwrap())
            }),
        }));
        Self {
            router,
            server,
            clock,
            health,
            _folder: folder,
        }
    }

    /// A new browser.
    pub(crate) fn browser(&self) -> Browser<'_> {
        Browser::new(self)
    }

    /// A public app.
    pub(crate) async fn app(&self) -> TestApp<'_> {
        self.app_with(settings()).await
    }

    /// An app that keeps a secret.
    pub(crate) async fn confidential_app(&self) -> TestApp<'_> {
        self.app_with(ClientSettings {
            auth_method: ClientAuthMethod::SecretBasic,
            ..settings()
        })
        .await
    }

    /// An app with these settings.
    pub(crate) async fn app_with(&self, settings: ClientSettings) -> TestApp<'_> {
        let (client, secret) = self.server.register_client(None, settings).await.unwrap();
        TestApp {
            world: self,
            id: client.id.to_string(),
            redirect_uri: client.settings.redirect_uris[0].as_str().to_owned(),
            secret: secret.map(|it| it.expose_secret().to_owned()),
        }
    }

    /// Sends a request and reads the answer to its end.
    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (head, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Answer {
            status: head.status,
            headers: head.headers,
            body: String::from_utf8_lossy(&body).into_owned(),
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(Request::get(path).body(Body::empty()).unwrap())
            .await
    }

    pub(crate) async fn post(&self, path: &str, form: &[(&str, &str)]) -> Answer {
        self.send(form_request(path, form, &[])).await
    }
}

/// The keeper of an AIP that reaches no PDS.
fn keeper(server: &AuthorizationServer, master: &MasterKeys, folder: &Path) -> Arc<Keeper> {
    let (clock, rng) = (Arc::clone(&server.clock), Arc::clone(&server.rng));
    let resolver = Resolver::new(
        Arc::new(NoNetwork),
        Arc::new(NoNetwork),
        Arc::clone(&clock),
        ResolverConfig::default(),
    );
    let pds = PdsClient::new(
        Arc::new(NoNetwork),
        Arc::clone(&clock),
        Arc::clone(&rng),
        Arc::new(MemoryNonces::new(1, Arc::clone(&clock))),
        Arc::new(resolver),
    );
    let upstream = Upstream {
        pds: Arc::new(pds),
        identity: UpstreamIdentity::new(None, String::new(), Arc::clone(&server.keys)),
        storage: Arc::clone(&server.storage),
        sealer: SessionSealer::new(Arc::new(master.sealer()), Arc::clone(&rng)),
        hasher: Arc::clone(&server.hasher),
        clock,
        rng,
    };
    let spill = Spill::open(&folder.join("spill")).unwrap();
    let notices = Arc::new(LocalNotices::default());
    Arc::new(Keeper::new(upstream, spill, notices, "it".to_owned()))
}

impl Answer {
    /// A header that is there once.
    pub(crate) fn header(&self, name: &str) -> &str {
        let mut values = self.headers.get_all(name).iter();
        let value = values.next().map_or("", |it| it.to_str().unwrap());
        assert!(values.next().is_none(), "{name} is there twice");
        value
    }

    /// All values of a header, joined.
    pub(crate) fn joined(&self, name: &str) -> String {
        let values = self.headers.get_all(name).iter();
        values
            .map(|it| it.to_str().unwrap())
            .collect::<Vec<_>>()
            .join(" | ")
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body)
            .unwrap_or_else(|e| panic!("{e}: {} {}", self.status, self.body))
    }

    /// Where it leads; the answer must be a 303.
    #[track_caller]
    pub(crate) fn location(&self) -> String {
        assert_eq!(self.status, StatusCode::SEE_OTHER, "{}", self.body);
        self.header("location").to_owned()
    }

    /// A parameter of where it leads.
    #[track_caller]
    pub(crate) fn location_param(&self, name: &str) -> Option<String> {
        param(&self.location(), name)
    }

    /// Asserts an OAuth error (RFC 6749 §5.2) that nobody may keep.
    #[track_caller]
    pub(crate) fn expect_error(&self, status: u16, code: &str) -> &Self {
        assert_eq!(self.status.as_u16(), status, "{}", self.body);
        assert_eq!(self.json()["error"], code, "{}", self.body);
        assert_eq!(self.header("cache-control"), "no-store");
        self
    }

    /// Asserts an error page, which leads nowhere.
    #[track_caller]
    pub(crate) fn expect_page(&self, status: u16, words: &str) -> &Self {
        assert_eq!(self.status.as_u16(), status, "{}", self.body);
        assert!(self.headers.get("location").is_none());
        assert!(self.body.contains("<main id=\"error\">"), "{}", self.body);
        assert!(self.body.contains(words), "{}", self.body);
        self
    }
}

/// What most apps of these tests are.
pub(crate) fn settings() -> ClientSettings {
    let minute = std::time::Duration::from_mins(1);
    ClientSettings {
        name: "Test App".to_owned(),
        auth_method: ClientAuthMethod::None,
        redirect_uris: vec!["https://app.example/callback".parse().unwrap()],
        post_logout_redirect_uris: vec!["https://app.example/bye".parse().unwrap()],
        scope: "openid profile email atproto repo:app.bsky.feed.post"
            .parse()
            .unwrap(),
        access_token_ttl: minute * 10,
        refresh_token_ttl: minute * 60 * 24,
        refresh_grace: minute / 2,
        ..ClientSettings::default()
    }
}

/// A form as a request.
pub(crate) fn form_request(
    path: &str,
    form: &[(&str, &str)],
    headers: &[(HeaderName, String)],
) -> Request<Body> {
    let mut request = Request::new(Body::from(encode(form)));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = path.parse().unwrap();
    let media_type = "application/x-www-form-urlencoded".parse().unwrap();
    request.headers_mut().insert("content-type", media_type);
    for (name, value) in headers {
        request
            .headers_mut()
            .append(name.clone(), value.parse().unwrap());
    }
    request
}

/// Form encoding.
pub(crate) fn encode(pairs: &[(&str, &str)]) -> String {
    url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs(pairs)
        .finish()
}

/// A query parameter of a URL.
pub(crate) fn param(url: &str, name: &str) -> Option<String> {
    let query = url.split_once('?')?.1;
    url::form_urlencoded::parse(query.as_bytes())
        .find(|(it, _)| it == name)
        .map(|(_, value)| value.into_owned())
}
