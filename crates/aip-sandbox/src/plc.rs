//! The PLC directory stand-in: DID documents by `GET /{did}` (did-method-plc v0.3).

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex};

use aip_atproto::Did;
use aip_base::lock;
use aip_jose::PublicJwk;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::encode::base58;
use crate::stage::faults::{Endpoint, Order};
use crate::stage::reply::Reply;
use crate::stage::request::Received;
use crate::stage::server::{Server, Service, bind};
use crate::stage::{Stage, Unfinished};

/// A PLC directory on a port of the loopback interface.
pub struct Plc {
    origin: String,
    directory: Arc<Directory>,
    server: Server<Directory>,
}

/// What the directory holds about a DID.
#[derive(Debug, Clone)]
pub(crate) struct Registration {
    pub(crate) handle: String,
    pub(crate) pds: String,
    pub(crate) signing_key: PublicJwk,
}

#[derive(Debug, Clone)]
enum Entry {
    Registered(Box<Registration>),
    Verbatim(Value),
    Tombstone,
}

/// The directory's content, shared with the PDSs that register accounts in it.
#[derive(Default)]
pub(crate) struct Directory {
    stage: Stage,
    entries: Mutex<HashMap<String, Entry>>,
    old_format: Mutex<bool>,
}

impl Plc {
    pub(crate) async fn start(port: u16) -> io::Result<Self> {
        let listener = bind(port).await?;
        let origin = format!("http://localhost:{}", listener.local_addr()?.port());
        let directory = Arc::new(Directory::default());
        let server = Server::start(listener, Arc::clone(&directory))?;
        Ok(Self {
            origin,
            directory,
            server,
        })
    }

    pub(crate) fn directory(&self) -> Arc<Directory> {
        Arc::clone(&self.directory)
    }

    /// The base URL, without a trailing slash.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Renders documents as the reference directory server of 2023 did: relative ids and
    /// uncompressed keys.
    pub fn use_old_format(&self, old: bool) {
        *lock(&self.directory.old_format) = old;
    }

    /// Points the account's PDS at another origin, as a migration does.
    pub fn move_to(&self, did: &Did, pds: &str) {
        self.directory.change(did.as_str(), |registration| {
            pds.clone_into(&mut registration.pds);
        });
    }

    /// Changes the handle that the document claims.
    pub fn claim_handle(&self, did: &Did, handle: &str) {
        self.directory.change(did.as_str(), |registration| {
            handle.clone_into(&mut registration.handle);
        });
    }

    /// Answers 410 for the DID.
    pub fn tombstone(&self, did: &Did) {
        self.directory.insert(did.as_str(), Entry::Tombstone);
    }

    /// Answers 404 for the DID.
    pub fn forget(&self, did: &Did) {
        lock(&self.directory.entries).remove(did.as_str());
    }

    /// Answers this document for the DID, however wrong it is.
    pub fn set_document(&self, did: &Did, document: Value) {
        self.directory
            .insert(did.as_str(), Entry::Verbatim(document));
    }

    /// The document as it is served now.
    pub fn document(&self, did: &Did) -> Option<Value> {
        self.directory.document(did.as_str()).ok()
    }

    /// Orders a fault for the next document.
    pub fn next(&self) -> Order<'_> {
        self.directory.stage.faults.next(Endpoint::DidDocument)
    }

    /// Orders a fault for every document until [`Plc::heal`].
    pub fn always(&self) -> Order<'_> {
        self.directory.stage.faults.always(Endpoint::DidDocument)
    }

    /// Forgets every order.
    pub fn heal(&self) {
        self.directory.stage.faults.clear(Endpoint::DidDocument);
    }

    /// Every request so far.
    pub fn requests(&self) -> Vec<Received> {
        self.directory.stage.journal.all()
    }

    /// Remembers only the newest `entries` requests; 0 for none.
    pub fn keep_requests(&self, entries: usize) {
        self.directory.stage.journal.keep(entries);
    }

    /// Refuses connections.
    pub async fn go_down(&self) {
        self.server.stop().await;
    }

    /// Accepts connections again, on the same port.
    ///
    /// # Errors
    /// When somebody else took the port.
    pub async fn come_up(&self) -> io::Result<()> {
        self.server.resume().await
    }

    /// Checks that every ordered fault has happened.
    ///
    /// # Errors
    /// The orders that were not reached.
    pub fn finish(&self) -> Result<(), Unfinished> {
        self.directory.stage.finish()
    }
}

