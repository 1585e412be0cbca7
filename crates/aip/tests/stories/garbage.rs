//! Garbage on every endpoint: an error of the caller's in the right format, and nothing stored.

use aip_base::Rng as _;
use aip_http::{Endpoint, ErrorFormat};
use aip_testkit::rng::SeededRng;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, COOKIE};
use http::{HeaderValue, Method, Request};
use strum::IntoEnumIterator as _;

use crate::on_both_engines;
use crate::world::{BASE, World};

on_both_engines!(
    garbage_on_every_endpoint_is_the_callers_error_and_stores_nothing,
    every_page_and_every_token_answer_is_closed_to_others,
);

/// Words that lead deep into the parsers.
const WORDS: [&str; 16] = [
    "client_id",
    "=",
    "&",
    "request",
    "%",
    "%00",
    "code",
    "grant_type=authorization_code",
    "token",
    "state",
    "aip_at_",
    "did:plc:",
    "eyJhbGciOiJub25lIn0.e30.",
    "\u{fffd}",
    "../",
    "redirect_uri=",
];

/// Repeats in every run; half of it words, half of it bytes.
struct Garbage(SeededRng);

impl Garbage {
    fn byte(&self) -> u8 {
        let mut byte = [0];
        self.0.fill(&mut byte);
        byte[0]
    }

    fn bytes(&self) -> Vec<u8> {
        let pieces = usize::from(self.byte() % 12);
        let piece = |_| match self.byte() {
            byte if byte % 2 == 0 => WORDS[usize::from(byte / 2) % WORDS.len()]
                .as_bytes()
                .to_vec(),
            byte => vec![byte, self.byte()],
        };
        (0..pieces).flat_map(piece).collect()
    }

    /// Visible characters only: what an HTTP client can send in a target.
    fn query(&self) -> String {
        let allowed = |byte: &u8| byte.is_ascii_graphic() && !b"#<>\"\\^`{|}".contains(byte);
        let bytes = self.bytes().into_iter().filter(allowed);
        String::from_utf8(bytes.collect()).unwrap()
    }

    fn header(&self) -> HeaderValue {
        let bytes: Vec<u8> = self
            .bytes()
            .into_iter()
            .filter(|byte| *byte >= 0x20)
            .collect();
        HeaderValue::from_bytes(&bytes).unwrap_or(HeaderValue::from_static("x"))
    }
}

async fn garbage_on_every_endpoint_is_the_callers_error_and_stores_nothing(world: &World) {
    let garbage = Garbage(SeededRng::new(77));
    // Pages make a session for a browser that has none, failures are counted: that is all.
    let stored = async || {
        let dump = world.dump().await;
        dump.without(&["browser_sessions", "rate_limits"])
    };
    let before = stored().await;
    for endpoint in Endpoint::iter() {
        let spec = endpoint.spec();
        let path = spec.path.replace("{nsid}", "com.atproto.server.getSession");
        let path = path.replace("{file}", "x.css");
        for round in 0..12 {
            let method = [Method::GET, Method::POST, Method::PUT][round % 3].clone();
            let request = Request::builder()
                .method(&method)
                .uri(format!("{BASE}{path}?{}", garbage.query()))
                .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
                .header(AUTHORIZATION, garbage.header())
                .header(COOKIE, garbage.header())
                .header("dpop", garbage.header());
            let body = if method == Method::GET {
                Vec::new()
            } else {
                garbage.bytes()
            };
            let answer = world.send(request.body(Bytes::from(body)).unwrap()).await;
            assert!(
                answer.status.as_u16() < 500,
                "{endpoint:?}: {}",
                answer.text()
            );
            if !answer.status.is_client_error() {
                continue;
            }
            answer.logged("\"blame\":\"caller\"");
            match spec.errors {
                // Without `compat.v1` they are no endpoints.
                _ if endpoint.is_of_v1() => assert_eq!(answer.status, 404, "{endpoint:?}"),
                ErrorFormat::Page => assert!(answer.text().contains("</html>"), "{endpoint:?}"),
                ErrorFormat::OAuth => assert!(answer.json()["error_description"].is_string()),
                ErrorFormat::Xrpc => assert!(answer.json()["message"].is_string()),
            }
        }
    }
    assert_eq!(stored().await, before);
    assert!(world.pds().requests().is_empty());
}

async fn every_page_and_every_token_answer_is_closed_to_others(world: &World) {
    let app = world.app().await;
    let browser = world.browser();
    let pending = app.begin_authorization(&[]);
    let login = browser.open(&pending.url).await;
    let consent = browser.sign_in(&login, world.alice()).await;
    let code = pending.code(
        &browser
            .submit(consent.form("consent"), "allow")
            .await
            .away(),
    );
    let account = browser.open(&format!("{BASE}/account")).await;
    let home = browser.open(&format!("{BASE}/")).await;
    let error = browser.open(&format!("{BASE}/consent")).await;
    for page in [login, consent, account, home, error] {
        let policy = page.answer.header("content-security-policy");
        for part in [
            "default-src 'none'",
            "frame-ancestors 'none'",
            "base-uri 'none'",
        ] {
            assert!(policy.contains(part), "{policy}");
        }
        // Chromium and Safari hold every hop of the answer to a form to `form-action`.
        for part in ["form-action", "script-src"] {
            assert!(!policy.contains(part), "{policy}");
        }
        assert_eq!(page.answer.header("x-frame-options"), "DENY");
        assert_eq!(page.answer.header("referrer-policy"), "no-referrer");
        assert_eq!(page.answer.header("x-content-type-options"), "nosniff");
        assert_eq!(page.answer.header("cache-control"), "no-store");
        assert!(
            page.answer
                .header("strict-transport-security")
                .contains("max-age")
        );
    }
    for answer in [app.redeem(&pending, &code).await, app.refresh("x").await] {
        assert_eq!(answer.header("cache-control"), "no-store");
        assert_eq!(answer.header("pragma"), "no-cache");
        assert_eq!(answer.header("access-control-allow-origin"), "*");
    }
}
