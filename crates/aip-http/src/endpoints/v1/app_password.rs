//! `/internal/api/app_password`: an app gives AIP the app password that a person made for it, or takes it
//! back with `{"value": null}`. The rules are those of `/api/atprotocol/app-password`.

use std::borrow::Cow;

use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use serde::Deserialize;

use super::require_own_account;
use crate::api_error::ApiError;
use crate::bearer::{authorize, challenge, protected_resource_url, with_nonce};
use crate::endpoint::Endpoint;
use crate::endpoints::app_password;
use crate::incoming_request::IncomingRequest;
use crate::state::AppState;

/// What v1 was sent. It has no `Debug`, since it holds the password.
#[derive(Deserialize)]
struct Operation<'a> {
    /// The app password; null or nothing takes it back.
    #[serde(borrow)]
    value: Option<Cow<'a, str>>,
}

/// Takes an app password in, or forgets it. The answer is empty, as v1's was.
pub(in crate::endpoints) async fn app_password(
    app: &AppState,
    incoming: &IncomingRequest,
) -> Result<Response, ApiError> {
    let answer = answer(app, incoming).await;
    with_nonce(app, incoming, answer)
}

async fn answer(app: &AppState, incoming: &IncomingRequest) -> Result<Response, ApiError> {
    let authorized = authorize(app, incoming, Endpoint::V1AppPassword.spec().path).await?;
    let grant = &authorized.token().grant;
    require_own_account(incoming, grant)?;
    app_password::check_own_grant(app, incoming, grant)?;
    // What is wrong with it is not repeated: it may be the password.
    let operation: Operation<'_> = serde_json::from_slice(&incoming.json).map_err(|_| {
        ApiError::request("the body must be {\"value\": APP_PASSWORD} or {\"value\": null}")
    })?;
    let (client, did) = (&grant.client_id, &grant.subject);
    let Some(password) = operation.value else {
        app_password::remove(app, client, did).await?;
        return Ok(StatusCode::OK.into_response());
    };
    let set = app_password::set(app, incoming, client, did, &password).await?;
    set.map_err(|error| {
        let metadata = protected_resource_url(app);
        challenge(&metadata, incoming).no_app_password(error)
    })?;
    Ok(StatusCode::OK.into_response())
}
