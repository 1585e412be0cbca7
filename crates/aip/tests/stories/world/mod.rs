//! The world of a story: AIP on a loopback port with a database of its own, stand-ins for all that
//! it talks to, and one clock for everybody.

mod database;
mod network;
mod process;
mod searches;
mod secrets;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aip::app::AppConfig;
use aip_atproto::Origin;
use aip_base::{Clock, Http as _, Limits, SystemRng};
use aip_jose::Alg;
use aip_keys::{KeySet, MasterKeys, Purpose};
use aip_sandbox::{Pds, Person, Sandbox, SandboxOptions};
use aip_storage::audit::{AuditEvent, AuditKind};
use aip_storage::client::ClientAuthMethod;
use aip_storage_sql::DatabaseMove;
use aip_testkit::clock::ManualClock;
use aip_testkit::logs::Captured;
use aip_testkit::valkey::ValkeyServer;
use bytes::Bytes;
use http::Request;
use secrecy::ExposeSecret as _;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use self::database::Db;
use self::network::Hosted;
use self::process::{ConfigChange, lead_to, start};
use crate::answer::Answer;
use crate::app::App;
use crate::browser::Browser;

pub(crate) use self::database::{Dump, Engine, HeldWriteLock};
pub(crate) use self::process::{BASE, CALL_LIMITS, KEYS, Running};
pub(crate) use self::secrets::Secrets;

/// Callers of AIP are more patient than AIP is with others.
const PATIENT: Limits = Limits {
    max_bytes: 64 * 1024 * 1024,
    deadline: Duration::from_mins(1),
};

