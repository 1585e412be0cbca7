//! The PDS stand-in: authorization server and resource server of the AT Protocol, with the
//! manners (and the sharp edges) of the reference implementation, and switches to misbehave.

mod accounts;
mod authorize;
mod client_auth;
mod client_metadata;
mod clients;
mod error;
mod grants;
mod inner;
mod jwt;
mod metadata;
mod mint;
mod nonce;
mod pages;
mod par;
mod proofs;
mod replay;
mod repos;
mod sessions;
mod settings;
mod token;
mod xrpc;

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};

use aip_atproto::{Did, DidError, Handle};
use aip_base::{Clock, Http, Rng, lock};
use aip_jose::{Alg, KeyError, SigningKey};
use serde_json::Value;

pub use self::accounts::{AccountState, Person};
pub use self::clients::ClientRefused;
pub use self::mint::{Mint, MintedSession};
pub use self::sessions::EndedSession;
pub use self::settings::{Document, Lie, Lifetimes};

use self::accounts::{Account, did_of};
use self::inner::{Inner, Role, Site};
use self::jwt::TokenSecret;
use self::nonce::Nonces;
use self::replay::UsedOnce;
use self::sessions::Session;
use crate::dns::Dns;
use crate::plc::{Directory, Registration};
use crate::stage::faults::{Endpoint, Order};
use crate::stage::reply::Reply;
use crate::stage::request::Received;
use crate::stage::server::{Server, bind};
use crate::stage::{Stage, Unfinished};

/// A PDS on a port of the loopback interface (or two, see [`PdsOptions::separate_issuer`]).
pub struct Pds {
    inner: Arc<Inner>,
    dns: Dns,
    ports: Vec<Server<Site>>,
}

/// How to start a PDS.
#[derive(Debug, Clone, Copy, Default)]
pub struct PdsOptions {
    /// The port; 0 for a free one.
    pub port: u16,
    /// Puts the authorization server on a port of its own, as an entryway does, so that it has
    /// another origin and other nonces than the resource server.
    pub separate_issuer: bool,
}

/// What a PDS shares with the rest of the sandbox.
pub(crate) struct Surroundings {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) rng: Arc<dyn Rng>,
    pub(crate) http: Arc<dyn Http>,
    pub(crate) directory: Arc<Directory>,
    pub(crate) dns: Dns,
}

