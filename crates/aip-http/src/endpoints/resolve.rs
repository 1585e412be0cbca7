//! `/api/atprotocol/resolve?subject=…`: who handles and DIDs are, up to a hundred at once, for every
//! access token. What one of them fails by is said in its place, and the others are answered.

use std::sync::Arc;

use aip_atproto::{AtIdentifier, SigningKeyRef};
use aip_oauth::claims::INVALID_HANDLE;
use aip_pds::{KnownHandle, KnownIdentity};
use axum::Json;
use axum::response::{IntoResponse as _, Response};
use futures_util::StreamExt as _;
use futures_util::stream;
use http::header::RETRY_AFTER;
use http::{HeaderValue, StatusCode};
use serde::Serialize;
use tokio::time::Instant;
use url::form_urlencoded;

use crate::api_error::ApiError;
use crate::bearer::{authorize, with_nonce};
use crate::endpoint::Endpoint;
use crate::incoming_request::IncomingRequest;
use crate::lookups::Lookups;
use crate::state::AppState;
use crate::subject_quota::Requester;

/// How many subjects one request may name.
pub(super) const MAX_SUBJECTS: usize = 100;
/// How many of one request are looked up at once.
const AT_ONCE: usize = 16;
/// When one asks again for those that were not looked up in time, in seconds.
pub(super) const ASK_AGAIN_AFTER: &str = "5";

#[derive(Serialize)]
struct Answer {
    /// In the order of the request.
    identities: Vec<Entry>,
}

#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Entry {
    Found(Identity),
    Failed(Failure),
}

#[derive(Serialize)]
pub(super) struct Identity {
    /// As the request named it.
    subject: String,
    pub(super) did: String,
    /// The verified handle, or `handle.invalid`.
    pub(super) handle: String,
    /// Says that the handle could not be checked now: then `handle` says nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    handle_error: Option<&'static str>,
    /// The origin of the PDS, if the document names one that may be used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) pds: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signing_key: Option<SigningKey>,
    sources: Sources,
}

/// A verification method (DID Core §5.2).
#[derive(Serialize)]
struct SigningKey {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(rename = "publicKeyMultibase")]
    multibase: String,
}

#[derive(Serialize)]
struct Sources {
    /// Of the DID document, and so of the PDS and the key.
    document: ReadSource,
    /// Of the DID of the handle; there is none for `handle.invalid`.
    #[serde(skip_serializing_if = "Option::is_none")]
    handle: Option<ReadSource>,
}

#[derive(Serialize)]
struct ReadSource {
    /// `plc` or `web`; `dns`, `well-known` or `server`.
    method: &'static str,
    /// How long ago it was read, in seconds.
    age: u64,
}

/// In the format of XRPC.
#[derive(Serialize)]
pub(super) struct Failure {
    subject: String,
    error: &'static str,
    message: String,
    /// Whether asking again may help soon.
    #[serde(skip)]
    pub(super) has_timed_out: bool,
}

/// Answers with those that the request names.
pub(super) async fn handle(
    app: &AppState,
    incoming: &IncomingRequest,
) -> Result<Response, ApiError> {
    let answer = resolve(app, incoming).await;
    with_nonce(app, incoming, answer)
}

async fn resolve(app: &AppState, incoming: &IncomingRequest) -> Result<Response, ApiError> {
    let authorized = authorize(app, incoming, Endpoint::Resolve.spec().path).await?;
    let subjects = subjects(incoming.query())?;
    let requester = Requester::of(&authorized.token().grant);
    Ok(answer(look_up(app, requester, subjects).await?))
}

/// Looks the subjects up for `requester`, unless they are too many for it. The answers come in their order.
pub(super) async fn look_up(
    app: &AppState,
    requester: Requester,
    subjects: Vec<String>,
) -> Result<Vec<Entry>, ApiError> {
    app.lookups().count(app, &requester, subjects.len())?;
    let requester = Arc::new(requester);
    let deadline = Lookups::deadline();
    // Each with its own handle of the application: futures that borrow it have no lifetime that a task
    // could be sure of (rust-lang/rust issue 102211).
    let lookups = subjects.into_iter().enumerate().map(|(place, subject)| {
        let (app, requester) = (app.clone(), Arc::clone(&requester));
        async move { (place, entry(&app, &requester, subject, deadline).await) }
    });
    // As they are done: one that takes long keeps no other from its turn.
    let entries = stream::iter(lookups).buffer_unordered(AT_ONCE);
    let mut entries: Vec<(usize, Entry)> = entries.collect().await;
    entries.sort_unstable_by_key(|(place, _)| *place);
    Ok(entries.into_iter().map(|(_, entry)| entry).collect())
}

