//! `/oauth/par`: an app pushes its authorization request (RFC 9126).

use std::time::Duration;

use aip_oauth::authorize::PushedResponse;
use axum::Json;
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use serde::Serialize;

use super::token::client_request;
use crate::api_error::ApiError;
use crate::bearer::with_nonce;
use crate::endpoint::Endpoint;
use crate::incoming_request::IncomingRequest;
use crate::limits::Limit;
use crate::state::AppState;

/// Requests pushed by one client that proved who it is.
const PUSHED_REQUESTS_PER_CLIENT: Limit = Limit::new(
    "pushed_requests_of_client",
    1000,
    Duration::from_millis(10),
    "This client pushed too many requests.",
);

/// Requests pushed in the name of clients that cannot prove who they are, by network. Each is
/// a row.
const PUSHED_REQUESTS_PER_NETWORK: Limit = Limit::new(
    "pushed_requests",
    60,
    Duration::from_secs(1),
    "Too many requests were pushed from your network.",
);

/// RFC 9126 §2.2.
#[derive(Serialize)]
struct ParResponse<'a> {
    request_uri: &'a str,
    expires_in: u64,
}

/// Stores the request and says how the authorization endpoint knows it.
pub(super) async fn handle(
    app: &AppState,
    incoming: &IncomingRequest,
) -> Result<Response, ApiError> {
    let answer = push(app, incoming).await.map(|pushed| {
        let body = Json(ParResponse {
            request_uri: &pushed.request_uri,
            expires_in: pushed.expires_in,
        });
        (StatusCode::CREATED, body).into_response()
    });
    with_nonce(app, incoming, answer)
}

async fn push(app: &AppState, incoming: &IncomingRequest) -> Result<PushedResponse, ApiError> {
    let request = client_request(incoming, Endpoint::PushedAuthorizationRequest)?;
    let checked = app.server().check_push(request).await?;
    // Anybody can push in the name of a public client: what that costs is its network's.
    let client = checked.client();
    if client.is_confidential() {
        let limit = PUSHED_REQUESTS_PER_CLIENT;
        app.count_for_client(limit, client.id.as_str()).await?;
    } else {
        app.count(PUSHED_REQUESTS_PER_NETWORK, incoming).await?;
    }
    Ok(app.server().push(checked).await?)
}