impl Directory {
    pub(crate) fn register(&self, did: &str, registration: Registration) {
        self.insert(did, Entry::Registered(Box::new(registration)));
    }

    fn insert(&self, did: &str, entry: Entry) {
        lock(&self.entries).insert(did.to_owned(), entry);
    }

    pub(crate) fn change(&self, did: &str, change: impl FnOnce(&mut Registration)) {
        if let Some(Entry::Registered(registration)) = lock(&self.entries).get_mut(did) {
            change(registration);
        }
    }

    pub(crate) fn document(&self, did: &str) -> Result<Value, StatusCode> {
        let entry = lock(&self.entries).get(did).cloned();
        match entry {
            Some(Entry::Registered(registration)) if *lock(&self.old_format) => {
                Ok(old_document(did, &registration))
            }
            Some(Entry::Registered(registration)) => Ok(document(did, &registration)),
            Some(Entry::Verbatim(document)) => Ok(document),
            Some(Entry::Tombstone) => Err(StatusCode::GONE),
            None => Err(StatusCode::NOT_FOUND),
        }
    }
}

impl Service for Directory {
    fn stage(&self) -> &Stage {
        &self.stage
    }

    fn endpoint(&self, request: &Received) -> Endpoint {
        if request.path.starts_with("/did:") {
            Endpoint::DidDocument
        } else {
            Endpoint::Other
        }
    }

    async fn answer(&self, endpoint: Endpoint, request: Received) -> Reply {
        if request.method != Method::GET {
            return Reply::text(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed");
        }
        if endpoint != Endpoint::DidDocument {
            let health = json!({ "version": "sandbox" });
            return if request.path == "/_health" {
                Reply::json(StatusCode::OK, &health)
            } else {
                Reply::text(StatusCode::NOT_FOUND, "Not Found")
            };
        }
        let did = request.path.trim_start_matches('/').replace("%3A", ":");
        match self.document(&did) {
            Ok(document) => {
                let body = document.to_string();
                Reply::new(
                    StatusCode::OK,
                    "application/did+ld+json; charset=utf-8",
                    body,
                )
            }
            Err(status) => {
                let what = if status == StatusCode::GONE {
                    "not available"
                } else {
                    "not registered"
                };
                Reply::json(status, &json!({ "message": format!("DID {what}: {did}") }))
            }
        }
    }

    /// A directory knows no `DPoP`.
    fn demand_nonce(&self, _: Endpoint) -> Reply {
        Reply::text(StatusCode::BAD_REQUEST, "Bad Request")
    }
}

fn document(did: &str, registration: &Registration) -> Value {
    json!({
        "@context": [
            "https://www.w3.org/ns/did/v1",
            "https://w3id.org/security/multikey/v1",
            "https://w3id.org/security/suites/secp256k1-2019/v1",
        ],
        "id": did,
        "alsoKnownAs": [format!("at://{}", registration.handle)],
        "verificationMethod": [{
            "id": format!("{did}#atproto"),
            "type": "Multikey",
            "controller": did,
            "publicKeyMultibase": registration.signing_key.to_multikey(),
        }],
        "service": [{
            "id": "#atproto_pds",
            "type": "AtprotoPersonalDataServer",
            "serviceEndpoint": registration.pds,
        }],
    })
}

fn old_document(did: &str, registration: &Registration) -> Value {
    json!({
        "@context": [
            "https://www.w3.org/ns/did/v1",
            "https://w3id.org/security/suites/secp256k1-2019/v1",
        ],
        "id": did,
        "alsoKnownAs": [format!("at://{}", registration.handle)],
        "verificationMethod": [{
            "id": "#atproto",
            "type": "EcdsaSecp256k1VerificationKey2019",
            "controller": did,
            "publicKeyMultibase": uncompressed(&registration.signing_key),
        }],
        "service": [{
            "id": "#atproto_pds",
            "type": "AtprotoPersonalDataServer",
            "serviceEndpoint": registration.pds,
        }],
    })
}

/// The uncompressed point (SEC 1 §2.3.3) in multibase, as `EcdsaSecp256k1VerificationKey2019`
/// has it.
fn uncompressed(key: &PublicJwk) -> Option<String> {
    let jwk = serde_json::to_value(key).ok()?;
    let coordinate = |name: &str| URL_SAFE_NO_PAD.decode(jwk.get(name)?.as_str()?).ok();
    let mut point = vec![4];
    point.extend(coordinate("x")?);
    point.extend(coordinate("y")?);
    Some(format!("z{}", base58(&point)))
}
