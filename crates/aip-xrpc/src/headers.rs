//! Which headers cross the proxy, in both directions: those of two lists, and no others.
//!
//! What an app sends to AIP (credentials, cookies, where it is, what a proxy says of it) is not for
//! the PDS, and what a PDS says of caching, cookies or browsers is not for AIP's origin. What is
//! for the PDS's method, and for who called it, passes as it is, repeated headers included.

use http::header::{
    CONTENT_ENCODING, CONTENT_TYPE, HeaderName, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH,
    IF_RANGE, LOCATION, RANGE,
};
use http::{HeaderMap, HeaderValue};

/// Headers of an app's request that go on: content negotiation (RFC 9110 §12.5), what describes
/// the body, conditions and ranges (§13.1, §14.2), and those of the AT Protocol.
const REQUEST_HEADERS: [&str; 14] = [
    "accept",
    "accept-encoding",
    "accept-language",
    "atproto-accept-labelers",
    "atproto-proxy",
    "content-encoding",
    "content-language",
    "content-type",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "range",
    "x-bsky-topics",
];

/// Headers of a PDS's answer that go on: what describes the body, validators (RFC 9110 §8.8),
/// limits (and the draft fields that the reference PDS sends), and those of the AT Protocol.
const RESPONSE_HEADERS: [&str; 17] = [
    "accept-ranges",
    "atproto-content-labelers",
    "atproto-repo-rev",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-length",
    "content-range",
    "content-type",
    "etag",
    "last-modified",
    "location",
    "ratelimit-limit",
    "ratelimit-policy",
    "ratelimit-remaining",
    "ratelimit-reset",
    "retry-after",
];

/// The headers of an app's request that go on to the PDS.
pub fn to_pds(from_app: &HeaderMap) -> HeaderMap {
    // A header without a value says nothing, but servers differ on that.
    let says_something = |value: &HeaderValue| !value.as_bytes().trim_ascii().is_empty();
    pass(from_app, |name, value| {
        REQUEST_HEADERS.contains(&name.as_str()) && says_something(value)
    })
}

/// The headers of a PDS's answer that go on to the app.
pub fn to_app(from_pds: &HeaderMap) -> HeaderMap {
    pass(from_pds, |name, value| {
        // A relative one would lead to an address of AIP's.
        RESPONSE_HEADERS.contains(&name.as_str()) && (name != LOCATION || is_absolute(value))
    })
}

/// Declares a body as JSON of AIP's own making.
pub(crate) fn declare_json(to_pds: &mut HeaderMap) {
    to_pds.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    to_pds.remove(CONTENT_ENCODING);
}

/// Takes out what makes an answer partial or empty: conditions and ranges.
pub(crate) fn ask_for_the_whole(to_pds: &mut HeaderMap) {
    for name in [IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, RANGE] {
        to_pds.remove(name);
    }
}

fn is_absolute(location: &HeaderValue) -> bool {
    let url = location
        .to_str()
        .ok()
        .and_then(|it| url::Url::parse(it).ok());
    url.is_some_and(|url| url.scheme() == "https")
}

fn pass(headers: &HeaderMap, passes: impl Fn(&HeaderName, &HeaderValue) -> bool) -> HeaderMap {
    let passing = headers.iter().filter(|(name, value)| passes(name, value));
    passing
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(*name, value.parse().unwrap());
        }
        map
    }

    fn names(map: &HeaderMap) -> Vec<&str> {
        map.iter().map(|(name, _)| name.as_str()).collect()
    }

    #[test]
    fn only_listed_headers_of_a_request_cross() {
        let sent = map(&[
            ("authorization", "Bearer x"),
            ("dpop", "proof"),
            ("cookie", "a=b"),
            ("host", "aip.example"),
            ("connection", "keep-alive, X-Secret"),
            ("x-secret", "s"),
            ("proxy-authorization", "Basic x"),
            ("transfer-encoding", "chunked"),
            ("te", "trailers"),
            ("x-forwarded-for", "10.0.0.1"),
            ("cf-connecting-ip", "10.0.0.1"),
            ("true-client-ip", "10.0.0.1"),
            ("x-http-method-override", "DELETE"),
            ("x-original-url", "/xrpc/com.atproto.repo.deleteRecord"),
            ("origin", "https://app.example"),
            ("sec-fetch-site", "cross-site"),
            ("user-agent", "app"),
            ("accept-language", "pt"),
            ("atproto-proxy", "did:web:api.example#appview"),
            ("atproto-accept-labelers", "did:plc:a"),
            ("atproto-accept-labelers", "did:plc:b"),
            ("content-encoding", " "),
            ("content-type", "application/json"),
        ]);
        let expected = [
            "accept-language",
            "atproto-proxy",
            "atproto-accept-labelers",
            "atproto-accept-labelers",
            "content-type",
        ];
        assert_eq!(names(&to_pds(&sent)), expected);
    }

    #[test]
    fn only_listed_headers_of_an_answer_cross() {
        let answered = map(&[
            ("set-cookie", "a=b"),
            ("dpop-nonce", "n"),
            ("www-authenticate", "DPoP"),
            ("access-control-allow-origin", "*"),
            ("cache-control", "public, max-age=3600"),
            ("expires", "Thu, 01 Jan 2099 00:00:00 GMT"),
            ("age", "0"),
            ("cdn-cache-control", "max-age=3600"),
            ("surrogate-control", "max-age=3600"),
            ("x-accel-expires", "3600"),
            ("x-accel-redirect", "/internal/alive"),
            ("vary", "*"),
            ("clear-site-data", "\"cookies\""),
            ("content-security-policy", "default-src *"),
            ("link", "</x>; rel=preload"),
            ("refresh", "0; url=https://evil.example"),
            ("nel", "{}"),
            ("connection", "close"),
            ("content-type", "application/json"),
            ("ratelimit-remaining", "12"),
            ("retry-after", "3"),
        ]);
        let expected = ["content-type", "ratelimit-remaining", "retry-after"];
        assert_eq!(names(&to_app(&answered)), expected);
    }

    #[test]
    fn a_redirect_of_the_pds_leads_to_no_address_of_ours() {
        let leads = |location| names(&to_app(&map(&[("location", location)]))) == ["location"];
        assert!(leads("https://cdn.example/blob"));
        for location in [
            "/oauth/authorize",
            "//evil.example",
            "javascript:alert(1)",
            "http://x.example",
        ] {
            assert!(!leads(location), "{location}");
        }
    }
}
