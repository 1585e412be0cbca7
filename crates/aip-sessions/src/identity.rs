//! Who AIP is towards PDSs: the loopback development client, or a confidential client with a
//! metadata document (<https://atproto.com/specs/oauth#clients>).

use std::sync::Arc;

use aip_atproto::ScopeSet;
use aip_jose::SigningKey;
use aip_keys::KeyRing;
use aip_pds::ClientIdentity;

/// Who AIP is towards PDSs.
#[derive(Clone)]
pub struct UpstreamIdentity {
    document_url: Option<String>,
    redirect_uri: String,
    keys: Arc<KeyRing>,
}

/// The key that a session is bound to for life is not in the key set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the client key `{0}` is not in the key set; put it back, or its sessions are lost")]
pub struct MissingKey(pub String);

impl UpstreamIdentity {
    /// A client whose metadata document is at `document_url`, or the development client if there is
    /// none. PDSs send people back to `redirect_uri`.
    pub fn new(document_url: Option<String>, redirect_uri: String, keys: Arc<KeyRing>) -> Self {
        Self {
            document_url,
            redirect_uri,
            keys,
        }
    }

    /// The callback.
    pub fn redirect_uri(&self) -> &str {
        &self.redirect_uri
    }

    /// The `client_id` of the confidential client, which is the URL of its document; `None` when
    /// AIP runs on loopback and is a development client.
    pub fn document_url(&self) -> Option<&str> {
        self.document_url.as_deref()
    }

    /// The identity of a session that begins now: that of the app's own document, if it has one, at
    /// `own_document`.
    pub fn for_new_session(&self, scope: &ScopeSet, own_document: Option<&str>) -> ClientIdentity {
        match self.document_url().map(|it| own_document.unwrap_or(it)) {
            Some(client_id) => ClientIdentity::Confidential {
                client_id: client_id.to_owned(),
                key: self.active_key(),
            },
            None => ClientIdentity::loopback(&self.redirect_uri, scope),
        }
    }

    /// The key of sessions that begin now.
    pub(crate) fn active_key(&self) -> Arc<SigningKey> {
        Arc::clone(self.keys.current().upstream_active())
    }

    /// The key `kid`, which something is bound to.
    pub(crate) fn key(&self, kid: &str) -> Result<Arc<SigningKey>, MissingKey> {
        let keys = self.keys.current();
        let key = keys.upstream_by_kid(kid);
        key.map(Arc::clone)
            .ok_or_else(|| MissingKey(kid.to_owned()))
    }

    /// The identity of a session that began as `client_id` with the key `kid`.
    pub fn for_session(
        &self,
        client_id: &str,
        kid: Option<&str>,
    ) -> Result<ClientIdentity, MissingKey> {
        let client_id = client_id.to_owned();
        match kid {
            None => Ok(ClientIdentity::Loopback { client_id }),
            Some(kid) => Ok(ClientIdentity::Confidential {
                client_id,
                key: self.key(kid)?,
            }),
        }
    }
}

/// The `kid` of the key that a session is bound to.
pub(crate) fn key_id(identity: &ClientIdentity) -> Option<String> {
    match identity {
        ClientIdentity::Loopback { .. } => None,
        ClientIdentity::Confidential { key, .. } => key.kid().map(str::to_owned),
    }
}
