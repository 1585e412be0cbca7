//! What every answer carries: security headers, cache policy, CORS (Fetch standard, RFC 9700 §4.16,
//! RFC 6749 §5.1).

use axum::response::Response;
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ALLOW, CACHE_CONTROL,
    CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue, PRAGMA, REFERRER_POLICY,
    STRICT_TRANSPORT_SECURITY, VARY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use http::{HeaderMap, StatusCode};

use crate::endpoint::{CachePolicy, Cors, ErrorFormat, Spec};

/// By which people and operators find a request in the log.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Documents that are no pages: nothing in them may run, load or be framed, whatever a browser
/// takes them for. This matters where a PDS chooses the content (`/xrpc`).
const INERT_CONTENT_POLICY: HeaderValue =
    HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'; sandbox");

/// Headers that scripts may send. `*` does not cover `Authorization` (Fetch standard §3.3.2).
const ALLOWED_HEADERS: HeaderValue =
    HeaderValue::from_static("Authorization, Content-Type, DPoP, *");

/// Headers that scripts may read: without them no DPoP client works in a browser, and nobody can
/// go on with a download or ask whether an answer still holds.
const EXPOSED_HEADERS: HeaderValue = HeaderValue::from_static(
    "DPoP-Nonce, WWW-Authenticate, Retry-After, X-Request-Id, RateLimit-Limit, \
     RateLimit-Remaining, RateLimit-Reset, RateLimit-Policy, Atproto-Repo-Rev, \
     Atproto-Content-Labelers, ETag, Accept-Ranges, Content-Range, Content-Encoding, \
     Content-Disposition, Location",
);

/// What chooses an answer to one caller, besides the address (RFC 9110 §12.5.5): the caller, and
/// what else goes on to its PDS.
const VARIES: HeaderValue = HeaderValue::from_static(
    "Authorization, DPoP, Accept, Accept-Encoding, Accept-Language, Atproto-Proxy, \
     Atproto-Accept-Labelers, X-AIP-Account",
);

/// Adds what every answer carries. `spec` is that of its endpoint; there is none for a path that
/// is not mounted.
pub(crate) fn finish(response: &mut Response, spec: Option<&Spec>, https: bool, id: &str) {
    let failed = response.status().is_client_error() || response.status().is_server_error();
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::from_str(id) {
        headers.insert(REQUEST_ID, id);
    }
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers
        .entry(CONTENT_SECURITY_POLICY)
        .or_insert(INERT_CONTENT_POLICY);
    if https {
        let two_years = HeaderValue::from_static("max-age=63072000");
        headers.insert(STRICT_TRANSPORT_SECURITY, two_years);
    }
    let cache = match spec.map(|spec| spec.cache) {
        Some(cache) if !failed => cache,
        _ => CachePolicy::NoStore,
    };
    set_cache(headers, cache);
    if spec.is_some_and(|spec| spec.cache == CachePolicy::Private) {
        headers.insert(VARY, VARIES);
    }
    if spec.is_some_and(|spec| spec.cors == Cors::AnyOrigin) {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED_HEADERS);
    }
}

fn set_cache(headers: &mut HeaderMap, cache: CachePolicy) {
    let value = match cache {
        CachePolicy::NoStore => HeaderValue::from_static("no-store"),
        CachePolicy::Minutes(minutes) => {
            let seconds = u64::from(minutes) * 60;
            HeaderValue::from_str(&format!("public, max-age={seconds}"))
                .unwrap_or(HeaderValue::from_static("no-store"))
        }
        CachePolicy::Immutable => HeaderValue::from_static("public, max-age=31536000, immutable"),
        CachePolicy::Private => HeaderValue::from_static("private, no-cache"),
    };
    if cache == CachePolicy::NoStore {
        // RFC 6749 §5.1 asks for both.
        headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
    }
    headers.insert(CACHE_CONTROL, value);
}

/// The answer to a `HEAD` where a `GET` would have an effect: the head of an answer that could
/// follow one (RFC 9110 §9.3.2 lets a server leave out what it would have to work for).
pub(crate) fn head(spec: &Spec) -> Response {
    let media_type = match spec.errors {
        ErrorFormat::Page => HeaderValue::from_static("text/html; charset=utf-8"),
        ErrorFormat::OAuth | ErrorFormat::Xrpc => HeaderValue::from_static("application/json"),
    };
    let mut response = Response::default();
    response.headers_mut().insert(CONTENT_TYPE, media_type);
    response
}

/// The answer to `OPTIONS`, which is a preflight when the endpoint is open to scripts.
pub(crate) fn options(spec: &Spec) -> Response {
    let mut response = Response::default();
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    if let Ok(allow) = HeaderValue::from_str(&spec.allow()) {
        if spec.cors == Cors::AnyOrigin {
            headers.insert(ACCESS_CONTROL_ALLOW_METHODS, allow.clone());
            headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, ALLOWED_HEADERS);
            headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("7200"));
        }
        headers.insert(ALLOW, allow);
    }
    response
}
