//! The path below which AIP is, where it shares its host with others (`external_base` has a path).
//!
//! Proxies are of two kinds: some take the path away before a request gets here, others do not. Both
//! are understood. Handlers see no such path: here it is taken from requests and put before the addresses
//! of our own pages.

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use http::header::{CONTENT_LENGTH, HeaderValue, LOCATION};
use http::uri::{PathAndQuery, Uri};
use http_body_util::BodyExt as _;

use crate::endpoint::Endpoint;
use crate::state::AppState;

/// Where a page names an address of ours. Whatever somebody else wrote stands there as `&#34;`.
const LINKS: [&str; 3] = ["href=\"/", "action=\"/", "src=\"/"];
/// What stands before the seconds after which a page leads on, and what between them and the address.
const REFRESH: &str = "http-equiv=\"refresh\" content=\"";
const REFRESH_URL: &str = ";url=";

/// All paths at which an endpoint is found, in the notation of the router.
pub(crate) fn paths(base: &str, endpoint: Endpoint) -> Vec<String> {
    let path = endpoint.spec().path;
    let mut paths = vec![path.to_owned()];
    if base.is_empty() {
        return paths;
    }
    paths.push(format!("{base}{path}"));
    if path == "/" {
        paths.push(base.to_owned());
    }
    if is_about_issuer(endpoint) {
        paths.push(format!("{path}{base}"));
    }
    paths
}

/// Whether RFC 8414 §3.1 or RFC 9728 §3.1 puts the path of the issuer or resource behind that of the
/// document. OpenID Connect Discovery §4.1 has it before, and RFC 8414 §5 here, too.
fn is_about_issuer(endpoint: Endpoint) -> bool {
    matches!(
        endpoint,
        Endpoint::AuthorizationServerMetadata
            | Endpoint::OpenIdConfiguration
            | Endpoint::ProtectedResourceMetadata
    )
}

/// Takes the path of the base from a request for `endpoint`, if it has it.
pub(crate) fn strip(base: &str, endpoint: Endpoint, request: &mut Request) {
    if base.is_empty() {
        return;
    }
    let uri = request.uri();
    let Some(path) = without(base, endpoint, uri.path()) else {
        return;
    };
    let path = match uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = PathAndQuery::try_from(path).ok();
    // It is a part of one that was a path and query already.
    if let Ok(uri) = Uri::from_parts(parts) {
        *request.uri_mut() = uri;
    }
}

fn without<'a>(base: &str, endpoint: Endpoint, path: &'a str) -> Option<&'a str> {
    match path.strip_prefix(base) {
        Some("") => Some("/"),
        Some(rest) if rest.starts_with('/') => Some(rest),
        _ if is_about_issuer(endpoint) => path.strip_suffix(base),
        _ => None,
    }
}

/// Writes the path of the base before the addresses of our own pages: in a redirect, and in the links
/// and forms of a page.
pub(crate) async fn add(app: &AppState, response: Response) -> Response {
    let base = app.issuer().base().path();
    if base.is_empty() {
        return response;
    }
    let (mut head, body) = response.into_parts();
    let location = head.headers.get(LOCATION).and_then(|it| it.to_str().ok());
    if let Some(location) = location
        && location.starts_with('/')
        && let Ok(mut location) = HeaderValue::try_from(format!("{base}{location}"))
    {
        location.set_sensitive(true);
        head.headers.insert(LOCATION, location);
    }
    let Ok(body) = body.collect().await else {
        return Response::from_parts(head, Body::empty());
    };
    let page = String::from_utf8_lossy(&body.to_bytes()).into_owned();
    head.headers.remove(CONTENT_LENGTH);
    Response::from_parts(head, Body::from(add_to_links(base, page)))
}

fn add_to_links(base: &str, mut page: String) -> String {
    for link in LINKS {
        let start = link.strip_suffix('/').unwrap_or(link);
        page = page.replace(link, &format!("{start}{base}/"));
    }
    // `;url=` itself may stand anywhere, as in the `state` of an app, which comes back as it was.
    if let Some((before, rest)) = page.split_once(REFRESH)
        && let Some((seconds, location)) = rest.split_once(REFRESH_URL)
        && location.starts_with('/')
    {
        page = format!("{before}{REFRESH}{seconds}{REFRESH_URL}{base}{location}");
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_ours_get_the_path() {
        let refresh = |url: &str| {
            format!("<meta http-equiv=\"refresh\" content=\"2;url={url}\"><a href=\"{url}\">")
        };
        for (page, expected) in [
            (refresh("/?signed-out"), refresh("/aip/?signed-out")),
            (
                refresh("https://app.example/x;url=/y"),
                refresh("https://app.example/x;url=/y"),
            ),
            (
                "<input name=\"state\" value=\"a;url=/b\">".to_owned(),
                "<input name=\"state\" value=\"a;url=/b\">".to_owned(),
            ),
            (
                "<form action=\"/login\"><img src=\"/static/x\">".to_owned(),
                "<form action=\"/aip/login\"><img src=\"/aip/static/x\">".to_owned(),
            ),
        ] {
            assert_eq!(add_to_links("/aip", page), expected);
        }
    }

    #[test]
    fn a_request_is_the_same_with_the_path_and_without() {
        let stripped = |endpoint, path: &str| {
            let mut request = Request::get(path).body(Body::empty()).unwrap();
            strip("/aip", endpoint, &mut request);
            request.uri().to_string()
        };
        for (endpoint, path, expected) in [
            (
                Endpoint::Login,
                "/aip/login?request=/aip/x",
                "/login?request=/aip/x",
            ),
            (Endpoint::Login, "/login?request=x", "/login?request=x"),
            (Endpoint::Home, "/aip", "/"),
            (Endpoint::Home, "/aip/?signed-out", "/?signed-out"),
            (Endpoint::Home, "/", "/"),
            (Endpoint::Login, "/aip/aip/login", "/aip/login"),
            (Endpoint::Login, "/aiplogin", "/aiplogin"),
            (
                Endpoint::Xrpc,
                "/aip/xrpc/a.b.c?x=1&x=2",
                "/xrpc/a.b.c?x=1&x=2",
            ),
            (
                Endpoint::AuthorizationServerMetadata,
                "/.well-known/oauth-authorization-server/aip",
                "/.well-known/oauth-authorization-server",
            ),
            (
                Endpoint::OpenIdConfiguration,
                "/aip/.well-known/openid-configuration",
                "/.well-known/openid-configuration",
            ),
        ] {
            assert_eq!(stripped(endpoint, path), expected, "{path}");
        }
    }
}
