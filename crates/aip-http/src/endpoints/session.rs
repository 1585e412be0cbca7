//! `/api/atprotocol/session`: what an app may know of its session at the account's PDS, refreshed
//! if it was stale. Neither tokens nor keys of the PDS leave AIP: calls go through `/xrpc`.
//!
//! Apps ask often. A session that is fresh costs one statement, and none of its secrets is opened.

use aip_atproto::Handle;
use aip_base::Timestamp;
use aip_oauth::claims::INVALID_HANDLE;
use aip_pds::usable_until;
use aip_sessions::{KeeperError, step};
use aip_storage::grant::AccessToken;
use axum::Json;
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;

use crate::api_error::ApiError;
use crate::bearer::{authorize_session, challenge, protected_resource_url, with_nonce};
use crate::endpoint::Endpoint;
use crate::incoming_request::IncomingRequest;
use crate::state::AppState;

/// The names are those of AIP v2.
#[derive(Serialize)]
struct Session<'a> {
    did: &'a str,
    /// The verified handle, or `handle.invalid`.
    handle: &'a str,
    /// The origin of the account's PDS.
    pds_endpoint: String,
    /// What the access token allows.
    scopes: Vec<String>,
    /// When the session is refreshed next, in seconds of the Unix epoch. AIP does that by itself.
    expires_at: i64,
    /// When the person has to sign in again whatever AIP does, in seconds of the Unix epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    ends_at: Option<i64>,
}

/// Answers with the session of the access token.
pub(super) async fn handle(
    app: &AppState,
    incoming: &IncomingRequest,
) -> Result<Response, ApiError> {
    let answer = session(app, incoming).await;
    with_nonce(app, incoming, answer)
}

async fn session(app: &AppState, incoming: &IncomingRequest) -> Result<Response, ApiError> {
    let authorized = authorize_session(app, incoming, Endpoint::Session.spec().path).await?;
    let AccessToken { grant, scope, .. } = authorized.token();
    let live = match authorized.session() {
        Some(read) => app.parts().keeper.active_status(read.clone()).await,
        None => Err(KeeperError::Unknown),
    };
    let live = live.map_err(|error| {
        let metadata = protected_resource_url(app);
        challenge(&metadata, incoming).no_session(error)
    })?;
    let session = Session {
        did: grant.subject.as_str(),
        handle: authorized.handle().map_or(INVALID_HANDLE, Handle::as_str),
        pds_endpoint: live.pds.as_str().to_owned(),
        scopes: scope.iter().map(ToString::to_string).collect(),
        expires_at: usable_until(live.refreshed_at, live.access_expires_at).as_secs(),
        ends_at: step::ends_at(&live).map(Timestamp::as_secs),
    };
    Ok(Json(session).into_response())
}
