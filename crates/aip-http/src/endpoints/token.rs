//! `/oauth/token`, `/oauth/revoke` (OAuth 2.1 §3.2, RFC 7009).

use aip_oauth::client_auth::ClientRequest;
use aip_oauth::dpop::Target;
use aip_oauth::grants::TokenResponse;
use axum::Json;
use axum::response::{IntoResponse as _, Response};
use secrecy::ExposeSecret;
use serde::Serialize;

use crate::api_error::ApiError;
use crate::bearer::with_nonce;
use crate::endpoint::Endpoint;
use crate::error_mapping::MULTIPLE_PROOFS;
use crate::incoming_request::IncomingRequest;
use crate::state::AppState;

/// OAuth 2.1 §3.2.3, OpenID Connect Core §3.1.3.3.
#[derive(Serialize)]
struct Tokens<'a> {
    access_token: &'a str,
    /// RFC 8693 §2.2.1.
    #[serde(skip_serializing_if = "Option::is_none")]
    issued_token_type: Option<&'a str>,
    token_type: &'a str,
    expires_in: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<&'a str>,
    scope: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    id_token: Option<&'a str>,
}

/// Gives tokens for a code or refresh token.
pub(super) async fn token(
    app: &AppState,
    incoming: &IncomingRequest,
) -> Result<Response, ApiError> {
    let answer = redeem(app, incoming).await.map(|tokens| {
        Json(Tokens {
            access_token: tokens.access_token.expose_secret(),
            issued_token_type: tokens.issued_token_type,
            token_type: tokens.token_type,
            expires_in: tokens.expires_in,
            refresh_token: tokens
                .refresh_token
                .as_ref()
                .map(ExposeSecret::expose_secret),
            scope: tokens.scope.to_string(),
            id_token: tokens.id_token.as_ref().map(ExposeSecret::expose_secret),
        })
        .into_response()
    });
    with_nonce(app, incoming, answer)
}

async fn redeem(app: &AppState, incoming: &IncomingRequest) -> Result<TokenResponse, ApiError> {
    let request = client_request(incoming, Endpoint::Token)?;
    Ok(app.server().token(request).await?)
}

/// What a client sends to an endpoint where it authenticates and may prove a key.
pub(super) fn client_request(
    incoming: &IncomingRequest,
    endpoint: Endpoint,
) -> Result<ClientRequest<'_>, ApiError> {
    let dpop = incoming.dpop().map_err(|_| {
        ApiError::caller(
            http::StatusCode::BAD_REQUEST,
            "invalid_dpop_proof",
            MULTIPLE_PROOFS,
        )
    })?;
    Ok(ClientRequest {
        body: &incoming.form,
        authorization: incoming.authorization()?,
        dpop,
        target: Target {
            method: incoming.head.method.as_str(),
            path: endpoint.spec().path,
        },
    })
}

/// Revokes a token; unknown ones, too, as far as the caller can see.
pub(super) async fn revoke(
    app: &AppState,
    incoming: &IncomingRequest,
) -> Result<Response, ApiError> {
    app.server()
        .revoke(&incoming.form, incoming.authorization()?)
        .await?;
    Ok(Response::default())
}
