//! The world of a story: AIP on a loopback port with a database of its own, stand-ins for all that
//! it talks to, and one clock for everybody.

mod database;
mod network;
mod secrets;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use aip::app::{Application, ClientDocument, Setup};
use aip_atproto::Origin;
use aip_base::{Clock, Http as _, Limits, SystemRng};
use aip_keys::{Aad, KeySet, MasterKeys, Sealer};
use aip_listen::{Lifecycle, ListenConfig, Server, Stage};
use aip_pds::ResolverConfig;
use aip_sandbox::{Pds, Person, PlainHttp, Sandbox, SandboxOptions};
use aip_storage::audit::{AuditEvent, AuditKind};
use aip_testkit::clock::ManualClock;
use aip_testkit::logs::Captured;
use bytes::Bytes;
use http::Request;
use secrecy::ExposeSecret as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use url::Url;

use self::database::Db;
use self::network::StandInDns;
use crate::answer::Answer;
use crate::app::App;
use crate::browser::Browser;

pub(crate) use self::database::{Dump, Engine};
pub(crate) use self::secrets::Secrets;

/// Where the world finds AIP. The host leads to a loopback port, for everybody in the story.
pub(crate) const BASE: &str = "https://aip.example.com";

/// Callers of AIP are more patient than AIP is with others.
const PATIENT: Limits = Limits {
    max_bytes: 64 * 1024 * 1024,
    deadline: Duration::from_secs(60),
};

/// Every scope that an app of a story may ask for, as AIP's document names them to PDSs.
const UPSTREAM_SCOPES: &str = "atproto transition:generic account:email blob:*/* \
     repo:app.bsky.feed.post repo:app.bsky.feed.like \
     rpc:app.bsky.feed.getTimeline?aud=did:web:api.example.com%23appview";

/// RSA keys take long to make, and a story does not look at their bits.
static KEYS: LazyLock<KeySet> =
    LazyLock::new(|| KeySet::generate(&ManualClock::new(), &SystemRng).unwrap());

/// AIP, its surroundings and its database.
pub(crate) struct World {
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) sandbox: Sandbox,
    pub(crate) secrets: Secrets,
    /// The log up to here is other stories'.
    log_from: usize,
    log: Captured,
    database: Db,
    master_keys: MasterKeys,
    running: Mutex<Arc<Running>>,
}

/// AIP as a process: it can be killed and started anew.
pub(crate) struct Running {
    pub(crate) app: Application,
    address: SocketAddr,
    serving: JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl World {
    pub(crate) async fn begin(engine: Engine) -> Self {
        let log = Captured::begin();
        let log_from = log.position();
        let clock = Arc::new(ManualClock::new());
        let sandbox = Sandbox::start(SandboxOptions {
            clock: clock.clone(),
            ..SandboxOptions::default()
        });
        let sandbox = sandbox.await.unwrap();
        let database = Db::create(engine).await;
        let master_keys = MasterKeys::generate(&SystemRng);
        let secrets = Secrets::default();
        secrets.learn_keys("a master key", master_keys.to_json().expose_secret());
        let keys = KEYS.to_json().unwrap();
        secrets.learn_keys("a signing key", keys.expose_secret());
        for person in [&sandbox.accounts.alice, &sandbox.accounts.bob] {
            secrets.learn("a password", &person.password);
        }
        let running = start(&clock, &sandbox, &database, &master_keys).await;
        Self {
            clock,
            sandbox,
            secrets,
            log_from,
            log,
            database,
            master_keys,
            running: Mutex::new(Arc::new(running)),
        }
    }

    /// Kills AIP and starts it anew on the same database.
    pub(crate) async fn restart(&self) {
        drop(self.replica().await);
    }

    /// Starts another AIP on the same database, which takes the requests from now on. Returns the
    /// one before, which goes on to run until it is dropped.
    pub(crate) async fn replica(&self) -> Arc<Running> {
        let fresh = start(
            &self.clock,
            &self.sandbox,
            &self.database,
            &self.master_keys,
        );
        let fresh = Arc::new(fresh.await);
        std::mem::replace(&mut *self.running.lock().unwrap(), fresh)
    }

    /// Lets requests go to that AIP.
    pub(crate) fn lead_to(&self, running: &Running) {
        lead_to(&self.sandbox, running.address);
    }

    /// Writes bytes to AIP and returns what it writes until it closes the connection.
    pub(crate) async fn raw(&self, bytes: &str) -> String {
        let address = self.aip().address;
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(bytes.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// AIP as it runs now.
    pub(crate) fn aip(&self) -> Arc<Running> {
        Arc::clone(&self.running.lock().unwrap())
    }

    pub(crate) fn pds(&self) -> &Pds {
        &self.sandbox.pds
    }

    pub(crate) fn alice(&self) -> &Person {
        &self.sandbox.accounts.alice
    }

    pub(crate) fn bob(&self) -> &Person {
        &self.sandbox.accounts.bob
    }

    /// A person's browser, new and without cookies.
    pub(crate) fn browser(&self) -> Browser<'_> {
        Browser::new(self)
    }

    /// A confidential web app with everything as usual.
    pub(crate) async fn app(&self) -> App<'_> {
        App::register(self, |_| {}).await
    }

    /// A public web app.
    pub(crate) async fn public_app(&self) -> App<'_> {
        App::register(self, |settings| {
            settings.auth_method = aip_storage::client::ClientAuthMethod::None;
        })
        .await
    }

