//! `/.well-known/did.json`: AIP's own DID document, by which others know its key and address
//! (<https://w3c-ccg.github.io/did-method-web/>, <https://atproto.com/specs/did>).

use axum::Json;
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use serde_json::{Value, json};

use crate::api_error::ApiError;
use crate::service_auth::SERVICE;
use crate::state::AppState;

/// The document. The key that signs is `#atproto`, where verifiers look for it; the others bear their
/// ids.
pub(super) fn handle(app: &AppState) -> Result<Response, ApiError> {
    let did = app.parts().service.did().ok_or_else(|| {
        ApiError::caller(
            StatusCode::NOT_FOUND,
            "not_found",
            "This server has no DID: its address has a port or a path, or no name.",
        )
    })?;
    let keys = app.server().keys.current();
    let keys = keys.public_service_auth_keys().into_iter().enumerate();
    let methods: Vec<Value> = keys
        .filter_map(|(place, key)| {
            let fragment = if place == 0 { "atproto" } else { key.kid()? };
            Some(json!({
                "id": format!("{did}#{fragment}"),
                "type": "Multikey",
                "controller": did.as_str(),
                "publicKeyMultibase": key.to_multikey()?,
            }))
        })
        .collect();
    Ok(Json(json!({
        "@context": [
            "https://www.w3.org/ns/did/v1",
            "https://w3id.org/security/multikey/v1",
        ],
        "id": did.as_str(),
        "verificationMethod": methods,
        "service": [{
            "id": SERVICE,
            "type": "AipAuthorizationServer",
            "serviceEndpoint": app.issuer().as_str(),
        }],
    }))
    .into_response())
}
