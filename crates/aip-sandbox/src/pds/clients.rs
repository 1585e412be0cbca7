//! OAuth clients: by metadata document, as a loopback development client, or trusted outright by
//! a test (<https://atproto.com/specs/oauth#clients>).

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use aip_base::{Http, Limits, Timestamp, lock};
use aip_jose::JwkSet;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{Request, StatusCode};
use serde_json::Value;
use url::Url;

use super::client_metadata::{from_metadata, loopback};
use super::error::OAuthError;
use super::inner::Inner;

/// A client that the PDS knows.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    pub(crate) id: Arc<str>,
    /// What the consent page calls it: names of strangers are not shown.
    pub(crate) label: String,
    pub(crate) redirects: Redirects,
    pub(crate) scope: BTreeSet<String>,
    pub(crate) keys: ClientKeys,
}

#[derive(Debug, Clone)]
pub(crate) enum Redirects {
    Exact(Vec<String>),
    /// Loopback: a URI without a port allows every port.
    Loopback(Vec<Url>),
}

/// How a client authenticates.
#[derive(Debug, Clone)]
pub(crate) enum ClientKeys {
    Public,
    Inline(JwkSet),
    Remote(String),
}

/// The clients that were looked up, and when.
#[derive(Default)]
pub(crate) struct ClientCache {
    trusted: HashMap<String, Arc<Client>>,
    documents: HashMap<String, (Timestamp, Arc<Client>)>,
    keys: HashMap<String, (Timestamp, JwkSet)>,
}

/// A metadata document that a PDS refuses.
#[derive(Debug, thiserror::Error)]
#[error("the client metadata is refused: {0}")]
pub struct ClientRefused(String);

impl Client {
    pub(crate) fn is_public(&self) -> bool {
        matches!(self.keys, ClientKeys::Public)
    }

    pub(crate) fn allows_redirect(&self, uri: &str) -> bool {
        match &self.redirects {
            Redirects::Exact(registered) => registered.iter().any(|known| known == uri),
            Redirects::Loopback(registered) => {
                let Ok(uri) = Url::parse(uri) else {
                    return false;
                };
                registered.iter().any(|known| {
                    known.port().is_none_or(|port| uri.port() == Some(port))
                        && (known.scheme(), known.host(), known.path(), known.query())
                            == (uri.scheme(), uri.host(), uri.path(), uri.query())
                })
            }
        }
    }
}

impl ClientCache {
    pub(crate) fn trust(&mut self, metadata: Value) -> Result<(), ClientRefused> {
        let client = from_metadata(metadata).map_err(ClientRefused)?;
        // Keys may have been fetched for an earlier version.
        self.forget();
        self.trusted.insert(client.id.to_string(), Arc::new(client));
        Ok(())
    }

    pub(crate) fn forget(&mut self) {
        self.documents.clear();
        self.keys.clear();
    }
}

impl Inner {
    /// The client named `id`, from the cache or its document.
    pub(crate) async fn client(&self, id: &str) -> Result<Arc<Client>, OAuthError> {
        if id.starts_with("http://localhost") {
            return loopback(id)
                .map(Arc::new)
                .map_err(OAuthError::invalid_client);
        }
        let now = self.clock.now();
        let lifetime = lock(&self.settings).lifetimes.client_cache;
        {
            let cache = lock(&self.clients);
            if let Some(client) = cache.trusted.get(id) {
                return Ok(Arc::clone(client));
            }
            if let Some((fetched, client)) = cache.documents.get(id)
                && now.since(*fetched) < lifetime
            {
                return Ok(Arc::clone(client));
            }
        }
        let refused = |why| OAuthError::new("invalid_client_metadata", why);
        if !id.starts_with("https://") {
            return Err(OAuthError::invalid_request("Invalid client ID"));
        }
        let document = fetch_json(&*self.http, id).await.map_err(refused)?;
        let client = Arc::new(from_metadata(document).map_err(refused)?);
        if &*client.id != id {
            return Err(refused("client_id does not match".to_owned()));
        }
        lock(&self.clients)
            .documents
            .insert(id.to_owned(), (now, Arc::clone(&client)));
        Ok(client)
    }

    /// The keys a client signs its assertions with.
    pub(crate) async fn client_keys(&self, client: &Client) -> Result<JwkSet, OAuthError> {
        let uri = match &client.keys {
            ClientKeys::Public => return Ok(JwkSet::default()),
            ClientKeys::Inline(keys) => return Ok(keys.clone()),
            ClientKeys::Remote(uri) => uri,
        };
        let now = self.clock.now();
        let lifetime = lock(&self.settings).lifetimes.client_cache;
        if let Some((fetched, keys)) = lock(&self.clients).keys.get(uri)
            && now.since(*fetched) < lifetime
        {
            return Ok(keys.clone());
        }
        let refused = |why: String| OAuthError::new("invalid_client_metadata", why);
        let document = fetch_json(&*self.http, uri).await.map_err(refused)?;
        let keys: JwkSet =
            serde_json::from_value(document).map_err(|error| refused(error.to_string()))?;
        lock(&self.clients)
            .keys
            .insert(uri.clone(), (now, keys.clone()));
        Ok(keys)
    }
}

async fn fetch_json(http: &dyn Http, url: &str) -> Result<Value, String> {
    let request = Request::get(url)
        .body(Bytes::new())
        .map_err(|error| error.to_string())?;
    let fetched = http
        .fetch(request, Limits::DOCUMENT)
        .await
        .map_err(|e| e.to_string())?;
    if fetched.status != StatusCode::OK {
        return Err(format!("{url} answered {}", fetched.status));
    }
    let media_type = fetched
        .headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    if !media_type.is_some_and(|value| value.starts_with("application/json")) {
        return Err(format!("{url} is not application/json"));
    }
    serde_json::from_slice(&fetched.body).map_err(|error| error.to_string())
}
