//! Which headers cross the proxy, in both directions: those of two lists, and no others. A header that
//! its sender names in `Connection` is for the next recipient alone (RFC 9110 §7.6.1), so it does not
//! cross even if it is on the list.
//!
//! What an app sends to AIP (credentials, cookies, where it is, what a proxy says of it) is not for
//! the PDS, and what a PDS says of caching, cookies or browsers is not for AIP's origin. What is
//! for the PDS's method, and for who called it, passes as it is, repeated headers included.

use aip_atproto::ServiceRef;
use aip_base::{AmbiguousHeader, single_header};
use http::header::{
    CONNECTION, CONTENT_ENCODING, CONTENT_TYPE, HeaderName, IF_MATCH, IF_MODIFIED_SINCE,
    IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, LOCATION, RANGE,
};
use http::{HeaderMap, HeaderValue};

/// Names the service that the PDS passes a call on to
/// (<https://atproto.com/specs/xrpc#service-proxying>).
pub(crate) const ATPROTO_PROXY: &str = "atproto-proxy";

/// Headers of an app's request that go on: content negotiation (RFC 9110 §12.5), what describes
/// the body, conditions and ranges (§13.1, §14.2), and those of the AT Protocol.
static REQUEST_HEADERS: [HeaderName; 15] = [
    HeaderName::from_static("accept"),
    HeaderName::from_static("accept-encoding"),
    HeaderName::from_static("accept-language"),
    HeaderName::from_static("atproto-accept-labelers"),
    HeaderName::from_static(ATPROTO_PROXY),
    HeaderName::from_static("content-encoding"),
    HeaderName::from_static("content-language"),
    HeaderName::from_static("content-type"),
    HeaderName::from_static("if-match"),
    HeaderName::from_static("if-modified-since"),
    HeaderName::from_static("if-none-match"),
    HeaderName::from_static("if-range"),
    HeaderName::from_static("if-unmodified-since"),
    HeaderName::from_static("range"),
    HeaderName::from_static("x-bsky-topics"),
];

/// Headers of a PDS's answer that go on: what describes the body, validators (RFC 9110 §8.8),
/// limits (and the draft fields that the reference PDS sends), and those of the AT Protocol.
static RESPONSE_HEADERS: [HeaderName; 17] = [
    HeaderName::from_static("accept-ranges"),
    HeaderName::from_static("atproto-content-labelers"),
    HeaderName::from_static("atproto-repo-rev"),
    HeaderName::from_static("content-disposition"),
    HeaderName::from_static("content-encoding"),
    HeaderName::from_static("content-language"),
    HeaderName::from_static("content-length"),
    HeaderName::from_static("content-range"),
    HeaderName::from_static("content-type"),
    HeaderName::from_static("etag"),
    HeaderName::from_static("last-modified"),
    HeaderName::from_static("location"),
    HeaderName::from_static("ratelimit-limit"),
    HeaderName::from_static("ratelimit-policy"),
    HeaderName::from_static("ratelimit-remaining"),
    HeaderName::from_static("ratelimit-reset"),
    HeaderName::from_static("retry-after"),
];

/// About as many headers are added to those that cross: where there is room, none is moved for it.
const OWN_HEADERS: usize = 8;

/// The headers of an app's request that go on to the PDS.
pub fn to_pds(from_app: &HeaderMap) -> HeaderMap {
    // A header without a value says nothing, but servers differ on that.
    select_headers(from_app, &REQUEST_HEADERS, |_, value| {
        !value.as_bytes().trim_ascii().is_empty()
    })
}

/// The headers of a PDS's answer that go on to the app.
pub fn to_app(from_pds: &HeaderMap) -> HeaderMap {
    // A relative one would lead to an address of AIP's.
    select_headers(from_pds, &RESPONSE_HEADERS, |name, value| {
        name != LOCATION || is_absolute(value)
    })
}

/// Declares a body as JSON of AIP's own making.
pub(crate) fn declare_json(to_pds: &mut HeaderMap) {
    to_pds.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    to_pds.remove(CONTENT_ENCODING);
}

/// Names `service` as the one that the PDS passes the call on to.
pub(crate) fn name_service(to_pds: &mut HeaderMap, service: &ServiceRef) {
    // A service reference has only characters that a header may have.
    if let Ok(value) = HeaderValue::from_str(service.as_str()) {
        to_pds.insert(HeaderName::from_static(ATPROTO_PROXY), value);
    }
}

/// Takes out what makes an answer partial or empty: conditions and ranges.
pub(crate) fn request_full_response(to_pds: &mut HeaderMap) {
    for name in [
        IF_MATCH,
        IF_MODIFIED_SINCE,
        IF_NONE_MATCH,
        IF_RANGE,
        IF_UNMODIFIED_SINCE,
        RANGE,
    ] {
        to_pds.remove(name);
    }
}