    /// Lets time pass.
    pub(crate) fn pass(&self, time: Duration) {
        self.clock.advance(time);
    }

    /// One round of the keeper, as happens every few seconds.
    pub(crate) async fn keeper_round(&self) {
        self.aip().app.keeper.round().await.unwrap();
    }

    /// Sends a request to AIP, as anybody can.
    pub(crate) async fn send(&self, request: Request<Bytes>) -> Answer {
        let log_from = self.log.position();
        let fetched = self.http().fetch(request, PATIENT).await.unwrap();
        Answer::new(fetched, log_from)
    }

    /// A plain `GET` of a path of AIP.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        let request = Request::get(format!("{BASE}{path}"));
        self.send(request.body(Bytes::new()).unwrap()).await
    }

    pub(crate) fn http(&self) -> &PlainHttp {
        &self.sandbox.http
    }

    /// Everything that AIP stored.
    pub(crate) async fn dump(&self) -> Dump {
        self.database.dump().await
    }

    /// What AIP stored, but for the audit stream: what a refusal must leave as it was.
    pub(crate) async fn state(&self) -> Dump {
        self.dump().await.without(&["audit_events"])
    }

    /// The first column of a query, behind AIP's back.
    pub(crate) async fn texts(&self, query: &str) -> Vec<String> {
        self.database.texts(query).await
    }

    /// The audit events of that kind, oldest first.
    pub(crate) async fn audit(&self, kind: AuditKind) -> Vec<AuditEvent> {
        let storage = Arc::clone(&self.aip().app.server.storage);
        let mut events = storage.audit_events(1000).await.unwrap();
        events.retain(|event| event.kind == kind);
        events.reverse();
        events
    }

    /// What was logged since the story began. Stories run side by side, so look for something
    /// that only this one can have said.
    pub(crate) fn log(&self) -> String {
        self.log.since(self.log_from)
    }

    /// Opens and seals what this AIP keeps.
    pub(crate) fn sealer(&self) -> Sealer {
        self.master_keys.sealer()
    }

    /// Learns the secrets that only AIP and the PDS saw: what went over the wire between them,
    /// and what the database holds sealed.
    pub(crate) async fn learn_hidden_secrets(&self) {
        for request in self.pds().requests() {
            if let Some((_, token)) = request
                .header("authorization")
                .and_then(|it| it.split_once(' '))
            {
                self.secrets.learn("an upstream access token", token);
            }
            for name in ["dpop", "cookie"] {
                if let Some(value) = request.header(name) {
                    self.secrets.learn("a header that a PDS got", value);
                }
            }
            let form = request.form();
            for name in [
                "client_assertion",
                "code",
                "code_verifier",
                "refresh_token",
                "state",
                "token",
            ] {
                if let Some(value) = form.get(name) {
                    self.secrets.learn("a parameter that a PDS got", value);
                }
            }
        }
        let storage = Arc::clone(&self.aip().app.server.storage);
        let sealer = self.sealer();
        for id in self.texts("SELECT id FROM upstream_sessions").await {
            let session = storage.upstream_session(id.parse().unwrap()).await.unwrap();
            let session = session.unwrap();
            let place = |column| Aad {
                table: "upstream_sessions",
                column,
                row: &id,
            };
            // Revoked sessions have forgotten their tokens.
            if let Ok(token) = sealer.open_text(&session.tokens.access, place("access_token")) {
                self.secrets
                    .learn("an upstream access token", token.expose_secret());
            }
            if let Some(refresh) = &session.tokens.refresh
                && let Ok(token) = sealer.open_text(refresh, place("refresh_token"))
            {
                self.secrets
                    .learn("an upstream refresh token", token.expose_secret());
            }
            if let Ok(key) = sealer.open_text(&session.dpop_key, place("dpop_key")) {
                self.secrets.learn_keys("a DPoP key", key.expose_secret());
            }
        }
    }

    /// The secrets that can be read in what the database holds.
    pub(crate) async fn secrets_in_database(&self) -> Vec<&'static str> {
        let mut found = self.secrets.found_in(self.dump().await.text().as_bytes());
        found.extend(self.secrets.found_in(&self.database.files()));
        found
    }

    /// The secrets that can be read in the log since the story began.
    pub(crate) fn secrets_in_log(&self) -> Vec<&'static str> {
        self.secrets.found_in(self.log().as_bytes())
    }

    /// The end of every story: each ordered fault has happened, and no secret of it can be read.
    pub(crate) async fn end(&self) {
        self.sandbox.finish().unwrap();
        self.learn_hidden_secrets().await;
        let stored = self.secrets_in_database().await;
        assert!(stored.is_empty(), "the database holds: {stored:?}");
        let logged = self.secrets_in_log();
        assert!(logged.is_empty(), "the log holds: {logged:?}");
    }
}

