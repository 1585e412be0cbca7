//! A request on its way to a handler: its head and its collected form.

use axum::response::Response;
use bytes::Bytes;
use http::header::{AUTHORIZATION, HeaderName};
use http::request::Parts as Head;
use http::{HeaderMap, Method};
use url::form_urlencoded;

use crate::endpoints::Endpoint;
use crate::flow::see_other;
use crate::problem::Problem;

/// The header of proofs (RFC 9449 §4.1).
pub(crate) const DPOP: HeaderName = HeaderName::from_static("dpop");

/// The longest query that a form is repeated with: longer ones do not survive every proxy.
const MAX_QUERY: usize = 6 * 1024;

/// A request.
pub(crate) struct Call {
    /// Method, URI and headers.
    pub(crate) head: Head,
    /// The form body; empty for every other payload.
    pub(crate) form: Bytes,
}

impl Call {
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

    /// The same request as a navigation, if this is a form that another site may have sent: such
    /// a form comes without our `SameSite=Lax` cookie, and a navigation brings it along.
    pub(crate) fn as_navigation(&self, endpoint: Endpoint) -> Option<Response> {
        if !self.is_post() {
            return None;
        }
        // Encoded anew: a form may hold bytes that have no place in a URL.
        let pairs = form_urlencoded::parse(&self.form);
        let query = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(pairs)
            .finish();
        (query.len() <= MAX_QUERY).then(|| see_other(&format!("{}?{query}", endpoint.spec().path)))
    }

    /// The headers.
    pub(crate) fn headers(&self) -> &HeaderMap {
        &self.head.headers
    }

    /// The `Authorization` header.
    pub(crate) fn authorization(&self) -> Result<Option<&str>, Problem> {
        single(self.headers(), &AUTHORIZATION)
            .map_err(|Repeated| Problem::request("the Authorization header is repeated"))
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