/// The header of that name as the PDS gets it, at most once and as text: what is judged is what is
/// sent.
pub fn single_header_text<'a>(
    from_app: &'a HeaderMap,
    name: &'static str,
) -> Result<Option<&'a str>, AmbiguousHeader> {
    if is_hop_by_hop(from_app, name) {
        return Ok(None);
    }
    single_header(from_app, name)
}

/// Whether the sender names the header in `Connection`.
fn is_hop_by_hop(headers: &HeaderMap, name: &str) -> bool {
    headers.get_all(CONNECTION).iter().any(|value| {
        let mut options = value.as_bytes().split(|byte| *byte == b',');
        options.any(|option| option.trim_ascii().eq_ignore_ascii_case(name.as_bytes()))
    })
}

fn is_absolute(location: &HeaderValue) -> bool {
    let url = location
        .to_str()
        .ok()
        .and_then(|it| url::Url::parse(it).ok());
    url.is_some_and(|url| url.scheme() == "https")
}

/// Those of `list` that pass. Their names are those of the list: to copy one costs nothing.
fn select_headers(
    headers: &HeaderMap,
    list: &'static [HeaderName],
    passes: impl Fn(&HeaderName, &HeaderValue) -> bool,
) -> HeaderMap {
    let mut crossing = HeaderMap::with_capacity(list.len().min(headers.len()) + OWN_HEADERS);
    for (name, value) in headers {
        let Some(listed) = list.iter().find(|listed| *listed == name) else {
            continue;
        };
        if passes(listed, value) && !is_hop_by_hop(headers, listed.as_str()) {
            crossing.append(listed.clone(), value.clone());
        }
    }
    crossing
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

    fn texts(list: &[HeaderName]) -> Vec<&str> {
        list.iter().map(HeaderName::as_str).collect()
    }

    fn names(map: &HeaderMap) -> Vec<&str> {
        map.iter().map(|(name, _)| name.as_str()).collect()
    }

    fn pairs(map: &HeaderMap) -> Vec<(&str, &str)> {
        map.iter()
            .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
            .collect()
    }

    /// What an app may send, whatever of it means something to AIP or to what is in front of it.
    const NEVER_TO_THE_PDS: [(&str, &str); 34] = [
        // Credentials and state of the caller.
        ("authorization", "Bearer x"),
        ("dpop", "proof"),
        ("cookie", "a=b"),
        ("proxy-authorization", "Basic x"),
        ("x-api-key", "x"),
        ("x-aip-account", "did:plc:x"),
        ("x-subject", "did:plc:x"),
        // Of one connection (RFC 9110 §7.6.1, RFC 9112).
        ("connection", "close"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "keep-alive"),
        ("te", "trailers"),
        ("trailer", "expires"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "h2c"),
        ("http2-settings", "AAMAAABkAAQAAP__"),
        ("content-length", "3"),
        ("expect", "100-continue"),
        ("max-forwards", "3"),
        // Where the request comes from and goes to.
        ("host", "aip.example"),
        ("forwarded", "for=10.0.0.1"),
        ("x-forwarded-for", "10.0.0.1"),
        ("x-forwarded-host", "evil.example"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-client-cert", "x"),
        ("x-real-ip", "10.0.0.1"),
        ("cf-connecting-ip", "10.0.0.1"),
        ("true-client-ip", "10.0.0.1"),
        ("via", "1.1 proxy"),
        ("origin", "https://app.example"),
        ("referer", "https://app.example/secret"),
        // What would make it another request.
        ("x-http-method-override", "DELETE"),
        ("x-original-url", "/xrpc/com.atproto.repo.deleteRecord"),
        ("sec-fetch-site", "cross-site"),
        ("user-agent", "app"),
    ];

    /// What is for the PDS's method.
    const TO_THE_PDS: [(&str, &str); 15] = [
        ("accept", "application/vnd.ipld.car"),
        ("accept-encoding", "br, gzip"),
        ("accept-language", "pt, en;q=0.5"),
        ("atproto-accept-labelers", "did:plc:a;redact, did:plc:b"),
        ("atproto-proxy", "did:web:api.example#appview"),
        ("content-encoding", "gzip"),
        ("content-language", "pt"),
        ("content-type", "application/json"),
        ("if-match", "\"1\""),
        ("if-modified-since", "Thu, 01 Jan 2026 00:00:00 GMT"),
        ("if-none-match", "\"1\", \"2\""),
        ("if-range", "\"1\""),
        ("if-unmodified-since", "Thu, 01 Jan 2026 00:00:00 GMT"),
        ("range", "bytes=0-99"),
        ("x-bsky-topics", "a,b"),
    ];

    /// What a PDS may answer that is for AIP, for its connection, or for another origin.
    const NEVER_TO_THE_APP: [(&str, &str); 25] = [
        ("set-cookie", "a=b"),
        ("set-cookie2", "a=b"),
        ("dpop-nonce", "n"),
        ("www-authenticate", "DPoP"),
        ("proxy-authenticate", "Basic"),
        ("connection", "close"),
        ("keep-alive", "timeout=5"),
        ("transfer-encoding", "chunked"),
        ("trailer", "expires"),
        ("upgrade", "h2c"),
        ("access-control-allow-origin", "*"),
        ("access-control-allow-credentials", "true"),
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
        ("strict-transport-security", "max-age=0"),
        ("link", "</x>; rel=preload"),
        ("refresh", "0; url=https://evil.example"),
    ];

    /// What is for the app.
    const TO_THE_APP: [(&str, &str); 17] = [
        ("accept-ranges", "bytes"),
        ("atproto-content-labelers", "did:plc:a"),
        ("atproto-repo-rev", "3kabc"),
        ("content-disposition", "attachment"),
        ("content-encoding", "gzip"),
        ("content-language", "pt"),
        ("content-length", "12"),
        ("content-range", "bytes 0-99/1234"),
        ("content-type", "application/json"),
        ("etag", "W/\"1\""),
        ("last-modified", "Thu, 01 Jan 2026 00:00:00 GMT"),
        ("location", "https://cdn.example/blob"),
        ("ratelimit-limit", "3000"),
        ("ratelimit-policy", "3000;w=300"),
        ("ratelimit-remaining", "12"),
        ("ratelimit-reset", "1767225900"),
        ("retry-after", "3"),
    ];

    #[test]
    fn only_listed_headers_of_a_request_cross() {
        let sent = map(&[&NEVER_TO_THE_PDS[..], &TO_THE_PDS].concat());
        assert_eq!(pairs(&to_pds(&sent)), TO_THE_PDS);
        let listed: Vec<_> = TO_THE_PDS.iter().map(|(name, _)| *name).collect();
        assert_eq!(listed, texts(&REQUEST_HEADERS), "each of the list is tried");
    }

    #[test]
    fn only_listed_headers_of_an_answer_cross() {
        let answered = map(&[&NEVER_TO_THE_APP[..], &TO_THE_APP].concat());
        assert_eq!(pairs(&to_app(&answered)), TO_THE_APP);
        let listed: Vec<_> = TO_THE_APP.iter().map(|(name, _)| *name).collect();
        assert_eq!(
            listed,
            texts(&RESPONSE_HEADERS),
            "each of the list is tried"
        );
    }

    #[test]
    fn repeated_headers_cross_in_their_order_and_empty_ones_do_not() {
        let sent = map(&[
            ("atproto-accept-labelers", "did:plc:b"),
            ("accept-language", "pt"),
            ("atproto-accept-labelers", "did:plc:a"),
            ("content-encoding", " "),
        ]);
        let expected = [
            ("atproto-accept-labelers", "did:plc:b"),
            ("atproto-accept-labelers", "did:plc:a"),
            ("accept-language", "pt"),
        ];
        assert_eq!(pairs(&to_pds(&sent)), expected);
    }

    #[test]
    fn what_connection_names_crosses_in_no_direction() {
        for (name, value) in TO_THE_PDS {
            for connection in [
                name.to_owned(),
                name.to_ascii_uppercase(),
                format!("keep-alive, {name}"),
                format!("\t{name} ,close"),
            ] {
                let mut sent = map(&[(name, value), ("connection", "keep-alive")]);
                sent.append(CONNECTION, connection.parse().unwrap());
                assert!(to_pds(&sent).is_empty(), "{connection}");
                assert_eq!(
                    single_header_text(&sent, name).ok().flatten(),
                    None,
                    "{connection}"
                );
            }
            // The name of another is another name.
            let sent = map(&[(name, value), ("connection", "x-if-range, acceptx, , rang")]);
            assert_eq!(names(&to_pds(&sent)), [name]);
            assert_eq!(single_header_text(&sent, name).ok().flatten(), Some(value));
        }
        for (name, value) in TO_THE_APP {
            let answered = map(&[(name, value), ("connection", name)]);
            assert!(to_app(&answered).is_empty(), "{name}");
        }
        let mut sent = map(&[("range", "bytes=0-99")]);
        let unreadable = HeaderValue::from_bytes(b"\xff, range").unwrap();
        sent.insert(CONNECTION, unreadable);
        assert!(to_pds(&sent).is_empty());
    }

    #[test]
    fn a_default_service_is_named_once() {
        let service = "did:web:api.example#appview".parse().unwrap();
        let mut to_pds = HeaderMap::new();
        for _ in 0..2 {
            name_service(&mut to_pds, &service);
            let expected = [(ATPROTO_PROXY, "did:web:api.example#appview")];
            assert_eq!(pairs(&to_pds), expected);
        }
    }

    #[test]
    fn what_makes_an_answer_partial_can_be_taken_out() {
        let mut sent = to_pds(&map(&TO_THE_PDS));
        request_full_response(&mut sent);
        for (name, _) in TO_THE_PDS {
            let partial = name.starts_with("if-") || name == "range";
            assert_eq!(sent.contains_key(name), !partial, "{name}");
        }
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
