//! Garbage gets a 4xx in the endpoint's own format; nothing breaks and nothing is stored.

use aip_base::Rng as _;
use aip_http::{Endpoint, ErrorFormat};
use aip_testkit::rng::SeededRng;
use axum::body::Body;
use http::{HeaderValue, Method, Request};
use strum::IntoEnumIterator as _;

use crate::support::{World, encode};

/// Bytes that look like what the endpoint takes, and bytes that look like nothing.
fn garbage(rng: &SeededRng, round: u8) -> Vec<u8> {
    let mut bytes = vec![0; usize::from(round) * 7];
    rng.fill(&mut bytes);
    match round % 4 {
        0 => bytes,
        1 => [b"grant_type=authorization_code&code=".as_slice(), &bytes].concat(),
        2 => [
            b"client_id=".as_slice(),
            &bytes,
            b"&token=%00%ff&token=&state",
        ]
        .concat(),
        _ => [
            b"request=".as_slice(),
            &bytes,
            b"&csrf=%F0%9F%92%A9&subject=%",
        ]
        .concat(),
    }
}

/// The same as a query: a URI holds visible ASCII only, so the rest is percent-encoded.
fn as_query(bytes: &[u8]) -> String {
    let escape = |b: &u8| match b {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'=' | b'&' | b'_' => char::from(*b).to_string(),
        b => format!("%{b:02x}"),
    };
    bytes.iter().map(escape).collect()
}

#[tokio::test]
async fn garbage_on_every_endpoint_is_never_our_fault() {
    let world = World::new().await;
    let app = world.app().await;
    let rng = SeededRng::new(77);
    for endpoint in Endpoint::iter() {
        let path = endpoint.spec().path.replace(['{', '}'], "");
        for round in 0..24 {
            let bytes = garbage(&rng, round);
            let method = if round % 2 == 0 {
                Method::POST
            } else {
                Method::GET
            };
            let uri = format!("{path}?{}&client_id={}", as_query(&bytes), app.id);
            let mut request = Request::builder().method(method).uri(uri);
            let headers = request.headers_mut().unwrap();
            let form = HeaderValue::from_static("application/x-www-form-urlencoded");
            headers.insert("content-type", form);
            for name in [
                "authorization",
                "dpop",
                "cookie",
                "origin",
                "sec-fetch-site",
            ] {
                if let Ok(value) = HeaderValue::from_bytes(&bytes) {
                    headers.insert(name, value);
                }
            }
            let answer = world.send(request.body(Body::from(bytes)).unwrap()).await;
            assert!(
                !answer.status.is_server_error(),
                "{endpoint:?}: {}",
                answer.body
            );
            if answer.status.is_client_error() {
                let html = answer.body.starts_with("<!doctype html>");
                let page = endpoint.spec().errors == ErrorFormat::Page;
                assert_eq!(html, page, "{endpoint:?}: {}", answer.body);
            }
        }
    }
}

#[tokio::test]
async fn a_form_that_never_ends_is_given_up() {
    let world = World::new().await;
    let app = world.app().await;
    tokio::time::pause();
    let endless = futures_util::stream::pending::<Result<Vec<u8>, std::io::Error>>();
    let request = Request::post("/oauth/token")
        .header("content-type", "application/x-www-form-urlencoded")
        .body(Body::from_stream(endless))
        .unwrap();
    let answer = app.world.send(request).await;
    answer.expect_error(408, "invalid_request");
}

#[tokio::test]
async fn a_form_of_another_site_may_hold_any_bytes() {
    let world = World::new().await;
    let app = world.app().await;
    for (path, of_the_app) in [
        ("/oauth/authorize", app.request(&[])),
        ("/oauth/logout", vec![("client_id", app.id.as_str())]),
    ] {
        let form = format!("{}&extra=\u{e9}\n#\u{7f}", encode(&of_the_app));
        let request = Request::post(path)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(Body::from(form))
            .unwrap();
        let location = world.send(request).await.location();
        assert!(location.starts_with(&format!("{path}?")), "{location}");
        assert!(location.ends_with("&extra=%C3%A9%0A%23%7F"), "{location}");
    }
}
