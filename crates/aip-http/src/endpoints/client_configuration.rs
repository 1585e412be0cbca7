//! `/oauth/clients/{id}`: a client looks after its own registration (RFC 7592).
//!
//! Whoever has not the registration access token of the client learns nothing: unknown clients,
//! those of the operator and those of others are answered alike (RFC 7592 §2.1).

use aip_oauth::client_registration::{ClientRegistrationError, RegistrationMode};
use axum::Json;
use axum::response::{IntoResponse as _, Response};
use http::{Method, StatusCode};

use super::client_information::{information, registered};
use super::client_metadata::{ClientMetadata, invalid};
use super::client_registration::{bearer, refused};
use crate::api_error::ApiError;
use crate::endpoint::Endpoint;
use crate::incoming_request::IncomingRequest;
use crate::state::AppState;

/// Reads, replaces or deletes the registration.
pub(super) async fn handle(
    app: &AppState,
    incoming: &IncomingRequest,
) -> Result<Response, ApiError> {
    let server = app.server();
    let token = bearer(incoming)?;
    let path = incoming.head.uri.path();
    let prefix = Endpoint::ClientConfiguration
        .spec()
        .path
        .trim_end_matches("{id}");
    let id = path.strip_prefix(prefix).unwrap_or_default();
    let own = server.own_registration(id, token).await;
    let own = refused(app, incoming, own).await?;
    match incoming.head.method {
        // A change is a registration anew. To read and to delete is always a client's own right.
        Method::PUT if server.registration.mode == RegistrationMode::Off => {
            Err(ClientRegistrationError::Off.into())
        }
        Method::PUT => {
            let metadata = ClientMetadata::parse(&incoming.json)?;
            check_replacement(&metadata, id)?;
            let secret = metadata.client_secret.clone();
            let base = server.registration.changed_client(own.client());
            let settings = metadata.settings(base, app.issuer().is_loopback())?;
            let changed = server.replace_registration(own, secret.as_deref(), settings);
            Ok(Json(registered(app, &changed.await?)).into_response())
        }
        Method::DELETE => {
            server.delete_registration(own).await?;
            Ok(StatusCode::NO_CONTENT.into_response())
        }
        _ => Ok(Json(information(app, own.client(), token.unwrap_or_default())).into_response()),
    }
}

/// RFC 7592 §2.2: what a client must, and must not, send back.
fn check_replacement(metadata: &ClientMetadata, id: &str) -> Result<(), ApiError> {
    if metadata.client_id.as_deref() != Some(id) {
        return Err(invalid(
            "`client_id` is missing, or not that of this client",
        ));
    }
    let told = [
        (
            "registration_access_token",
            &metadata.registration_access_token,
        ),
        ("registration_client_uri", &metadata.registration_client_uri),
        (
            "client_secret_expires_at",
            &metadata.client_secret_expires_at,
        ),
        ("client_id_issued_at", &metadata.client_id_issued_at),
    ];
    match told.iter().find(|(_, value)| value.is_some()) {
        Some((name, _)) => Err(invalid(format!("`{name}` must not be sent back"))),
        None => Ok(()),
    }
}
