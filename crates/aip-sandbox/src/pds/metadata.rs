//! The two metadata documents of a PDS (RFC 9728, RFC 8414, AT Protocol OAuth): those of the
//! reference implementation, without what the stand-in does not do.

use aip_base::lock;
use http::StatusCode;
use serde_json::{Map, Value, json};

use super::inner::Inner;
use super::settings::Document;
use crate::stage::reply::Reply;

const SIGNING_ALGS: [&str; 3] = ["RS256", "ES256", "ES256K"];

impl Inner {
    pub(crate) fn resource_metadata(&self) -> Reply {
        self.document(
            Document::ResourceMetadata,
            json!({
                "resource": self.resource,
                "authorization_servers": [self.issuer],
                "scopes_supported": [],
                "bearer_methods_supported": ["header"],
                "resource_documentation": "https://atproto.com",
            }),
        )
    }

    pub(crate) fn server_metadata(&self) -> Reply {
        let issuer = &self.issuer;
        self.document(
            Document::ServerMetadata,
            json!({
                "issuer": issuer,
                "request_parameter_supported": false,
                "request_uri_parameter_supported": true,
                "require_request_uri_registration": true,
                "scopes_supported":
                    ["atproto", "transition:email", "transition:generic", "transition:chat.bsky"],
                "subject_types_supported": ["public"],
                "response_types_supported": ["code"],
                "response_modes_supported": ["query", "fragment"],
                "grant_types_supported": ["authorization_code", "refresh_token"],
                "code_challenge_methods_supported": ["S256"],
                "ui_locales_supported": ["en-US"],
                "display_values_supported": ["page", "popup", "touch"],
                "authorization_response_iss_parameter_supported": true,
                "authorization_endpoint": format!("{issuer}/oauth/authorize"),
                "token_endpoint": format!("{issuer}/oauth/token"),
                "token_endpoint_auth_methods_supported": ["none", "private_key_jwt"],
                "token_endpoint_auth_signing_alg_values_supported": SIGNING_ALGS,
                "revocation_endpoint": format!("{issuer}/oauth/revoke"),
                "pushed_authorization_request_endpoint": format!("{issuer}/oauth/par"),
                "require_pushed_authorization_requests": true,
                "dpop_signing_alg_values_supported": SIGNING_ALGS,
                "protected_resources": [self.resource],
                "client_id_metadata_document_supported": true,
                "prompt_values_supported":
                    ["none", "login", "consent", "select_account", "create"],
            }),
        )
    }

    /// Tells the lies that were ordered about `document`.
    pub(crate) fn falsified(&self, document: Document, content: Value) -> Map<String, Value> {
        let mut content = match content {
            Value::Object(content) => content,
            _ => Map::new(),
        };
        lock(&self.settings).falsify(document, &mut content);
        content
    }

    fn document(&self, document: Document, content: Value) -> Reply {
        Reply::json(StatusCode::OK, &self.falsified(document, content))
    }
}