/// The answer, which says when to ask again if some were not looked up in time.
fn answer(identities: Vec<Entry>) -> Response {
    let has_timed_out = |entry: &Entry| matches!(entry, Entry::Failed(it) if it.has_timed_out);
    let is_whole = !identities.iter().any(has_timed_out);
    let mut answer = Json(Answer { identities }).into_response();
    if !is_whole {
        let after = HeaderValue::from_static(ASK_AGAIN_AFTER);
        answer.headers_mut().insert(RETRY_AFTER, after);
    }
    answer
}

/// The subjects that a query names; other parameters mean nothing.
fn subjects(query: &[u8]) -> Result<Vec<String>, ApiError> {
    let named = form_urlencoded::parse(query).filter(|(name, _)| name == "subject");
    // One more than there may be is enough to know.
    let subjects: Vec<String> = named
        .map(|(_, value)| value.into_owned())
        .take(MAX_SUBJECTS + 1)
        .collect();
    if (1..=MAX_SUBJECTS).contains(&subjects.len()) {
        return Ok(subjects);
    }
    Err(ApiError::caller(
        StatusCode::BAD_REQUEST,
        "InvalidRequest",
        format!("the query must name 1 to {MAX_SUBJECTS} handles or DIDs, each as `subject`"),
    ))
}

async fn entry(app: &AppState, requester: &Requester, subject: String, deadline: Instant) -> Entry {
    let id = match AtIdentifier::from_user_input(&subject) {
        Ok(id) => id,
        Err(error) => {
            return Entry::Failed(Failure {
                subject,
                error: "InvalidRequest",
                message: error.to_string(),
                has_timed_out: false,
            });
        }
    };
    let is_remembered = app.resolver().remembers(&id);
    let known = app.resolver().known(&id);
    let lookup = app.lookups().run(requester, deadline, is_remembered, known);
    match lookup.await {
        Ok(known) => Entry::Found(Identity::of(subject, &known)),
        Err(error) => {
            tracing::debug!(error = %error.detail(), "look-up failed");
            let has_timed_out = error.has_timed_out();
            let (_, error, message) = error.to_error_parts();
            Entry::Failed(Failure {
                subject,
                error,
                message,
                has_timed_out,
            })
        }
    }
}

impl Identity {
    fn of(subject: String, known: &KnownIdentity) -> Self {
        let handle = known.handle.as_ref();
        let shown = handle.map_or(INVALID_HANDLE, |it| it.handle.as_str());
        let read = |known: &KnownHandle| ReadSource {
            method: known.method.as_str(),
            age: known.age.as_secs(),
        };
        Self {
            subject,
            did: known.did.to_string(),
            handle: shown.to_owned(),
            handle_error: known.handle_error.as_ref().map(|_| "UpstreamFailure"),
            pds: known.pds.as_ref().map(ToString::to_string),
            signing_key: known.document.signing_key().map(SigningKey::of),
            sources: Sources {
                document: ReadSource {
                    method: known.did.method().as_str(),
                    age: known.document_age.as_secs(),
                },
                handle: handle.map(read),
            },
        }
    }
}

impl SigningKey {
    fn of(key: &SigningKeyRef) -> Self {
        Self {
            kind: key.kind.as_str(),
            multibase: key.multibase.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_without_some_says_when_to_ask_again() {
        let failed = |has_timed_out| {
            Entry::Failed(Failure {
                subject: "a.example".to_owned(),
                error: "UpstreamTimeout",
                message: String::new(),
                has_timed_out,
            })
        };
        for (entries, expected) in [
            (vec![], None),
            (vec![failed(false)], None),
            (vec![failed(false), failed(true)], Some("5")),
            (vec![failed(true), failed(true), failed(false)], Some("5")),
        ] {
            let answer = answer(entries);
            assert_eq!(answer.status(), StatusCode::OK);
            let after = answer.headers().get(RETRY_AFTER);
            assert_eq!(after.map(|it| it.to_str().unwrap()), expected);
        }
    }

    #[test]
    fn subjects_are_1_to_100_and_keep_their_order() {
        let of = |query: &str| subjects(query.as_bytes());
        let found = of("subject=b&x=1&subject=%40a&Subject=c&subject=b").unwrap();
        assert_eq!(found, ["b", "@a", "b"]);
        let hundred = "subject=a&".repeat(100);
        assert_eq!(of(&hundred).unwrap().len(), 100);
        for query in ["", "subject", "subjects=a", &format!("{hundred}subject=a")] {
            let found = of(query);
            // An empty subject is one that does not resolve.
            assert_eq!(found.is_ok(), query == "subject", "{query}");
        }
    }
}
