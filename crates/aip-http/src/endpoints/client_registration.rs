//! `/oauth/clients/register`: a client registers itself (RFC 7591).

use std::time::Duration;

use aip_oauth::client_registration::{ClientRegistrationError, RegistrationMode};
use aip_storage::client::ClientSettings;
use aip_storage::sector::Sector;
use axum::Json;
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;

use super::client_information::registered;
use super::client_metadata::ClientMetadata;
use crate::api_error::ApiError;
use crate::incoming_request::IncomingRequest;
use crate::limits::Limit;
use crate::state::AppState;

/// Registration access tokens that were wrong, by network.
const REGISTRATION_FAILURES: Limit = Limit::new(
    "registration_failures",
    60,
    Duration::from_secs(1),
    "Too many registration tokens from your network were wrong.",
);

/// Clients that register themselves where anybody may, by network. Each is a row.
const REGISTRATIONS: Limit = Limit::new(
    "registrations",
    10,
    Duration::from_mins(1),
    "Too many apps were registered from your network.",
);

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
        app.count(REGISTRATIONS, incoming).await?;
    }
    let metadata = ClientMetadata::parse(&incoming.json)?;
    let base = server.registration.new_client();
    let settings = metadata.settings(base, app.issuer().is_loopback())?;
    count_document(app, incoming, &settings).await?;
    let client = server.register_itself(admitted, settings).await?;
    Ok((StatusCode::CREATED, Json(registered(app, &client))).into_response())
}

/// Counts the document that lists the redirect URIs of the client, which may have to be read: a request to
/// a site that the caller names.
pub(super) async fn count_document(
    app: &AppState,
    incoming: &IncomingRequest,
    settings: &ClientSettings,
) -> Result<(), ApiError> {
    let sector = settings.pairwise.as_ref();
    if sector.and_then(Sector::document).is_some() {
        app.count(Limit::CLIENT_DOCUMENTS, incoming).await?;
    }
    Ok(())
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
        app.count(REGISTRATION_FAILURES, incoming).await?;
    }
    Ok(outcome?)
}