/// Starts AIP and lets its host lead to it.
async fn start(
    clock: &Arc<ManualClock>,
    sandbox: &Sandbox,
    database: &Db,
    master_keys: &MasterKeys,
) -> Running {
    let dns = StandInDns(sandbox.dns.clone());
    let life = Lifecycle::new();
    let app = Application::new(Setup {
        external_base: BASE.to_owned(),
        worker_id: "story".to_owned(),
        brand: "AIP".to_owned(),
        scopes_supported: UPSTREAM_SCOPES.parse().unwrap(),
        client_document: ClientDocument {
            scope: UPSTREAM_SCOPES
                .split_whitespace()
                .collect::<Vec<_>>()
                .join(" "),
            ..ClientDocument::default()
        },
        resolver: ResolverConfig {
            plc: vec![Origin::parse(sandbox.plc.origin()).unwrap()],
            development: true,
            ..ResolverConfig::default()
        },
        storage: database.storage().await,
        keys: KEYS.clone(),
        master_keys: master_keys.clone(),
        http: network::outbound(&dns),
        dns: Arc::new(dns),
        clock: Arc::clone(clock) as Arc<dyn Clock>,
        rng: Arc::new(SystemRng),
        life: life.clone(),
    });
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let server = Server::bind(address, ListenConfig::default())
        .await
        .unwrap();
    let address = server.local_addr();
    lead_to(sandbox, address);
    life.advance(Stage::Ready);
    let router = app.public.clone();
    let serving = tokio::spawn(async move {
        server.run(router, std::future::pending()).await;
    });
    Running {
        app,
        address,
        serving,
    }
}

/// Lets the host of AIP lead to that address.
fn lead_to(sandbox: &Sandbox, address: SocketAddr) {
    let host = Url::parse(BASE).unwrap();
    sandbox.http.map_host(host.host_str().unwrap(), address);
}
