//! `/internal/api/me`: whose access token it is, and whether sessions at the PDS serve it. And
//! `/auth/atproto/refresh`, which answers the same once the session is fresh.

use aip_atproto::Handle;
use aip_oauth::claims::INVALID_HANDLE;
use aip_oauth::resource::AuthorizedSessionCall;
use aip_storage::session_status::SessionStatus;
use axum::Json;
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;

use super::require_own_account;
use crate::api_error::ApiError;
use crate::bearer::{authorize_session, with_nonce};
use crate::endpoint::Endpoint;
use crate::endpoints::app_password;
use crate::endpoints::session::Selection;
use crate::incoming_request::IncomingRequest;
use crate::state::AppState;

/// The answer of v1, member for member.
#[derive(Serialize)]
struct Me<'a> {
    /// The verified handle, or `handle.invalid`.
    handle: &'a str,
    /// The origin of the account's PDS; null when there is no session there any more.
    pds: Option<&'a str>,
    did: &'a str,
    /// What names the account in `X-Subject` and in paths of permissions: here its DID.
    guid: &'a str,
    /// Whether the session of the access token can be used or refreshed.
    oauth_session_valid: bool,
    /// The same of the session of an app password.
    app_password_session_valid: bool,
}

/// Answers whose token it is.
pub(in crate::endpoints) async fn me(
    app: &AppState,
    incoming: &IncomingRequest,
) -> Result<Response, ApiError> {
    let answer = async {
        let call = authorized(app, incoming, Endpoint::V1Me).await?;
        account(app, &call, call.session()).await
    };
    with_nonce(app, incoming, answer.await)
}

/// Refreshes the session of the token if its tokens are close to their end. Others are as fresh as they
/// need to be: a PDS takes each refresh token once.
pub(in crate::endpoints) async fn refresh(
    app: &AppState,
    incoming: &IncomingRequest,
) -> Result<Response, ApiError> {
    let answer = async {
        let call = authorized(app, incoming, Endpoint::V1Refresh).await?;
        let fresh = Selection::OAuth.usable(app, &call).await;
        let fresh = fresh.map_err(|error| Selection::OAuth.refuse(app, incoming, error))?;
        account(app, &call, Some(&fresh)).await
    };
    with_nonce(app, incoming, answer.await)
}

async fn authorized(
    app: &AppState,
    incoming: &IncomingRequest,
    endpoint: Endpoint,
) -> Result<AuthorizedSessionCall, ApiError> {
    let call = authorize_session(app, incoming, endpoint.spec().path).await?;
    require_own_account(incoming, &call.token().grant)?;
    Ok(call)
}

async fn account(
    app: &AppState,
    call: &AuthorizedSessionCall,
    session: Option<&SessionStatus>,
) -> Result<Response, ApiError> {
    let grant = &call.token().grant;
    let did = grant.subject.as_str();
    let me = Me {
        handle: call.handle().map_or(INVALID_HANDLE, Handle::as_str),
        pds: session.map(|it| it.pds.as_str()),
        did,
        guid: did,
        oauth_session_valid: session.is_some_and(|it| it.state.name().serves_calls()),
        app_password_session_valid: app_password::is_given(app, &grant.client_id, &grant.subject)
            .await?,
    };
    Ok(Json(me).into_response())
}
