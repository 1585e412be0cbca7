//! `/internal/api/resolve?subject=…`: who handles and DIDs are, in v1's shape and, as there, without an
//! access token. A gateway does not lead here; who reaches a Pod has a share by network. Whoever comes from
//! the Internet all the same needs a token.

use axum::Json;
use axum::response::{IntoResponse as _, Response};
use http::HeaderValue;
use http::header::RETRY_AFTER;
use serde::Serialize;
use url::form_urlencoded;

use crate::api_error::ApiError;
use crate::bearer::{authorize, with_nonce};
use crate::endpoint::Endpoint;
use crate::endpoints::resolve::{ASK_AGAIN_AFTER, Entry, MAX_SUBJECTS, look_up};
use crate::incoming_request::IncomingRequest;
use crate::state::AppState;
use crate::subject_quota::Requester;

/// An account as v1 told it.
#[derive(Serialize)]
struct Resolved {
    did: String,
    /// The verified handle, or `handle.invalid`.
    handle: String,
    /// The origin of the PDS, if the document names one that may be used.
    pds: Option<String>,
    /// What names the account in `X-Subject` and in paths of permissions: here its DID.
    guid: String,
}

/// Answers with those that were found, in the order of the request.
pub(in crate::endpoints) async fn resolve(
    app: &AppState,
    incoming: &IncomingRequest,
) -> Result<Response, ApiError> {
    let answer = answer(app, incoming).await;
    with_nonce(app, incoming, answer)
}

async fn answer(app: &AppState, incoming: &IncomingRequest) -> Result<Response, ApiError> {
    let caller = app.caller(incoming);
    let requester = if caller.is_public() {
        let path = Endpoint::V1Resolve.spec().path;
        let authorized = authorize(app, incoming, path).await?;
        Requester::of(&authorized.token().grant)
    } else {
        Requester::Network(caller.network())
    };
    let named = form_urlencoded::parse(incoming.query()).filter(|(name, _)| name == "subject");
    let subjects: Vec<String> = named
        .map(|(_, value)| value.into_owned())
        .take(MAX_SUBJECTS + 1)
        .collect();
    if subjects.len() > MAX_SUBJECTS {
        let words = format!("there may be {MAX_SUBJECTS} subjects");
        return Err(ApiError::request(words));
    }
    let entries = look_up(app, requester, subjects).await?;
    let mut is_whole = true;
    let mut found = Vec::new();
    for entry in entries {
        match entry {
            Entry::Found(identity) => found.push(Resolved {
                guid: identity.did.clone(),
                did: identity.did,
                handle: identity.handle,
                pds: identity.pds,
            }),
            Entry::Failed(failure) => is_whole &= !failure.has_timed_out,
        }
    }
    let mut answer = Json(found).into_response();
    if !is_whole {
        let after = HeaderValue::from_static(ASK_AGAIN_AFTER);
        answer.headers_mut().insert(RETRY_AFTER, after);
    }
    Ok(answer)
}
