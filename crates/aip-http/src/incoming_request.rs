//! A request on its way to a handler: its head and its collected form.

use aip_base::{AmbiguousHeader, single_header};
use bytes::Bytes;
use http::header::{AUTHORIZATION, HeaderName};
use http::request::Parts as Head;
use http::{HeaderMap, Method};

use crate::api_error::ApiError;

/// The header of proofs (RFC 9449 §4.1).
pub(crate) const DPOP: HeaderName = HeaderName::from_static("dpop");

/// Where a request comes from (Fetch Metadata Request Headers §2.4).
pub(crate) const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

pub(crate) struct IncomingRequest {
    /// Method, URI and headers.
    pub(crate) head: Head,
    /// The form body; empty for every other payload.
    pub(crate) form: Bytes,
    /// The JSON body, not parsed yet; empty for every other payload.
    pub(crate) json: Bytes,
}

impl IncomingRequest {
    /// Whether it is a `POST`.
    pub(crate) fn is_post(&self) -> bool {
        self.head.method == Method::POST
    }

    /// The query string, as sent.
    pub(crate) fn query(&self) -> &[u8] {
        self.head.uri.query().unwrap_or_default().as_bytes()
    }

    /// Where parameters are: in the body of a `POST`, otherwise in the query.
    pub(crate) fn params(&self) -> &[u8] {
        if self.is_post() {
            &self.form
        } else {
            self.query()
        }
    }

    /// Whether another site sent the browser here, as the browser says it. Whoever typed the
    /// address or came from a program did so themselves.
    pub(crate) fn is_cross_site(&self) -> bool {
        let site = self.headers().get(SEC_FETCH_SITE);
        site.is_some_and(|site| site != "same-origin" && site != "none")
    }

    pub(crate) fn headers(&self) -> &HeaderMap {
        &self.head.headers
    }

    /// The `Authorization` header.
    pub(crate) fn authorization(&self) -> Result<Option<&str>, ApiError> {
        single_header(self.headers(), AUTHORIZATION)
            .map_err(|_| ApiError::request("the Authorization header is repeated"))
    }

    /// The `DPoP` header. RFC 9449 §4.3: "There is not more than one".
    pub(crate) fn dpop(&self) -> Result<Option<&str>, AmbiguousHeader> {
        single_header(self.headers(), DPOP)
    }
}
