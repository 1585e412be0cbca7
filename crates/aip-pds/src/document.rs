//! Fetching documents: one GET without redirects, bounded, and what went wrong in words.

use std::time::Duration;

use aip_base::{Fetched, Http, HttpError, Limits};
use bytes::Bytes;
use http::Request;
use http::header::{ACCEPT, CONTENT_TYPE};

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
    let request = Request::get(url)
        .header(ACCEPT, "application/json, */*;q=0.1")
        .body(Bytes::new())
        .map_err(|_| HttpError::Refused(format!("`{url}` is not a URL")))?;
    http.fetch(request, limits).await
}

/// Whether the answer says that it is JSON (`application/json` or `…+json`).
pub(crate) fn says_json(answer: &Fetched) -> bool {
    let media_type = answer
        .headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let essence = media_type
        .and_then(|text| text.split(';').next())
        .unwrap_or_default()
        .trim();
    essence.eq_ignore_ascii_case("application/json")
        || essence.to_ascii_lowercase().ends_with("+json")
}
