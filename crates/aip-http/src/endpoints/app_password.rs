//! `/api/atprotocol/app-password`: an app gives AIP the app password that a person made for it, asks
//! whether there is one, and takes it back. Paths and shapes of AIP v2, which had no `DELETE`.
//!
//! The password is for the client and the account of the access token, and for no others.

use std::time::Duration;

use aip_atproto::Did;
use aip_base::Blame;
use aip_oauth::params::Params;
use aip_sessions::{AppPasswordError, AppPasswords};
use aip_storage::client::{ClientId, ClientSettings};
use aip_storage::grant::Grant;
use aip_storage::upstream::SessionKind;
use axum::Json;
use axum::response::{IntoResponse as _, Response};
use http::{Method, StatusCode};
use serde::Serialize;

use crate::api_error::ApiError;
use crate::bearer::{authorize, challenge, protected_resource_url, with_nonce};
use crate::endpoint::Endpoint;
use crate::incoming_request::IncomingRequest;
use crate::limits::{Limit, LimitKey};
use crate::state::AppState;

/// Refused app passwords that are written to the audit log, of one app and account.
const AUDITED_REFUSALS: Limit = Limit::new(
    "noted_refusals",
    1,
    Duration::from_mins(1),
    "Too many refusals were noted.",
);

/// App passwords that one app gave for one account: whoever guesses them does it slowly, and uses up
/// what no other app has.
const APP_PASSWORDS_PER_ACCOUNT: Limit = Limit::new(
    "app_passwords_of_account",
    10,
    Duration::from_mins(1),
    "This app gave too many app passwords for this account.",
);

/// App passwords that were given, right or wrong, by network. Each is tried at a PDS.
const APP_PASSWORDS: Limit = Limit::new(
    "app_passwords",
    60,
    Duration::from_secs(1),
    "Too many app passwords were given from your network.",
);

/// The field of the form, here and on the account page.
pub(super) const FIELD: &str = "app-password";

/// The answer of AIP v2.
#[derive(Serialize)]
struct AppPasswordResponse<'a> {
    client_id: &'a str,
    did: &'a str,
    message: &'static str,
    /// RFC 3339.
    timestamp: String,
}

/// Takes an app password in (`POST`), says whether there is one (`GET`), or forgets it (`DELETE`).
pub(super) async fn handle(
    app: &AppState,
    incoming: &IncomingRequest,
) -> Result<Response, ApiError> {
    let answer = answer(app, incoming).await;
    with_nonce(app, incoming, answer)
}

async fn answer(app: &AppState, incoming: &IncomingRequest) -> Result<Response, ApiError> {
    let authorized = authorize(app, incoming, Endpoint::AppPassword.spec().path).await?;
    let grant = &authorized.token().grant;
    check_own_grant(app, incoming, grant)?;
    let (client, did) = (&grant.client_id, &grant.subject);
    if incoming.is_post() {
        return give(app, incoming, client, did).await;
    }
    let is_there = if incoming.head.method == Method::DELETE {
        remove(app, client, did).await?
    } else {
        is_given(app, client, did).await?
    };
    if is_there {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let words = "there is no app password for this app and account";
    Err(ApiError::caller(StatusCode::NOT_FOUND, "not_found", words))
}

/// Whether the token is an app's own: neither a delegate nor a developer token sets or removes an app password.
pub(super) fn check_own_grant(
    app: &AppState,
    incoming: &IncomingRequest,
    grant: &Grant,
) -> Result<(), ApiError> {
    let message = if grant.delegate().is_some() {
        "an access token that acts for somebody gives and takes no app password of theirs"
    } else if grant.client_id.is_of_developer_tokens() {
        "a developer token gives and takes no app password"
    } else {
        return Ok(());
    };
    let metadata = protected_resource_url(app);
    Err(challenge(&metadata, incoming).scope(message))
}

async fn give(
    app: &AppState,
    incoming: &IncomingRequest,
    client: &ClientId,
    did: &Did,
) -> Result<Response, ApiError> {
    let params = Params::parse(&incoming.form).map_err(|e| ApiError::request(e.to_string()))?;
    let password = params
        .get(FIELD)
        .ok_or_else(|| ApiError::request("the form has no field `app-password`"))?;
    let replaces = is_given(app, client, did).await?;
    let set = set(app, incoming, client, did, password).await?;
    set.map_err(|error| {
        let metadata = protected_resource_url(app);
        challenge(&metadata, incoming).no_app_password(error)
    })?;
    let now = jiff::Timestamp::from_second(app.now().as_secs());
    let given = AppPasswordResponse {
        client_id: client.as_str(),
        did: did.as_str(),
        message: if replaces {
            "App password updated successfully"
        } else {
            "App password created successfully"
        },
        timestamp: now
            .map_err(|error| ApiError::internal(error.to_string()))?
            .to_string(),
    };
    Ok(Json(given).into_response())
}

/// Tries the password at the account's PDS and keeps it, unless too many were tried, or the client only
/// learns who people are and calls no PDS; the inner error says why it is not kept.
pub(super) async fn set(
    app: &AppState,
    incoming: &IncomingRequest,
    client: &ClientId,
    did: &Did,
    password: &str,
) -> Result<Result<(), AppPasswordError>, ApiError> {
    let registered = app.server().known_client(client).await?;
    if registered.is_some_and(|it| !may_be_used_by(&it.settings)) {
        let words = "This app only learns who people are, and takes no app password.";
        return Err(ApiError::request(words));
    }
    app.count(APP_PASSWORDS, incoming).await?;
    let pair = LimitKey::ClientAndAccount(client.as_str(), did);
    let limiter = &app.parts().limiter;
    limiter
        .count(APP_PASSWORDS_PER_ACCOUNT, pair, app.now())
        .await?;
    let set = passwords(app).set(client, did, password).await;
    if let Err(error) = &set
        && error.blame() == Blame::Caller
        && limiter.permits(AUDITED_REFUSALS, pair, app.now()).await
    {
        passwords(app).audit_refusal(client, did, error).await;
    }
    // Whoever takes an access back ends the grants and then forgets the password: one that was tried at
    // the PDS meanwhile is forgotten here.
    if set.is_ok() && !has_grant(app, client, did).await? {
        remove(app, client, did).await?;
        return Err(no_grant());
    }
    Ok(set.map(drop))
}

/// Whether the app has a session at a PDS that an app password could be for.
pub(super) fn may_be_used_by(client: &ClientSettings) -> bool {
    !client.authentication_only && client.pairwise.is_none()
}

/// Whether the app may use the account at present.
pub(super) async fn has_grant(
    app: &AppState,
    client: &ClientId,
    did: &Did,
) -> Result<bool, ApiError> {
    let grants = app.storage().grants_of(did).await?;
    Ok(grants.iter().any(|grant| grant.client_id == *client))
}

/// The answer when it may not.
pub(super) fn no_grant() -> ApiError {
    ApiError::request("The app may not use this account.")
}

/// Forgets the password and ends its session. Whether there was one.
pub(super) async fn remove(app: &AppState, client: &ClientId, did: &Did) -> Result<bool, ApiError> {
    Ok(passwords(app).remove(client, did).await?)
}

/// Whether there is one that can be used.
pub(super) async fn is_given(
    app: &AppState,
    client: &ClientId,
    did: &Did,
) -> Result<bool, ApiError> {
    let kind = SessionKind::AppPassword;
    let storage = app.storage();
    let session = storage.usable_upstream_session(kind, client, did).await?;
    Ok(session.is_some())
}

fn passwords(app: &AppState) -> AppPasswords {
    AppPasswords::new(app.parts().keeper.clone())
}
