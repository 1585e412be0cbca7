//! `/oauth/clients/register`: a client registers itself (RFC 7591).

use aip_oauth::client_registration::{ClientRegistrationError, RegistrationMode};
use axum::Json;
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;

use super::client_information::registered;
use super::client_metadata::ClientMetadata;
use crate::api_error::ApiError;
use crate::incoming_request::IncomingRequest;
use crate::limits::Limit;
use crate::state::AppState;

/// Registers the client and gives it what it needs.
pub(super) async fn handle(
    app: &AppState,
    incoming: &IncomingRequest,
) -> Result<Response, ApiError> {
    let server = app.server();
    let admitted = server.admit_registration(bearer(incoming)?).await;
    let admitted = refused(app, incoming, admitted).await?;
    // Whoever has a token of the operator's is limited by that.
    if server.registration.mode == RegistrationMode::Open {
        app.count(Limit::Registrations, incoming).await?;
    }
    let metadata = ClientMetadata::parse(&incoming.json)?;
    let base = server.registration.new_client();
    let settings = metadata.settings(base, app.issuer().is_loopback())?;
    let client = server.register_itself(admitted, settings).await?;
    Ok((StatusCode::CREATED, Json(registered(app, &client))).into_response())
}

/// The token of the `Authorization` header (RFC 6750 §2.1).
pub(super) fn bearer(incoming: &IncomingRequest) -> Result<Option<&str>, ApiError> {
    let credential = incoming.authorization()?;
    Ok(credential.and_then(|it| {
        let (scheme, token) = it.split_once(' ')?;
        scheme
            .eq_ignore_ascii_case("bearer")
            .then_some(token.trim())
    }))
}

/// Counts tokens that are no good, so that nobody guesses them fast.
pub(super) async fn refused<T>(
    app: &AppState,
    incoming: &IncomingRequest,
    outcome: Result<T, ClientRegistrationError>,
) -> Result<T, ApiError> {
    if let Err(ClientRegistrationError::InvalidToken) = &outcome {
        app.count(Limit::RegistrationFailures, incoming).await?;
    }
    Ok(outcome?)
}
