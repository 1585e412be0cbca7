//! `/oauth/device_authorization`: a device asks for codes (RFC 8628 §3.1).

use std::time::Duration;

use aip_oauth::authorize::DeviceResponse;
use axum::Json;
use axum::response::{IntoResponse as _, Response};
use secrecy::ExposeSecret as _;
use serde::Serialize;

use super::token::client_request;
use crate::api_error::ApiError;
use crate::bearer::with_nonce;
use crate::endpoint::Endpoint;
use crate::incoming_request::IncomingRequest;
use crate::limits::Limit;
use crate::state::AppState;

/// Device codes given to one client that proved who it is.
const DEVICE_CODES_PER_CLIENT: Limit = Limit::new(
    "device_codes_of_client",
    100,
    Duration::from_secs(1),
    "Too many devices of this client asked for a code.",
);

/// Device codes given in the name of clients that cannot prove who they are, by network. Each is
/// a row for a day.
const DEVICE_CODES_PER_NETWORK: Limit = Limit::new(
    "device_codes",
    20,
    Duration::from_secs(10),
    "Too many devices of your network asked for a code.",
);

/// RFC 8628 §3.2.
#[derive(Serialize)]
struct DeviceAuthorizationResponse<'a> {
    device_code: &'a str,
    user_code: &'a str,
    verification_uri: String,
    verification_uri_complete: String,
    expires_in: u64,
    interval: u64,
}

/// Gives the codes. `endpoint` is the path that the device used: version 2 had another one.
pub(super) async fn handle(
    app: &AppState,
    incoming: &IncomingRequest,
    endpoint: Endpoint,
) -> Result<Response, ApiError> {
    let answer = authorize(app, incoming, endpoint).await.map(|given| {
        let verification_uri = app.issuer().url(Endpoint::Device.spec().path);
        Json(DeviceAuthorizationResponse {
            device_code: given.device_code.expose_secret(),
            user_code: &given.user_code,
            // A user code has no character that a query would have to escape.
            verification_uri_complete: format!("{verification_uri}?user_code={}", given.user_code),
            verification_uri,
            expires_in: given.expires_in,
            interval: given.interval,
        })
        .into_response()
    });
    with_nonce(app, incoming, answer)
}

async fn authorize(
    app: &AppState,
    incoming: &IncomingRequest,
    endpoint: Endpoint,
) -> Result<DeviceResponse, ApiError> {
    let request = client_request(incoming, endpoint)?;
    let checked = app.server().check_device_authorization(request).await?;
    // Anybody can ask in the name of a public client: what that costs is its network's.
    let client = checked.client();
    if client.is_confidential() {
        let limit = DEVICE_CODES_PER_CLIENT;
        app.count_for_client(limit, client.id.as_str()).await?;
    } else {
        app.count(DEVICE_CODES_PER_NETWORK, incoming).await?;
    }
    let network = app.caller(incoming).network();
    Ok(app.server().authorize_device(checked, network).await?)
}
