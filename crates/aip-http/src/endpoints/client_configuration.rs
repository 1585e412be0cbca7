//! `/oauth/clients/{id}`: a client looks after its own registration (RFC 7592).
//!
//! Whoever has not the registration access token of the client learns nothing: unknown clients,
//! those of the operator and those of others are answered alike (RFC 7592 §2.1).

use aip_oauth::client_registration::{
    ClientRegistrationError, OwnRegistration, Registered, RegistrationMode,
};
use axum::Json;
use axum::response::{IntoResponse as _, Response};
use http::{Method, StatusCode};

use super::client_information::{information, registered};
use super::client_metadata::{ClientMetadata, invalid};
use super::client_registration::{bearer, count_document, refused};
use crate::api_error::ApiError;
use crate::endpoint::Endpoint;
use crate::incoming_request::IncomingRequest;
use crate::state::AppState;

/// How often a change is made, each time from what the client is then, while the operator changes it, too.
const MAX_TRIES: u32 = 3;

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
    let sent = &incoming.json;
    let own = if incoming.head.method == Method::PUT {
        server.own_registration_to_change(id, token, sent).await
    } else {
        server.own_registration(id, token).await
    };
    let own = refused(app, incoming, own).await?;
    match incoming.head.method {
        // A change is a registration anew. To read and to delete is always a client's own right.
        Method::PUT if server.registration.mode == RegistrationMode::Off => {
            Err(ClientRegistrationError::Off.into())
        }
        Method::PUT => {
            let mut changed = replace(app, incoming, own).await?;
            for _ in 1..MAX_TRIES {
                if !matches!(changed, Err(ClientRegistrationError::ChangedMeanwhile)) {
                    break;
                }
                let again = server.own_registration_to_change(id, token, sent).await;
                let again = refused(app, incoming, again).await?;
                changed = replace(app, incoming, again).await?;
            }
            Ok(Json(registered(app, &changed?)).into_response())
        }
        Method::DELETE => {
            server.delete_registration(own).await?;
            Ok(StatusCode::NO_CONTENT.into_response())
        }
        _ => Ok(Json(information(app, own.client(), token.unwrap_or_default())).into_response()),
    }
}

/// Replaces what the client said of itself by what it sends, on top of what it is now. The inner error says
/// why not; the outer one, what is wrong with the metadata.
async fn replace(
    app: &AppState,
    incoming: &IncomingRequest,
    own: OwnRegistration,
) -> Result<Result<Registered, ClientRegistrationError>, ApiError> {
    let server = app.server();
    let metadata = ClientMetadata::parse(&incoming.json)?;
    check_replacement(&metadata, own.client().id.as_str())?;
    let secret = metadata.client_secret.clone();
    let base = server.registration.changed_client(own.client());
    let settings = metadata.settings(base, app.issuer().is_loopback())?;
    count_document(app, incoming, &settings).await?;
    let replaced = server.replace_registration(own, secret.as_deref(), settings);
    Ok(replaced.await)
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
