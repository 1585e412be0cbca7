//! `/auth/atproto`: an app of AIP v1 sends a person here, by a link or by a form with `subject` and
//! `destination`. They go on to the authorization endpoint (OAuth 2.1 §4.1), as if the client of
//! `compat.v1_client` had sent them there with the destination as its redirect URI. So the destination gets
//! a code, which its server exchanges at the token endpoint, where v1 put a token into the URL.

use aip_base::Blame;
use aip_oauth::params::Params;
use axum::response::Response;
use url::form_urlencoded;

use super::names;
use crate::api_error::ApiError;
use crate::endpoint::Endpoint;
use crate::incoming_request::IncomingRequest;
use crate::respond::see_other;
use crate::state::AppState;
use crate::v1_names::{V1Names, is_at_origins};

/// The most bytes of the parameters that go on, as servers and proxies take them in a URL.
const MAX_QUERY: usize = 6 * 1024;

/// What goes on, and the name of it at the authorization endpoint. Of these v1 knew `subject` alone; an app
/// that sends the others is protected by them as any app of OAuth is.
const PASSED_ON: [(&str, &str); 5] = [
    ("subject", "login_hint"),
    ("state", "state"),
    ("nonce", "nonce"),
    ("code_challenge", "code_challenge"),
    ("code_challenge_method", "code_challenge_method"),
];

/// Sends the person to the authorization endpoint.
pub(in crate::endpoints) async fn sign_in(
    app: &AppState,
    incoming: &IncomingRequest,
) -> Result<Response, ApiError> {
    let names = names(app)?;
    let params = Params::parse(incoming.params()).map_err(|e| ApiError::request(e.to_string()))?;
    let defaults = if incoming.is_post() {
        [&names.default_destination, &names.destination]
    } else {
        [&names.destination, &names.default_destination]
    };
    let configured = defaults.into_iter().find_map(Option::as_deref);
    let destination = params.get("destination").or(configured).ok_or_else(|| {
        ApiError::request("The app did not say where to go back to: `destination` is missing.")
    })?;
    check_destination(app, names, destination).await?;
    let mut query = form_urlencoded::Serializer::new(String::new());
    query
        .append_pair("response_type", "code")
        .append_pair("client_id", names.client.as_str())
        .append_pair("redirect_uri", destination);
    for (theirs, ours) in PASSED_ON {
        if let Some(value) = params.get(theirs) {
            query.append_pair(ours, value);
        }
    }
    let query = query.finish();
    if query.len() > MAX_QUERY {
        let words = "The app sent a request that is too long.";
        return Err(ApiError::request(words));
    }
    let authorize = Endpoint::Authorize.spec().path;
    Ok(see_other(&format!("{authorize}?{query}")))
}

/// Refuses a destination that is not one of the client's redirect URIs, byte for byte, or not at one of the
/// origins that the operator named.
async fn check_destination(
    app: &AppState,
    names: &V1Names,
    destination: &str,
) -> Result<(), ApiError> {
    let id = &names.client;
    let client = app.server().known_client(id).await?.ok_or_else(|| {
        ApiError::internal(format!(
            "compat.v1_client: there is no client `{id}`; `aip clients create --id {id} …` registers it"
        ))
    })?;
    let registered = &client.settings.redirect_uris;
    let why = if !registered.iter().any(|it| it.as_str() == destination) {
        "it is no redirect URI of the client"
    } else if !is_at_origins(&names.origins, destination) {
        "its origin is not among those of compat.v1_origins"
    } else {
        return Ok(());
    };
    let words = "The app wants you to go back to an address that is not registered.";
    let facts = vec![
        ("Client", id.to_string()),
        ("Destination", destination.to_owned()),
        ("Refused because", why.to_owned()),
    ];
    Err(ApiError::request(words)
        .with_detail(Blame::Caller, format!("destination {destination}: {why}"))
        .for_developers(facts))
}
