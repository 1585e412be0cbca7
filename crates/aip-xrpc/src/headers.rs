//! Which headers cross the proxy, in both directions.
//!
//! Never: hop-by-hop headers and those that `Connection` names (RFC 9110 §7.6.1), credentials of
//! the caller, what says who the caller is, and cookies of the PDS. Everything else passes as it
//! is, repeated headers included, so that proxying (`atproto-proxy`), labelers, languages and
//! content negotiation work.

use http::HeaderMap;
use http::header::{CONNECTION, HeaderName};

/// RFC 9110 §7.6.1 and the older habits it mentions.
const HOP_BY_HOP: [&str; 9] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Headers of an app's request that stay here: credentials, the host it called, where it is, and
/// the page it runs in.
const REQUEST_STAYS: [&str; 10] = [
    "authorization",
    "cookie",
    "dpop",
    "expect",
    "forwarded",
    "host",
    "origin",
    "referer",
    "via",
    "x-real-ip",
];

/// Headers of a PDS's answer that stay here: its cookies and nonces are AIP's business, and what
/// browsers may do with the answer, and with everything else of AIP's origin, is for AIP to say.
const RESPONSE_STAYS: [&str; 13] = [
    "alt-svc",
    "clear-site-data",
    "content-security-policy",
    "content-security-policy-report-only",
    "dpop-nonce",
    "nel",
    "report-to",
    "reporting-endpoints",
    "service-worker-allowed",
    "set-cookie",
    "set-cookie2",
    "strict-transport-security",
    "www-authenticate",
];

/// The headers of an app's request that go on to the PDS.
pub fn to_pds(from_app: &HeaderMap) -> HeaderMap {
    filter(from_app, |name| {
        REQUEST_STAYS.contains(&name)
            || name.starts_with("x-forwarded-")
            || name.starts_with("sec-")
    })
}

/// The headers of a PDS's answer that go on to the app.
pub fn to_app(from_pds: &HeaderMap) -> HeaderMap {
    filter(from_pds, |name| {
        RESPONSE_STAYS.contains(&name) || name.starts_with("access-control-")
    })
}

fn filter(headers: &HeaderMap, stays: impl Fn(&str) -> bool) -> HeaderMap {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|token| token.trim().parse().ok())
        .collect();
    headers
        .iter()
        .filter(|(name, _)| {
            !HOP_BY_HOP.contains(&name.as_str()) && !named.contains(name) && !stays(name.as_str())
        })
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

    #[test]
    fn d2_row64_credentials_and_hop_by_hop_headers_of_the_caller_stay_here() {
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
            ("origin", "https://app.example"),
            ("sec-fetch-site", "cross-site"),
            ("accept-language", "pt"),
            ("atproto-proxy", "did:web:api.example#appview"),
            ("atproto-accept-labelers", "did:plc:a"),
            ("atproto-accept-labelers", "did:plc:b"),
            ("content-type", "application/json"),
        ]);
        let forwarded = to_pds(&sent);
        let names: Vec<&str> = forwarded.iter().map(|(name, _)| name.as_str()).collect();
        let expected = [
            "accept-language",
            "atproto-proxy",
            "atproto-accept-labelers",
            "atproto-accept-labelers",
            "content-type",
        ];
        assert_eq!(names, expected);
    }

    #[test]
    fn d2_row64_cookies_and_nonces_of_the_pds_never_reach_the_app() {
        let answered = map(&[
            ("set-cookie", "a=b"),
            ("dpop-nonce", "n"),
            ("www-authenticate", "DPoP"),
            ("access-control-allow-origin", "*"),
            ("clear-site-data", "\"cookies\""),
            ("content-security-policy", "default-src *"),
            ("nel", "{}"),
            ("connection", "close"),
            ("content-type", "application/json"),
            ("ratelimit-remaining", "12"),
            ("retry-after", "3"),
        ]);
        let forwarded = to_app(&answered);
        let names: Vec<&str> = forwarded.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(
            names,
            ["content-type", "ratelimit-remaining", "retry-after"]
        );
    }
}
