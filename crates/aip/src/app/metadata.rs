//! AIP's own client metadata document, which PDSs fetch
//! (<https://atproto.com/specs/oauth#clients>).

use aip_atproto::{Origin, ScopeSet};
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
        base: &Origin,
    ) -> Option<UpstreamDocument> {
        let mut document = json!({
            "client_id": identity.document_url()?,
            "client_uri": base.as_str(),
            "application_type": "web",
            "grant_types": ["authorization_code", "refresh_token"],
            "response_types": ["code"],
            "redirect_uris": [identity.redirect_uri()],
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
        // An owner may delegate whatever the clients are registered for.
        let delegated =
            DelegationPreset::iter().flat_map(|it| it.scope().iter().cloned().collect::<Vec<_>>());
        let always = self.scope.iter().cloned().chain(delegated).collect();
        Some(UpstreamDocument::new(document, always))
    }
}
