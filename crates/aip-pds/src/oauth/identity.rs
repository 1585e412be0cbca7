//! Who AIP is towards an authorization server, and the keys of one session.

use std::sync::Arc;

use aip_atproto::ScopeSet;
use aip_base::RowId;
use aip_jose::SigningKey;
use url::form_urlencoded;

/// Who AIP is towards an authorization server.
#[derive(Debug, Clone)]
pub enum ClientIdentity {
    /// The loopback development client, which is public and has no document
    /// (<https://atproto.com/specs/oauth#localhost-client-development>).
    Loopback {
        /// `http://localhost` with redirect URI and scope in its query.
        client_id: String,
    },
    /// A client with a metadata document that authenticates with `private_key_jwt`.
    Confidential {
        /// The URL of the document.
        client_id: String,
        /// The key that signs assertions. A session stays with the key it began with.
        key: Arc<SigningKey>,
    },
}

/// What one upstream session (or one sign-in) signs with.
#[derive(Debug, Clone)]
pub struct SessionKeys {
    /// Which session it is, for its nonces; not sent anywhere.
    pub session: RowId,
    /// Who AIP is in this session.
    pub client: ClientIdentity,
    /// The `DPoP` key, of this session only.
    pub dpop: Arc<SigningKey>,
}

impl ClientIdentity {
    /// The loopback client for one redirect URI (which has an IP literal as host) and all scopes
    /// that will ever be asked for.
    pub fn loopback(redirect_uri: &str, scope: &ScopeSet) -> Self {
        let query = form_urlencoded::Serializer::new(String::new())
            .append_pair("redirect_uri", redirect_uri)
            .append_pair("scope", &scope.to_string())
            .finish();
        Self::Loopback {
            client_id: format!("http://localhost?{query}"),
        }
    }

    /// The `client_id` that AIP uses at PDSs.
    pub fn client_id(&self) -> &str {
        match self {
            Self::Loopback { client_id } | Self::Confidential { client_id, .. } => client_id,
        }
    }
}
