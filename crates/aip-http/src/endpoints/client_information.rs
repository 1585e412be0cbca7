//! What clients that registered themselves receive (RFC 7591 §3.2.1, RFC 7592 §3).

use aip_oauth::client_fields::CLIENT_FIELDS;
use aip_oauth::client_registration::Registered;
use aip_storage::client::{Client, GrantType};
use secrecy::ExposeSecret;
use serde_json::{Map, Value, json};

use crate::endpoint::Endpoint;
use crate::state::AppState;

/// What a client is registered with, as the members that it could have sent itself (RFC 7591 §2).
pub(super) fn metadata(client: &Client) -> Map<String, Value> {
    let told = CLIENT_FIELDS.iter().filter_map(|field| {
        let value = field.value_for_app(&client.settings)?;
        Some((field.name.to_owned(), value.to_json()))
    });
    told.collect()
}

/// What somebody else receives who has changed the client: a secret if that was made anew.
pub(super) fn changed(client: &Client, secret: Option<&str>) -> Map<String, Value> {
    let mut members = described(client);
    add_secret(&mut members, secret);
    members
}

/// What a client receives that has just been registered or changed.
pub(super) fn registered(app: &AppState, registered: &Registered) -> Map<String, Value> {
    let mut members = information(app, &registered.client, registered.token.expose_secret());
    let secret = registered.secret.as_ref();
    add_secret(&mut members, secret.map(ExposeSecret::expose_secret));
    members
}

/// What a client receives whose registration access token this is. AIP knows no secret of it.
pub(super) fn information(app: &AppState, client: &Client, token: &str) -> Map<String, Value> {
    let path = Endpoint::ClientConfiguration.spec().path;
    let path = path.replace("{id}", client.id.as_str());
    let mut members = described(client);
    // For the client itself: with the URI it manages its registration.
    members.insert("registration_access_token".to_owned(), json!(token));
    let uri = app.issuer().url(&path);
    members.insert("registration_client_uri".to_owned(), json!(uri));
    members
}

/// The metadata, with what AIP adds to it.
fn described(client: &Client) -> Map<String, Value> {
    let mut members = metadata(client);
    let gives_codes = client.may_use(GrantType::AuthorizationCode);
    let response_types: &[&str] = if gives_codes { &["code"] } else { &[] };
    let issued_at = client.created_at.as_secs();
    members.insert("client_id".to_owned(), json!(client.id.as_str()));
    members.insert("client_id_issued_at".to_owned(), json!(issued_at));
    members.insert("response_types".to_owned(), json!(response_types));
    members
}

fn add_secret(members: &mut Map<String, Value>, secret: Option<&str>) {
    if let Some(secret) = secret {
        members.insert("client_secret".to_owned(), json!(secret));
        // It does not expire.
        members.insert("client_secret_expires_at".to_owned(), json!(0));
    }
}
