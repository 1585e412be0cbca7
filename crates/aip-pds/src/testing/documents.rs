//! The documents of one account whose servers do everything right.

use serde_json::{Value, json};

use super::World;

/// The account.
pub(crate) const ALICE: &str = "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa";
pub(crate) const PDS: &str = "https://pds.org";
/// The authorization server of the PDS.
pub(crate) const AUTH: &str = "https://auth.org";

pub(crate) fn did_document(did: &str, handle: &str, pds: &str) -> Value {
    json!({
        "id": did,
        "alsoKnownAs": [format!("at://{handle}")],
        "service": [{
            "id": "#atproto_pds", "type": "AtprotoPersonalDataServer", "serviceEndpoint": pds,
        }],
    })
}

pub(crate) fn resource_metadata(pds: &str, issuer: &str) -> Value {
    json!({ "resource": pds, "authorization_servers": [issuer] })
}

pub(crate) fn server_metadata(issuer: &str) -> Value {
    json!({
        "issuer": issuer,
        "authorization_endpoint": format!("{issuer}/oauth/authorize"),
        "token_endpoint": format!("{issuer}/oauth/token"),
        "pushed_authorization_request_endpoint": format!("{issuer}/oauth/par"),
        "revocation_endpoint": format!("{issuer}/oauth/revoke"),
        "response_types_supported": ["code"],
        "grant_types_supported": ["authorization_code", "refresh_token"],
        "code_challenge_methods_supported": ["S256"],
        "token_endpoint_auth_methods_supported": ["none", "private_key_jwt"],
        "token_endpoint_auth_signing_alg_values_supported": ["ES256", "ES256K"],
        "scopes_supported": ["atproto"],
        "dpop_signing_alg_values_supported": ["ES256"],
        "authorization_response_iss_parameter_supported": true,
        "require_pushed_authorization_requests": true,
        "client_id_metadata_document_supported": true,
    })
}

impl World {
    /// A world with alice.org at [`PDS`] behind [`AUTH`].
    pub(crate) fn with_alice() -> Self {
        let world = Self::new();
        world
            .dns
            .txt_records("_atproto.alice.org", &[&format!("did={ALICE}")]);
        let document = did_document(ALICE, "alice.org", PDS);
        world
            .network
            .on(&format!("https://plc.org/{ALICE}"), super::json(&document));
        world.network.on(
            &format!("{PDS}/.well-known/oauth-protected-resource"),
            super::json(&resource_metadata(PDS, AUTH)),
        );
        world.network.on(
            &format!("{AUTH}/.well-known/oauth-authorization-server"),
            super::json(&server_metadata(AUTH)),
        );
        world
    }
}