/// A stand-in that could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// A port could not be opened.
    #[error("cannot listen on the loopback interface: {0}")]
    Listen(#[from] io::Error),
    /// An account's key could not be made.
    #[error("cannot make a key: {0}")]
    Key(#[from] KeyError),
    /// An account's DID could not be made.
    #[error("cannot make a DID: {0}")]
    Did(#[from] DidError),
    /// There is no such account to move.
    #[error("the account is not at that PDS")]
    NoSuchAccount,
}

impl Pds {
    pub(crate) async fn start(
        surroundings: Surroundings,
        options: PdsOptions,
    ) -> Result<Self, SetupError> {
        let listener = bind(options.port).await?;
        let origin = |port: u16| format!("http://localhost:{port}");
        let resource = origin(listener.local_addr()?.port());
        let mut listeners = vec![(listener, Role::Both)];
        let mut issuer = resource.clone();
        if options.separate_issuer {
            let listener = bind(0).await?;
            issuer = origin(listener.local_addr()?.port());
            listeners[0].1 = Role::ResourceServer;
            listeners.push((listener, Role::AuthorizationServer));
        }
        let Surroundings {
            clock,
            rng,
            http,
            directory,
            dns,
        } = surroundings;
        let now = clock.now();
        let used_once = || Mutex::new(UsedOnce::new(now));
        let inner = Arc::new(Inner {
            service_did: "did:web:localhost".to_owned(),
            tokens: TokenSecret::new(&*rng),
            clock,
            rng,
            http,
            resource,
            issuer,
            directory,
            stage: Stage::default(),
            settings: Mutex::default(),
            clients: Mutex::default(),
            accounts: Mutex::default(),
            grants: Mutex::default(),
            sessions: Mutex::default(),
            used_proofs: used_once(),
            used_assertions: used_once(),
            used_challenges: used_once(),
            password_sessions: Mutex::default(),
            repos: Mutex::default(),
        });
        let ports = listeners.into_iter().map(|(listener, role)| {
            let nonces = Nonces::new(&*inner.rng);
            Server::start(
                listener,
                Arc::new(Site {
                    inner: Arc::clone(&inner),
                    role,
                    nonces,
                }),
            )
        });
        let ports = ports.collect::<io::Result<_>>()?;
        Ok(Self { inner, dns, ports })
    }

    /// The origin of the PDS, as DID documents name it.
    pub fn origin(&self) -> &str {
        &self.inner.resource
    }

    /// The origin of its authorization server.
    pub fn issuer(&self) -> &str {
        &self.inner.issuer
    }

    /// Opens an account and registers it in the directory and in DNS. The same handle has the
    /// same DID everywhere.
    ///
    /// # Errors
    /// When the account's key cannot be made.
    pub fn add_account(&self, handle: &Handle, password: &str) -> Result<Person, SetupError> {
        self.open_account(handle, password, &signing_key()?)
    }

    /// Opens many accounts with the same password at once. They share one key, because a thousand
    /// keys take longer to make than a load test has.
    ///
    /// # Errors
    /// When the key cannot be made.
    pub fn add_accounts(
        &self,
        handles: &[Handle],
        password: &str,
    ) -> Result<Vec<Person>, SetupError> {
        let key = signing_key()?;
        let people = handles.iter();
        people
            .map(|handle| self.open_account(handle, password, &key))
            .collect()
    }

    fn open_account(
        &self,
        handle: &Handle,
        password: &str,
        signing_key: &Arc<SigningKey>,
    ) -> Result<Person, SetupError> {
        let did = Did::parse(&did_of(handle))?;
        let account = Account {
            did: did.clone(),
            handle: handle.clone(),
            email: format!("{}@mail.test", handle.as_str().replace('.', "-")),
            email_confirmed: true,
            password: password.to_owned(),
            state: AccountState::Active,
            signing_key: Arc::clone(signing_key),
            app_passwords: BTreeMap::new(),
        };
        self.take_in(account);
        self.dns.publish(handle, &did);
        Ok(Person {
            did,
            handle: handle.clone(),
            password: password.to_owned(),
        })
    }

    /// Moves an account here: its repository is copied, the DID document points here, and the
    /// account at `from` is deactivated. Its sessions there go on to work, as they do in life.
    ///
    /// # Errors
    /// When `from` has no such account.
    pub fn adopt(&self, from: &Self, did: &Did) -> Result<(), SetupError> {
        if Arc::ptr_eq(&self.inner, &from.inner) {
            return Ok(());
        }
        let account = lock(&from.inner.accounts).get(did.as_str()).cloned();
        let account = account.ok_or(SetupError::NoSuchAccount)?;
        lock(&from.inner.repos).copy_to(&mut lock(&self.inner.repos), did.as_str());
        self.take_in(account);
        from.set_account_state(did, AccountState::Deactivated);
        Ok(())
    }

    fn take_in(&self, account: Account) {
        let registration = Registration {
            handle: account.handle.as_str().to_owned(),
            pds: self.inner.resource.clone(),
            signing_key: account.signing_key.public().clone(),
        };
        self.inner
            .directory
            .register(account.did.as_str(), registration);
        lock(&self.inner.accounts).insert(account);
    }

    /// Gives an account another handle, as its owner can at the PDS: in the directory and in DNS, too.
    pub fn rename(&self, did: &Did, handle: &Handle) {
        if let Some(account) = lock(&self.inner.accounts).get_mut(did.as_str()) {
            account.handle = handle.clone();
        }
        self.inner.directory.change(did.as_str(), |entry| {
            handle.as_str().clone_into(&mut entry.handle);
        });
        self.dns.publish(handle, did);
    }

    /// Says whether the account has confirmed its e-mail address. A new account has.
    pub fn set_email_confirmed(&self, did: &Did, confirmed: bool) {
        if let Some(account) = lock(&self.inner.accounts).get_mut(did.as_str()) {
            account.email_confirmed = confirmed;
        }
    }

    /// Deactivates, takes down, deletes or restores an account.
    pub fn set_account_state(&self, did: &Did, state: AccountState) {
        if let Some(account) = lock(&self.inner.accounts).get_mut(did.as_str()) {
            account.state = state;
        }
        if !state.keeps_sessions() {
            self.end_sessions(did);
        }
        if state == AccountState::Deleted {
            lock(&self.inner.repos).forget(did.as_str());
            lock(&self.inner.grants).forget_consent(did.as_str());
        }
    }

    /// Ends every OAuth session of an account, as its owner can at the PDS.
    pub fn end_sessions(&self, did: &Did) {
        let of_account = |session: &Session| *session.did == *did.as_str();
        let now = self.inner.clock.now();
        lock(&self.inner.sessions).end_where(of_account, "ended by the account", now);
    }

    /// Ends those of one client, as its owner can at the PDS.
    pub fn end_sessions_of_client(&self, did: &Did, client_id: &str) {
        let of_client =
            |session: &Session| *session.did == *did.as_str() && *session.client_id == *client_id;
        let now = self.inner.clock.now();
        lock(&self.inner.sessions).end_where(of_client, "ended by the account", now);
    }

    /// The newest OAuth sessions that ended, oldest first, and why they did.
    pub fn ended_sessions(&self) -> Vec<EndedSession> {
        lock(&self.inner.sessions).ended()
    }

    /// The number of OAuth sessions of an account.
    pub fn live_sessions(&self, did: &Did) -> usize {
        lock(&self.inner.sessions).count(|session| *session.did == *did.as_str())
    }

    /// Changes how long things live.
    pub fn set_lifetimes(&self, change: impl FnOnce(&mut Lifetimes)) {
        change(&mut lock(&self.inner.settings).lifetimes);
    }

    /// Gives a nonce of its own with each answer and refuses all older ones, whoever they were
    /// given to (RFC 9449 §8.2 lets servers do so), or stops to do so.
    pub fn set_nonce_per_answer(&self, on: bool) {
        lock(&self.inner.settings).nonce_per_answer = on;
    }

    /// Tells a lie until [`Pds::tell_truth`].
    pub fn lie(&self, lie: Lie) {
        lock(&self.inner.settings).lies.push(lie);
    }

    /// Ends every lie.
    pub fn tell_truth(&self) {
        lock(&self.inner.settings).lies.clear();
    }

    /// Registers a client by its metadata document, with `jwks` inside when it is confidential:
    /// nothing is fetched. Again with other keys is a rotation.
    ///
    /// # Errors
    /// When the document breaks a rule for client metadata.
    pub fn trust_client(&self, metadata: Value) -> Result<(), ClientRefused> {
        lock(&self.inner.clients).trust(metadata)
    }

    /// Forgets the metadata documents and keys that were fetched.
    pub fn forget_clients(&self) {
        lock(&self.inner.clients).forget();
    }

    /// Orders a fault for the next request to `endpoint`.
    pub fn next(&self, endpoint: Endpoint) -> Order<'_> {
        self.inner.stage.faults.next(endpoint)
    }

    /// Orders a fault for every request to `endpoint` until [`Pds::heal`].
    pub fn always(&self, endpoint: Endpoint) -> Order<'_> {
        self.inner.stage.faults.always(endpoint)
    }

    /// Forgets every order for `endpoint`.
    pub fn heal(&self, endpoint: Endpoint) {
        self.inner.stage.faults.clear(endpoint);
    }

    /// Every request so far, oldest first, with all its secrets.
    pub fn requests(&self) -> Vec<Received> {
        self.inner.stage.journal.all()
    }

    /// The requests to `endpoint` so far, oldest first.
    pub fn requests_to(&self, endpoint: Endpoint) -> Vec<Received> {
        self.inner.stage.journal.at(endpoint)
    }

    /// Forgets the requests so far.
    pub fn forget_requests(&self) {
        self.inner.stage.journal.clear();
    }

    /// Remembers only the newest `entries` requests; 0 for none, as load tests want it.
    pub fn keep_requests(&self, entries: usize) {
        self.inner.stage.journal.keep(entries);
    }

    /// The answers of `endpoint` that took effect and were lost on order
    /// ([`Order::drops_response`], [`Order::hangs`] after the fact), oldest first.
    pub fn lost_answers(&self, endpoint: Endpoint) -> Vec<Reply> {
        self.inner.stage.lost.at(endpoint)
    }

    /// Refuses connections.
    pub async fn go_down(&self) {
        for port in &self.ports {
            port.stop().await;
        }
    }

    /// Accepts connections again, on the same ports. Nothing was forgotten.
    ///
    /// # Errors
    /// When somebody else took a port.
    pub async fn come_up(&self) -> io::Result<()> {
        for port in &self.ports {
            port.resume().await?;
        }
        Ok(())
    }

    /// Checks that every counted fault has happened.
    ///
    /// # Errors
    /// The orders that were not reached.
    pub fn finish(&self) -> Result<(), Unfinished> {
        self.inner.stage.finish()
    }
}

/// What an account signs its repository with.
fn signing_key() -> Result<Arc<SigningKey>, SetupError> {
    Ok(Arc::new(SigningKey::generate(Alg::Es256k, None)?))
}
