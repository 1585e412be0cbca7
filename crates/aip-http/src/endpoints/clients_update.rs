//! `tools.graze.aip.clients.Update`: an administrator changes a client with a service token of their
//! own PDS. What the call does not name stays as it is.

use aip_atproto::Scope;
use aip_oauth::client_fields::CLIENT_FIELDS;
use aip_oauth::registration::ClientSettings;
use aip_storage::audit::{AuditEvent, AuditKind};
use aip_storage::client::{Client, ClientId};
use axum::Json;
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use secrecy::ExposeSecret;
use serde_json::{Map, Value};

use super::client_information::{changed, metadata};
use super::client_metadata::{ClientMetadata, invalid, without_demands};
use crate::api_error::ApiError;
use crate::endpoint::Endpoint;
use crate::incoming_request::IncomingRequest;
use crate::state::AppState;

/// Changes the client and answers with what it is from now on.
pub(super) async fn handle(
    app: &AppState,
    incoming: &IncomingRequest,
) -> Result<Response, ApiError> {
    let path = Endpoint::ClientsUpdate.spec().path;
    let method = path.rsplit('/').next().unwrap_or(path);
    let admin = app.authorize_admin(incoming, method).await?;
    let mut wanted: Map<String, Value> = serde_json::from_slice(&incoming.json)
        .map_err(|error| invalid_request(format!("the body is no JSON object: {error}")))?;
    let Some(Value::String(id)) = wanted.remove("client_id") else {
        return Err(invalid_request("`client_id` is missing"));
    };
    let unknown = || {
        let words = format!("there is no client with the id {id:?}");
        ApiError::caller(StatusCode::NOT_FOUND, "ClientNotFound", words)
    };
    let id: ClientId = id.parse().map_err(|_| unknown())?;
    let client = app.storage().client(&id).await?.ok_or_else(unknown)?;
    let settings = merged(app, &client, wanted)?;
    let updated = app.server().update_client_as_read(client, settings);
    let (client, secret) = updated.await?;
    let (clock, rng) = (&*app.server().clock, &*app.server().rng);
    let kind = AuditKind::ClientChangedByAdmin;
    let event = AuditEvent::new(clock, rng, kind, method);
    let event = event.of_account(admin.did()).of_client(&client.id);
    // The client is changed, and the answer has the only copy of a new secret.
    app.storage().note(&event).await;
    let secret = secret.as_ref().map(ExposeSecret::expose_secret);
    Ok(Json(changed(&client, secret)).into_response())
}

/// What the client is registered with once the `wanted` members have taken the place of those it has.
/// `null` takes a member away (RFC 7396 §1).
fn merged(
    app: &AppState,
    client: &Client,
    wanted: Map<String, Value>,
) -> Result<ClientSettings, ApiError> {
    for kept in [
        "client_secret",
        "registration_access_token",
        "subject_type",
        "sector_identifier_uri",
    ] {
        if wanted.contains_key(kept) {
            return Err(invalid(format!("`{kept}` cannot be changed here")));
        }
    }
    let mut members = metadata(client);
    // RFC 7591 §2: of the two, a client has one.
    for (named, other) in [("jwks", "jwks_uri"), ("jwks_uri", "jwks")] {
        if wanted.get(named).is_some_and(|it| !it.is_null()) {
            members.remove(other);
        }
    }
    if wanted.get("scope").is_some_and(Value::is_null) {
        // Absent, it stands for scopes that the client may not have had.
        return Err(invalid("`scope` cannot be taken away"));
    }
    for (name, value) in wanted {
        if value.is_null() {
            members.remove(&name);
        } else {
            members.insert(name, value);
        }
    }
    // Absent, they stay: the subjects that a client knows people by never change.
    members.remove("subject_type");
    members.remove("sector_identifier_uri");
    let mut base = without_demands(client.settings.clone());
    // What only the operator and administrators may say.
    for field in CLIENT_FIELDS.iter().filter(|it| it.may_be_given()) {
        let wanted = members.remove(field.name);
        field.give(&mut base, wanted.as_ref()).map_err(invalid)?;
    }
    let metadata = ClientMetadata::parse(Value::Object(members).to_string().as_bytes())?;
    let settings = metadata.settings(base, app.issuer().is_loopback())?;
    let hands_out = |scope: &Scope| *scope == Scope::Credentials;
    if settings.scope.iter().any(hands_out) && !client.settings.scope.iter().any(hands_out) {
        return Err(invalid(
            "`aip:credentials` is given with `aip clients update` alone",
        ));
    }
    Ok(settings)
}

fn invalid_request(words: impl Into<String>) -> ApiError {
    ApiError::caller(StatusCode::BAD_REQUEST, "InvalidRequest", words)
}
