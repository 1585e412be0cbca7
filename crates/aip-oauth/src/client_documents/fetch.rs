//! Reading a document (draft-ietf-oauth-client-id-metadata-document-02 §5): one request, no redirect,
//! within bounds.

use std::time::Duration;

use aip_base::{Fetched, Http, HttpError, Limits};
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{Request, StatusCode};

use super::url::DocumentUrl;

/// What reading a document may cost: §8.7 suggests 5 kilobytes.
const READ_LIMITS: Limits = Limits {
    max_bytes: 5 * 1024,
    deadline: Duration::from_secs(5),
};

/// Why there is no document.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    /// What its developer is told.
    pub(super) why: String,
    /// Whether it may be there again soon, so that the one from before holds meanwhile.
    pub(super) passes: bool,
}

impl Failure {
    /// What does not pass by itself.
    pub(super) fn lasting(why: impl Into<String>) -> Self {
        Self {
            why: why.into(),
            passes: false,
        }
    }
}

/// Reads what is at `url`.
pub(super) async fn fetch(http: &dyn Http, url: &DocumentUrl) -> Result<Fetched, Failure> {
    let request = Request::get(url.as_str())
        .header(ACCEPT, "application/json")
        .body(Bytes::new())
        .map_err(|error| Failure::lasting(error.to_string()))?;
    let fetched = http.fetch(request, READ_LIMITS).await.map_err(|error| {
        let passes = match error {
            HttpError::Refused(_)
            | HttpError::NoHost
            | HttpError::TooLarge(_)
            | HttpError::Compressed(_) => false,
            HttpError::Connect(_)
            | HttpError::Busy(_)
            | HttpError::Broken(_)
            | HttpError::Deadline(_) => true,
        };
        Failure {
            why: error.to_string(),
            passes,
        }
    })?;
    let status = fetched.status;
    if status != StatusCode::OK {
        return Err(Failure {
            why: format!("the answer has status {}", status.as_u16()),
            passes: status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS,
        });
    }
    if !is_json(&fetched) {
        return Err(Failure::lasting(
            "the answer's Content-Type is not application/json",
        ));
    }
    Ok(fetched)
}

/// `application/json`, or another type that says that it is JSON.
fn is_json(fetched: &Fetched) -> bool {
    let value = fetched.headers.get(CONTENT_TYPE);
    let value = value.and_then(|it| it.to_str().ok()).unwrap_or_default();
    let essence = value.split(';').next().unwrap_or_default().trim();
    let essence = essence.to_ascii_lowercase();
    essence
        .strip_prefix("application/")
        .is_some_and(|it| it == "json" || it.ends_with("+json"))
}