/// AIP, its surroundings and its database.
pub(crate) struct World {
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) sandbox: Sandbox,
    /// What the story answers itself.
    pub(crate) hosted: Hosted,
    pub(crate) secrets: Secrets,
    /// The log up to here is other stories'.
    log_from: usize,
    log: Captured,
    database: Db,
    spill: TempDir,
    keys: Mutex<KeySet>,
    master_keys: MasterKeys,
    /// What the story configures in its own way.
    change: Mutex<ConfigChange>,
    running: Mutex<Arc<Running>>,
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
        let spill = tempfile::tempdir().unwrap();
        let everybodys: Arc<dyn Clock> = clock.clone();
        let change: ConfigChange = Arc::new(|_| ());
        let hosted = Hosted::default();
        let running = start(
            &everybodys,
            &sandbox,
            &database,
            spill.path(),
            &KEYS,
            &master_keys,
            &change,
            &hosted,
        );
        let running = running.await;
        Self {
            clock,
            sandbox,
            hosted,
            secrets,
            log_from,
            log,
            database,
            spill,
            keys: Mutex::new(KEYS.clone()),
            master_keys,
            change: Mutex::new(change),
            running: Mutex::new(Arc::new(running)),
        }
    }

    /// A Valkey server, used by every AIP that is started from now on.
    pub(crate) async fn valkey(&self) -> ValkeyServer {
        let server = ValkeyServer::start().await;
        self.database.put_behind(&server.url());
        self.restart().await;
        server
    }

    /// Starts AIP anew with the PDS on the operator's list of those whose word on a confirmed e-mail
    /// address counts.
    pub(crate) async fn trust_pds_with_emails(&self) {
        let pds = Origin::parse(self.pds().origin()).unwrap();
        let verifiers = move |config: &mut AppConfig| config.email_verifiers.push(pds.clone());
        self.restart_configured(verifiers).await;
    }

    /// Starts AIP anew with another configuration, and from now on every replica.
    pub(crate) async fn restart_configured(
        &self,
        change: impl Fn(&mut AppConfig) + Send + Sync + 'static,
    ) {
        *self.change.lock().unwrap() = Arc::new(change);
        self.restart().await;
    }

    /// Kills AIP and starts it anew on the same database.
    pub(crate) async fn restart(&self) {
        drop(self.replica().await);
    }

    /// Starts another AIP on the same database, which takes the requests from now on. Returns the
    /// one before, which goes on to run until it is dropped.
    pub(crate) async fn replica(&self) -> Arc<Running> {
        self.replica_by(Arc::clone(&self.clock) as Arc<dyn Clock>)
            .await
    }

    /// A replica whose clock is not everybody's.
    pub(crate) async fn replica_by(&self, clock: Arc<dyn Clock>) -> Arc<Running> {
        let keys = self.keys.lock().unwrap().clone();
        let change = Arc::clone(&self.change.lock().unwrap());
        let fresh = start(
            &clock,
            &self.sandbox,
            &self.database,
            self.spill.path(),
            &keys,
            &self.master_keys,
            &change,
            &self.hosted,
        );
        let fresh = Arc::new(fresh.await);
        std::mem::replace(&mut *self.running.lock().unwrap(), fresh)
    }

    /// Starts AIP anew with a new key towards PDSs, the old one still published. Returns its id.
    pub(crate) async fn rotate_upstream_key(&self) -> String {
        let mut keys = self.keys.lock().unwrap().clone();
        let kid = keys.add(Purpose::Upstream, Alg::Es256, &*self.clock, &SystemRng);
        let kid = kid.unwrap();
        keys.activate(&kid, self.clock.now()).unwrap();
        let json = keys.to_json().unwrap();
        self.secrets
            .learn_keys("a signing key", json.expose_secret());
        self.restart_with(keys).await;
        kid
    }

    /// Starts AIP anew with other keys.
    pub(crate) async fn restart_with(&self, keys: KeySet) {
        *self.keys.lock().unwrap() = keys;
        self.restart().await;
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

    /// Writes bytes to AIP and leaves the connection open.
    pub(crate) async fn open(&self, bytes: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.aip().address).await.unwrap();
        stream.write_all(bytes.as_bytes()).await.unwrap();
        stream
    }

    /// Where AIP listens, for programs that know nothing of its name.
    pub(crate) fn address(&self) -> SocketAddr {
        self.aip().address
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
            settings.auth_method = ClientAuthMethod::None;
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
        let fetched = self.sandbox.http.fetch(request, PATIENT).await.unwrap();
        Answer::new(fetched, log_from)
    }

    /// A plain `GET` of a path of AIP.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        let request = Request::get(format!("{BASE}{path}"));
        self.send(request.body(Bytes::new()).unwrap()).await
    }

    /// Takes the sessions from everybody who would write them, until it is released.
    pub(crate) async fn block_writes(&self) -> HeldWriteLock {
        self.database.block_writes().await
    }

    /// A move of the database to another server, which AIP, started anew, follows.
    pub(crate) async fn begin_move(&self) -> DatabaseMove {
        let begun = self.database.begin_move().await;
        self.restart().await;
        begun
    }

    /// How many sessions' tokens wait on the disk.
    pub(crate) fn spilled(&self) -> usize {
        let files = std::fs::read_dir(self.spill.path()).unwrap();
        let paths = files.map(|file| file.unwrap().path());
        paths
            .filter(|path| path.extension() == Some("json".as_ref()))
            .count()
    }

    /// Which database the story is told on.
    pub(crate) fn engine(&self) -> Engine {
        self.database.engine()
    }

    /// Everything that AIP stored.
    pub(crate) async fn dump(&self) -> Dump {
        self.database.dump().await
    }

    /// What AIP stored, but for the audit stream and what may be wiped: what a refusal must leave
    /// as it was.
    pub(crate) async fn state(&self) -> Dump {
        self.dump()
            .await
            .without(&["audit_events", "nonces", "rate_limits"])
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
}

/// Waits until something is so.
pub(crate) async fn until(what: &str, is_so: impl AsyncFn() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENT.deadline;
    while !is_so().await {
        assert!(tokio::time::Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
