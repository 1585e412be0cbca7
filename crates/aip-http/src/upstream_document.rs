//! AIP's own client metadata document, which PDSs fetch: made again when a client has changed, and
//! not for each of the many anonymous requests for it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use aip_atproto::ScopeSet;
use aip_base::lock;
use aip_oauth::AuthorizationServer;
use aip_storage::StorageError;
use aip_storage::client::ClientsVersion;
use bytes::Bytes;
use serde_json::Value;
use tokio::time::Instant;

/// How long a document is used at most: the clocks of replicas differ, so that a change may not
/// show in the version.
const MAX_AGE: Duration = Duration::from_mins(1);

/// The document.
#[derive(Debug)]
pub struct UpstreamDocument {
    /// All of it but the scopes.
    pub document: Value,
    /// The scopes that are always named; those of the clients are added.
    pub always: ScopeSet,
    rendered: Mutex<Option<Arc<RenderedDocument>>>,
}

#[derive(Debug)]
struct RenderedDocument {
    version: ClientsVersion,
    at: Instant,
    body: Bytes,
}

impl UpstreamDocument {
    /// A document that was not made yet.
    pub fn new(document: Value, always: ScopeSet) -> Self {
        Self {
            document,
            always,
            rendered: Mutex::default(),
        }
    }

    /// The document as JSON, with the scopes of the clients as they are now.
    pub(crate) async fn body(&self, server: &AuthorizationServer) -> Result<Bytes, StorageError> {
        let version = server.storage.clients_version().await?;
        let rendered = self.last();
        if let Some(rendered) = rendered
            && rendered.version == version
            && rendered.at.elapsed() < MAX_AGE
        {
            return Ok(rendered.body.clone());
        }
        let at = Instant::now();
        let scopes = server.upstream_scopes(&self.always).await?;
        let mut document = self.document.clone();
        document["scope"] = scopes.to_string().into();
        let body = Bytes::from(document.to_string());
        let rendered = RenderedDocument {
            version,
            at,
            body: body.clone(),
        };
        *lock(&self.rendered) = Some(Arc::new(rendered));
        Ok(body)
    }

    fn last(&self) -> Option<Arc<RenderedDocument>> {
        lock(&self.rendered).clone()
    }
}
