//! A request on its way to a handler: its head and its collected form.

use axum::response::Response;
use bytes::Bytes;
use http::header::{AUTHORIZATION, HeaderName};
use http::request::Parts as Head;
use http::{HeaderMap, Method, StatusCode};
use url::form_urlencoded;

use crate::api_error::ApiError;
use crate::endpoints::Endpoint;
use crate::flow::see_other;
use crate::pages::{RepeatPage, html};
use crate::state::AppState;

/// The header of proofs (RFC 9449 §4.1).
pub(crate) const DPOP: HeaderName = HeaderName::from_static("dpop");

/// The longest query that a form is repeated with: longer ones do not survive every proxy.
const MAX_QUERY: usize = 6 * 1024;

/// The field that marks a form of another site which our page has repeated.
const REPEATED: &str = "aip_repeated";

/// Where a request comes from (Fetch Metadata Request Headers §2.4).
pub(crate) const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// A request.
pub(crate) struct IncomingRequest {
    /// Method, URI and headers.
    pub(crate) head: Head,
    /// The form body; empty for every other payload.
    pub(crate) form: Bytes,
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

    /// The same request anew from our own origin, if this is a form that another site may have
    /// sent: such a form comes without our `SameSite=Lax` cookies, and a navigation brings them
    /// along, or a form of ours when it is too long for a URL. `None`: it is no such form.
    pub(crate) fn as_navigation(&self, app: &AppState, endpoint: Endpoint) -> Option<Response> {
        let same_origin = self.headers().get(SEC_FETCH_SITE);
        if !self.is_post() || same_origin.is_some_and(|site| site == "same-origin") {
            return None;
        }
        // Encoded anew: a form may hold bytes that have no place in a URL.
        let pairs = form_urlencoded::parse(&self.form);
        let query = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(pairs)
            .finish();
        let path = endpoint.spec().path;
        if query.len() <= MAX_QUERY {
            return Some(see_other(&format!("{path}?{query}")));
        }
        let fields: Vec<_> = form_urlencoded::parse(&self.form).collect();
        // Sent by a browser that does not say where forms come from, and without cookies.
        if fields.iter().any(|(name, _)| name == REPEATED) {
            return None;
        }
        let page = RepeatPage {
            brand: app.brand(),
            action: path,
            mark: REPEATED,
            fields: &fields,
        };
        Some(html(StatusCode::OK, &page))
    }

    /// The headers.
    pub(crate) fn headers(&self) -> &HeaderMap {
        &self.head.headers
    }

    /// The `Authorization` header.
    pub(crate) fn authorization(&self) -> Result<Option<&str>, ApiError> {
        single(self.headers(), &AUTHORIZATION)
            .map_err(|Repeated| ApiError::request("the Authorization header is repeated"))
    }

    /// The `DPoP` header. RFC 9449 §4.3: "There is not more than one".
    pub(crate) fn dpop(&self) -> Result<Option<&str>, Repeated> {
        single(self.headers(), &DPOP)
    }
}

/// A header that must be there once is there twice, or is no text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Repeated;

fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Repeated> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    if values.next().is_some() {
        return Err(Repeated);
    }
    first
        .map(|value| value.to_str().map_err(|_| Repeated))
        .transpose()
}
