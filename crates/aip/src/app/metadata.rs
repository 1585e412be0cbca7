//! AIP's own client metadata document, which PDSs fetch
//! (<https://atproto.com/specs/oauth#clients>).

use aip_atproto::{BaseUrl, ScopeSet};
use aip_http::{Endpoint, UpstreamDocument};
use aip_sessions::UpstreamIdentity;
use aip_storage::delegation::DelegationPreset;
use serde_json::json;
use strum::IntoEnumIterator as _;

/// What the document says besides what follows from AIP's address.
#[derive(Debug, Clone, Default)]
pub struct ClientDocument {
    /// The name shown by PDSs that trust AIP.
    pub name: Option<String>,
    /// Its logo.
    pub logo_uri: Option<String>,
    /// Its terms.
    pub tos_uri: Option<String>,
    /// Its privacy policy.
    pub policy_uri: Option<String>,
    /// The scopes that are always named; those of the clients are added.
    pub scope: ScopeSet,
}

impl ClientDocument {
    /// The document; `None` for a loopback client, whose document the PDS makes up.
    pub(crate) fn make(
        &self,
        identity: &UpstreamIdentity,
        base: &BaseUrl,
    ) -> Option<UpstreamDocument> {
        let id = identity.document_url()?;
        Some(self.of_client(id, identity.redirect_uri(), base))
    }

    /// The document of the client that AIP v1 was at the same base; `None` likewise.
    pub(crate) fn make_v1(&self, base: &BaseUrl) -> Option<UpstreamDocument> {
        let id = Endpoint::V1ClientMetadata.url(base);
        let redirect_uri = Endpoint::V1Callback.url(base);
        base.is_https()
            .then(|| self.of_client(&id, &redirect_uri, base))
    }

    fn of_client(&self, id: &str, redirect_uri: &str, base: &BaseUrl) -> UpstreamDocument {
        let mut document = json!({
            "client_id": id,
            "client_uri": base.as_str(),
            "application_type": "web",
            "grant_types": ["authorization_code", "refresh_token"],
            "response_types": ["code"],
            "redirect_uris": [redirect_uri],
            "token_endpoint_auth_method": "private_key_jwt",
            "token_endpoint_auth_signing_alg": "ES256",
            "dpop_bound_access_tokens": true,
            "jwks_uri": Endpoint::UpstreamJwks.url(base),
        });
        let optional = [
            ("client_name", &self.name),
            ("logo_uri", &self.logo_uri),
            ("tos_uri", &self.tos_uri),
            ("policy_uri", &self.policy_uri),
        ];
        for (name, value) in optional {
            if let Some(value) = value {
                document[name] = value.as_str().into();
            }
        }
        UpstreamDocument::new(document, self.always())
    }

    /// The scopes that the document names whatever the clients are registered for: an owner may let others
    /// do what the presets say, and people may make developer tokens for it.
    pub(crate) fn always(&self) -> ScopeSet {
        let presets =
            DelegationPreset::iter().flat_map(|it| it.scope().iter().cloned().collect::<Vec<_>>());
        self.scope.iter().cloned().chain(presets).collect()
    }
}
