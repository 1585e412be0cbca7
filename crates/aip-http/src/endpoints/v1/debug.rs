//! `/auth/atproto/debug`, in development only: what AIP knows of an access token and of the session behind
//! it. v1 showed this on a page, with the token in its URL; no token and no key is shown here.

use aip_atproto::Handle;
use aip_oauth::claims::INVALID_HANDLE;
use aip_storage::session_status::SessionStatus;
use axum::Json;
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;

use super::require_own_account;
use crate::api_error::ApiError;
use crate::bearer::{authorize_session, with_nonce};
use crate::endpoint::Endpoint;
use crate::incoming_request::IncomingRequest;
use crate::state::AppState;

#[derive(Serialize)]
struct Debug<'a> {
    auth_token: Token<'a>,
    /// Null when there is none any more.
    oauth_session: Option<Session<'a>>,
    handle: Account<'a>,
}

#[derive(Serialize)]
struct Token<'a> {
    sub: &'a str,
    client_id: &'a str,
    scope: String,
    /// In seconds of the Unix epoch, like the times below.
    iat: i64,
    exp: i64,
}

#[derive(Serialize)]
struct Session<'a> {
    state: &'static str,
    pds: &'a str,
    /// Counts the token pairs.
    generation: i64,
    refreshed_at: i64,
    access_token_expires_at: i64,
}

#[derive(Serialize)]
struct Account<'a> {
    did: &'a str,
    guid: &'a str,
    /// The verified handle, or `handle.invalid`.
    handle: &'a str,
}

/// Answers what is known of the token.
pub(in crate::endpoints) async fn debug(
    app: &AppState,
    incoming: &IncomingRequest,
) -> Result<Response, ApiError> {
    let answer = describe(app, incoming).await;
    with_nonce(app, incoming, answer)
}

async fn describe(app: &AppState, incoming: &IncomingRequest) -> Result<Response, ApiError> {
    let call = authorize_session(app, incoming, Endpoint::V1Debug.spec().path).await?;
    let token = call.token();
    require_own_account(incoming, &token.grant)?;
    let did = token.grant.subject.as_str();
    let debug = Debug {
        auth_token: Token {
            sub: did,
            client_id: token.grant.client_id.as_str(),
            scope: token.scope.to_string(),
            iat: token.issued_at.as_secs(),
            exp: token.expires_at.as_secs(),
        },
        oauth_session: call.session().map(Session::of),
        handle: Account {
            did,
            guid: did,
            handle: call.handle().map_or(INVALID_HANDLE, Handle::as_str),
        },
    };
    Ok(Json(debug).into_response())
}

impl<'a> Session<'a> {
    fn of(status: &'a SessionStatus) -> Self {
        Self {
            state: status.state.name().as_str(),
            pds: status.pds.as_str(),
            generation: status.generation,
            refreshed_at: status.refreshed_at.as_secs(),
            access_token_expires_at: status.access_expires_at.as_secs(),
        }
    }
}
