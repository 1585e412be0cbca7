//! The PLC directory stand-in: DID documents by `GET /{did}` (did-method-plc v0.3).

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io;
use std::sync::{Arc, Mutex};

use aip_atproto::Did;
use aip_base::lock;
use aip_jose::PublicJwk;
use http::header::ETAG;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::stage::faults::{Endpoint, Order};
use crate::stage::reply::Reply;
use crate::stage::request::Received;
use crate::stage::server::{Server, Service, bind};
use crate::stage::{Stage, Unfinished};

/// What documents are served as.
const MEDIA_TYPE: &str = "application/did+ld+json; charset=utf-8";

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

/// The directory's content, shared with the PDSs that register accounts in it.
#[derive(Default)]
pub(crate) struct Directory {
    stage: Stage,
    entries: Mutex<HashMap<String, Registration>>,
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

    /// Points the account's PDS at another origin, as a migration does.
    pub fn move_to(&self, did: &Did, pds: &str) {
        self.directory.change(did.as_str(), |registration| {
            pds.clone_into(&mut registration.pds);
        });
    }

    /// The document as it is served now.
    pub fn document(&self, did: &Did) -> Option<Value> {
        self.directory.document(did.as_str())
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
        lock(&self.entries).insert(did.to_owned(), registration);
    }

    pub(crate) fn change(&self, did: &str, change: impl FnOnce(&mut Registration)) {
        if let Some(registration) = lock(&self.entries).get_mut(did) {
            change(registration);
        }
    }

    pub(crate) fn document(&self, did: &str) -> Option<Value> {
        let entries = lock(&self.entries);
        entries
            .get(did)
            .map(|registration| document(did, registration))
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
        let Some(document) = self.document(&did) else {
            let body = json!({ "message": format!("DID not registered: {did}") });
            return Reply::json(StatusCode::NOT_FOUND, &body);
        };
        let document = document.to_string();
        let tag = entity_tag(&document);
        if request.header("if-none-match") == Some(&*tag) {
            return Reply::new(StatusCode::NOT_MODIFIED, MEDIA_TYPE, "").with(ETAG, &tag);
        }
        Reply::new(StatusCode::OK, MEDIA_TYPE, document).with(ETAG, &tag)
    }

    /// A directory knows no `DPoP`.
    fn demand_nonce(&self, _: Endpoint) -> Reply {
        Reply::text(StatusCode::BAD_REQUEST, "Bad Request")
    }
}

/// A weak tag, as that of the real directory is.
fn entity_tag(document: &str) -> String {
    let mut hasher = DefaultHasher::new();
    document.hash(&mut hasher);
    format!("W/\"{:x}-{:x}\"", document.len(), hasher.finish())
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
