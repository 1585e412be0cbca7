//! Fetching documents: one GET without redirects, bounded, and what went wrong in words.

use std::time::Duration;

use aip_base::{Fetched, Http, HttpError, Limits};
use bytes::Bytes;
use http::header::{ACCEPT, IF_NONE_MATCH};
use http::{HeaderValue, Request};

/// For documents and OAuth answers: real ones have a few kilobytes.
pub(crate) const DOCUMENT_LIMITS: Limits = Limits {
    max_bytes: 64 * 1024,
    deadline: Duration::from_secs(10),
};

/// For answers of one line: a DID.
pub(crate) const ONE_LINE_LIMITS: Limits = Limits {
    max_bytes: 4096,
    deadline: Duration::from_secs(3),
};

/// Fetches `url`, whatever the status is.
pub(crate) async fn get(http: &dyn Http, url: &str, limits: Limits) -> Result<Fetched, HttpError> {
    get_unless(http, url, limits, None).await
}

/// Likewise; who still has what the entity tag `known` stands for answers 304 (RFC 9110 §13.1.2).
pub(crate) async fn get_unless(
    http: &dyn Http,
    url: &str,
    limits: Limits,
    known: Option<&HeaderValue>,
) -> Result<Fetched, HttpError> {
    let mut request = Request::get(url)
        .header(ACCEPT, "application/json, */*;q=0.1")
        .body(Bytes::new())
        .map_err(|_| HttpError::Refused(format!("`{url}` is not a URL")))?;
    if let Some(known) = known {
        request.headers_mut().insert(IF_NONE_MATCH, known.clone());
    }
    http.fetch(request, limits).await
}
