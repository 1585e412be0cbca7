//! XRPC as HTTP: conditions, ranges, limits, `HEAD`, bodies of every form, and a PDS that fails.

use aip_sandbox::{Endpoint, Reply};
use bytes::Bytes;
use http::header::{
    ACCEPT_RANGES, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_RANGE, ETAG, LAST_MODIFIED,
    LOCATION, RETRY_AFTER,
};
use http::{HeaderName, Method, StatusCode};
use serde_json::json;
use tokio::io::AsyncReadExt as _;

use crate::answer::Answer;
use crate::app::{App, SCOPE, Tokens};
use crate::keeping::GET_SESSION;
use crate::on_both_engines;
use crate::world::{CALL_LIMITS, World, until};

on_both_engines!(
    conditions_and_ranges_cross_and_scripts_may_read_what_they_answer,
    what_a_pds_says_of_its_limits_is_told_as_it_is,
    a_head_asks_the_pds_and_needs_the_same_token,
    a_body_of_any_form_crosses_where_nobody_has_to_judge_it,
    a_write_whose_body_cannot_be_judged_is_not_sent,
    what_a_pds_answers_when_it_fails_is_told,
    an_answer_that_is_read_here_may_be_compressed,
    a_slow_reader_holds_its_place_until_its_body_ends,
    an_error_of_ours_has_a_name_of_xrpc,
);

const GET_BLOB: &str = "com.atproto.sync.getBlob";
const CREATE: &str = "com.atproto.repo.createRecord";
const PREFERENCES: &str = "/xrpc/app.bsky.actor.putPreferences";
const SERVICE: (&str, &str) = ("atproto-proxy", "did:web:api.example#appview");

/// Names and values.
type Headers<'a> = &'a [(&'a str, &'a str)];

async fn tokens(world: &World, app: &App<'_>, scope: &str) -> Tokens {
    let browser = world.browser();
    app.sign_in_for(&browser, world.alice(), scope).await
}

/// What the PDS received last by a method.
fn received(world: &World, method: &'static str) -> aip_sandbox::Received {
    let requests = world.pds().requests_to(Endpoint::Method(method));
    requests.last().unwrap().clone()
}

async fn conditions_and_ranges_cross_and_scripts_may_read_what_they_answer(world: &World) {
    let app = world.app().await;
    let tokens = tokens(world, &app, SCOPE).await;
    let reply = |status: u16, body: &'static str| {
        Reply::new(StatusCode::from_u16(status).unwrap(), "image/png", body)
            .with(ETAG, "W/\"bafk\"")
            .with(LAST_MODIFIED, "Thu, 01 Jan 2026 00:00:00 GMT")
            .with(ACCEPT_RANGES, "bytes")
            .with(CONTENT_DISPOSITION, "attachment; filename=\"a.png\"")
    };
    let partial = reply(206, "abc").with(CONTENT_RANGE, "bytes 2-4/10");
    let unsatisfiable = reply(416, "").with(CONTENT_RANGE, "bytes */10");
    let date = "Thu, 01 Jan 2026 00:00:00 GMT";
    for (headers, answered) in [
        (vec![("range", "bytes=2-4")], partial.clone()),
        (
            vec![("range", "bytes=-3"), ("if-range", "\"bafk\"")],
            partial,
        ),
        (vec![("range", "bytes=90-")], unsatisfiable),
        (vec![("if-none-match", "\"a\", W/\"bafk\"")], reply(304, "")),
        (vec![("if-none-match", "*")], reply(304, "")),
        (vec![("if-modified-since", date)], reply(304, "")),
        (vec![("if-match", "\"other\"")], reply(412, "")),
        (vec![("if-unmodified-since", date)], reply(412, "")),
        (
            vec![("if-none-match", "\"other\"")],
            reply(200, "abcdefghij"),
        ),
    ] {
        let expected = answered.clone();
        world
            .pds()
            .next(Endpoint::Method(GET_BLOB))
            .answers(answered);
        let origin = [("origin", "https://app.example.org")];
        let sent = [headers.as_slice(), &origin].concat();
        let path = format!("/xrpc/{GET_BLOB}?did={}&cid=bafk", world.alice().did);
        let answer = app.call(&Method::GET, &path, &tokens.access, &sent, Bytes::new());
        let answer = answer.await;
        assert_eq!(answer.status, expected.status, "{headers:?}");
        assert_eq!(answer.length, expected.body.len(), "{headers:?}");
        let got = received(world, GET_BLOB);
        for (name, value) in &headers {
            assert_eq!(got.header(name), Some(*value));
        }
        let exposed = answer
            .header("access-control-expose-headers")
            .to_lowercase();
        let exposed: Vec<_> = exposed.split(", ").collect();
        for name in [
            "etag",
            "accept-ranges",
            "content-range",
            "content-disposition",
        ] {
            let told = expected.headers.get(name);
            assert_eq!(answer.headers.get(name), told, "{name} {headers:?}");
            assert!(exposed.contains(&name), "{name}");
        }
        assert_eq!(answer.header("last-modified"), date);
        assert_eq!(answer.header("access-control-allow-origin"), "*");
        assert!(
            !answer
                .headers
                .contains_key("access-control-allow-credentials")
        );
    }
}

async fn what_a_pds_says_of_its_limits_is_told_as_it_is(world: &World) {
    let app = world.app().await;
    let tokens = tokens(world, &app, SCOPE).await;
    let names = ["limit", "remaining", "reset", "policy"].map(|it| format!("ratelimit-{it}"));
    let told = |answer: &Answer| -> Vec<Option<String>> {
        let of = |name: &String| {
            answer
                .headers
                .get(name)
                .map(|it| it.to_str().unwrap().to_owned())
        };
        names.iter().map(of).collect()
    };
    for (status, fields) in [
        (200, vec!["3000", "2999", "1767225900", "3000;w=300"]),
        (200, vec!["3000", "0", "1767225900", "3000;w=300"]),
        (400, vec!["5000", "4990", "1767229200", "5000;w=3600"]),
        // Nothing of ours is mixed with it.
        (200, vec!["30"]),
        (429, vec!["30", "0", "1767225900"]),
    ] {
        let status = StatusCode::from_u16(status).unwrap();
        let body = json!({ "did": "did:web:a.example", "error": "Example", "message": "x" });
        let reply = Reply::json(status, &body);
        let reply = names
            .iter()
            .zip(&fields)
            .fold(reply, |reply, (name, value)| {
                reply.with(HeaderName::from_bytes(name.as_bytes()).unwrap(), value)
            });
        world
            .pds()
            .next(Endpoint::Method(GET_SESSION))
            .answers(reply);
        let answer = app.query(&tokens.access, GET_SESSION).await;
        assert_eq!(answer.status, status);
        let mut expected: Vec<_> = fields.iter().map(|it| Some((*it).to_owned())).collect();
        expected.resize(names.len(), None);
        assert_eq!(told(&answer), expected);
    }
    // One that says nothing of limits.
    let answer = app.query(&tokens.access, GET_SESSION).await;
    let limit = CALL_LIMITS.account.get().to_string();
    assert_eq!(answer.header("ratelimit-limit"), limit);
}

async fn a_head_asks_the_pds_and_needs_the_same_token(world: &World) {
    let app = world.app().await;
    let tokens = tokens(world, &app, SCOPE).await;
    let head = async |access: &str, call: &str| {
        let path = format!("/xrpc/{call}");
        app.call(&Method::HEAD, &path, access, &[], Bytes::new())
            .await
    };
    for (status, etag) in [(200, "\"1\""), (404, "\"2\"")] {
        let status = StatusCode::from_u16(status).unwrap();
        let reply = Reply::new(status, "image/png", "0123456789").with(ETAG, etag);
        world.pds().next(Endpoint::Method(GET_BLOB)).answers(reply);
        let answer = head(&tokens.access, GET_BLOB).await;
        assert_eq!((answer.status, answer.length), (status, 0));
        assert_eq!(answer.header("etag"), etag);
        assert_eq!(answer.header("content-type"), "image/png");
        assert_eq!(answer.header("content-length"), "10");
        assert_eq!(received(world, GET_BLOB).method, Method::HEAD);
        let proof = received(world, GET_BLOB).dpop_claims().unwrap();
        assert_eq!(proof["htm"], "HEAD");
    }
    let sent = world.pds().requests().len();
    let did = &world.alice().did;
    for (access, call, status) in [
        ("wrong", GET_BLOB, 401),
        (&tokens.access, "app.bsky.feed.getTimeline", 403),
        (&tokens.access, CREATE, 405),
        (&tokens.access, "com.atproto.repo.getrecord", 400),
        // AIP knows who somebody is.
        (
            &tokens.access,
            &format!("com.atproto.identity.resolveDid?did={did}"),
            200,
        ),
    ] {
        let answer = head(access, call).await;
        assert_eq!(
            (answer.status.as_u16(), answer.length),
            (status, 0),
            "{call}"
        );
    }
    assert_eq!(world.pds().requests().len(), sent);
}

async fn a_body_of_any_form_crosses_where_nobody_has_to_judge_it(world: &World) {
    let app = world.app().await;
    let tokens = tokens(world, &app, "atproto transition:generic").await;
    let last = || {
        world
            .pds()
            .requests_to(Endpoint::Xrpc)
            .last()
            .unwrap()
            .clone()
    };
    let cases: [(Headers, &[u8]); 6] = [
        (&[], b""),
        (&[("content-type", "application/json")], b""),
        (
            &[("content-type", "application/json")],
            b"{\"a\":1,\"a\":2}",
        ),
        (
            &[("content-type", "application/json")],
            b"{\"a\":\"\xff\xfe\"}",
        ),
        (
            &[("content-type", "application/vnd.ipld.car")],
            b"\0\x01\r\n\r\n",
        ),
        (
            &[
                ("content-type", "application/json"),
                ("content-encoding", "gzip"),
            ],
            b"\x1f\x8b no gzip at all",
        ),
    ];
    for (headers, body) in cases {
        let headers = [headers, &[SERVICE]].concat();
        let answer = app.call(
            &Method::POST,
            PREFERENCES,
            &tokens.access,
            &headers,
            Bytes::from_static(body),
        );
        let answer = answer.await;
        assert_eq!(answer.ok()["aud"], SERVICE.1, "{headers:?}");
        let got = last();
        assert_eq!(&*got.body, body);
        assert_eq!(got.header("content-length"), Some(&*body.len().to_string()));
        for (name, value) in &headers {
            assert_eq!(got.header(name), Some(*value));
        }
        assert_eq!(got.headers.contains_key("content-type"), headers.len() > 1);
    }
    // Without a length it streams.
    let (name, value) = SERVICE;
    let head = format!(
        "POST {PREFERENCES} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n{name}: {value}\r\n\
         Content-Type: application/json\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n",
        tokens.access
    );
    for (chunks, body) in [
        ("0\r\n\r\n", ""),
        ("2\r\n{}\r\n0\r\n\r\n", "{}"),
        (
            "1\r\n{\r\n5;x=y\r\n\"a\":1\r\n1\r\n}\r\n0\r\n\r\n",
            "{\"a\":1}",
        ),
    ] {
        let answer = world.raw(&format!("{head}{chunks}")).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert_eq!(last().body, body);
    }
}

async fn a_write_whose_body_cannot_be_judged_is_not_sent(world: &World) {
    let app = world.app().await;
    let tokens = tokens(world, &app, SCOPE).await;
    let sent = world.pds().requests().len();
    let good = json!({
        "repo": world.alice().did.as_str(),
        "collection": "app.bsky.feed.post",
        "record": { "text": "hi", "createdAt": "2026-01-01T00:00:00Z" },
    });
    let good = good.to_string();
    let utf16: Vec<u8> = good.encode_utf16().flat_map(u16::to_be_bytes).collect();
    let json = ("content-type", "application/json");
    let cases: [(Headers, Vec<u8>, u16); 9] = [
        (&[], good.clone().into(), 415),
        (&[("content-type", "text/plain")], good.clone().into(), 415),
        (
            &[("content-type", "application/x-www-form-urlencoded")],
            good.clone().into(),
            415,
        ),
        (
            &[json, ("content-encoding", "gzip")],
            good.clone().into(),
            415,
        ),
        (
            &[json, ("content-encoding", "br, identity")],
            good.clone().into(),
            415,
        ),
        (&[json], Vec::new(), 400),
        (&[json], good.replace("hi", "\u{1}").into(), 400),
        (&[json], utf16, 400),
        (&[json], [good.as_bytes(), b"\xff"].concat(), 400),
    ];
    for (headers, body, status) in cases {
        let path = format!("/xrpc/{CREATE}");
        let answer = app.call(&Method::POST, &path, &tokens.access, headers, body.into());
        let answer = answer.await;
        answer.expect(status, "InvalidRequest").logged("caller");
    }
    let large = format!("{}{good}", " ".repeat(1024 * 1024));
    let (path, headers) = (format!("/xrpc/{CREATE}"), [json]);
    let answer = app.call(&Method::POST, &path, &tokens.access, &headers, large.into());
    answer.await.expect(413, "PayloadTooLarge");
    // A header that could be read in two ways, or that would end the head.
    for twice in [
        "Content-Type: application/json\r\nContent-Type: text/plain",
        "Content-Type: application/json\r\nContent-Encoding: gzip\r\nContent-Encoding: identity",
        "Content-Type: application/json\r\nAtproto-Proxy: did:web:a.example#x\r\nAtproto-Proxy: did:web:b.example#x",
    ] {
        let request = format!(
            "POST /xrpc/{CREATE} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n{twice}\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n{good}",
            tokens.access,
            good.len()
        );
        let answer = world.raw(&request).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{twice}: {answer}");
        assert!(answer.contains("InvalidRequest"), "{answer}");
    }
    assert_eq!(world.pds().requests().len(), sent);
}

async fn what_a_pds_answers_when_it_fails_is_told(world: &World) {
    let app = world.app().await;
    let tokens = tokens(world, &app, SCOPE).await;
    let query = async || app.query(&tokens.access, GET_BLOB).await;
    let next = || world.pds().next(Endpoint::Method(GET_BLOB));
    let date = "Thu, 01 Jan 2026 00:01:00 GMT";
    for (status, after) in [
        (500, None),
        (502, Some("3")),
        (503, Some("7")),
        (504, Some(date)),
    ] {
        let status = StatusCode::from_u16(status).unwrap();
        let body = json!({ "error": "UpstreamFailure", "message": "of the PDS" });
        let reply = Reply::json(status, &body);
        let reply = match after {
            Some(after) => reply.with(RETRY_AFTER, after),
            None => reply,
        };
        next().answers(reply);
        let answer = query().await;
        assert_eq!((answer.status, answer.json()), (status, body));
        let told = answer.headers.get("retry-after");
        assert_eq!(told.map(|it| it.to_str().unwrap()), after);
    }
    // Nothing of AIP is reachable by a redirect, and none is followed.
    let sent = world.pds().requests().len();
    let at_cdn = "https://cdn.example/blob?cid=bafk";
    for (location, told) in [
        (at_cdn, Some(at_cdn)),
        ("/oauth/authorize", None),
        ("//evil.example/", None),
        ("http://169.254.169.254/", None),
        ("javascript:alert(1)", None),
    ] {
        next().redirects_to(location);
        let answer = query().await;
        assert_eq!(answer.status, 302);
        let led = answer.headers.get(LOCATION);
        assert_eq!(led.map(|it| it.to_str().unwrap()), told, "{location}");
    }
    assert_eq!(world.pds().requests().len(), sent + 5);
    // A page runs no script at our origin.
    next().answers_html();
    let page = query().await;
    assert!(page.header("content-security-policy").contains("sandbox"));
    assert_eq!(page.header("x-content-type-options"), "nosniff");
    next().drops_request();
    let lost = query().await;
    lost.expect(502, "UpstreamFailure").logged("upstream");
    // None of this shuts the PDS for others.
    app.query(&tokens.access, GET_SESSION).await.ok();
}

async fn an_answer_that_is_read_here_may_be_compressed(world: &World) {
    let app = world.app().await;
    let tokens = tokens(world, &app, SCOPE).await;
    let body = br#"{"did":"did:web:a.example","email":"a@mail.example","active":true}"#;
    // Stored, not compressed (RFC 1951 §3.2.4): that is all that it takes to be gzip.
    let mut gzip = b"\x1f\x8b\x08\0\0\0\0\0\0\xff\x01".to_vec();
    let length = u16::try_from(body.len()).unwrap();
    gzip.extend(length.to_le_bytes());
    gzip.extend((!length).to_le_bytes());
    gzip.extend(body);
    gzip.extend(0x1234_5678_u32.to_le_bytes());
    gzip.extend(u32::from(length).to_le_bytes());
    for (coding, sent, is_told) in [
        ("identity", body.to_vec(), true),
        ("gzip", gzip.clone(), true),
        ("X-GZIP", gzip, true),
        ("zstd", body.to_vec(), false),
    ] {
        let reply = Reply::new(StatusCode::OK, "application/json", sent);
        let reply = reply.with(CONTENT_ENCODING, coding);
        world
            .pds()
            .next(Endpoint::Method(GET_SESSION))
            .answers(reply);
        let answer = app.query(&tokens.access, GET_SESSION).await;
        if is_told {
            let told = json!({ "did": "did:web:a.example", "active": true });
            assert_eq!(answer.ok(), told, "{coding}");
        } else {
            answer.expect(502, "UpstreamFailure");
        }
        assert!(!answer.headers.contains_key("content-encoding"), "{coding}");
    }
}

async fn a_slow_reader_holds_its_place_until_its_body_ends(world: &World) {
    const SHARE: usize = 32;
    // More than the buffers of a connection hold.
    const BYTES: usize = 32_000_000;
    let app = world.app().await;
    let tokens = tokens(world, &app, "atproto blob:*/*").await;
    let path = "/xrpc/com.atproto.repo.uploadBlob";
    let video = Bytes::from(vec![7; BYTES]);
    let headers = [("content-type", "video/mp4")];
    let upload = app.call(&Method::POST, path, &tokens.access, &headers, video);
    let blob = upload.await.ok();
    let cid = blob["blob"]["ref"]["$link"].as_str().unwrap();
    let head = format!(
        "GET /xrpc/{GET_BLOB}?did={}&cid={cid} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\
         Connection: close\r\n\r\n",
        world.alice().did,
        tokens.access
    );
    let mut readers = Vec::new();
    for _ in 0..SHARE {
        readers.push(world.open(&head).await);
    }
    let method = Endpoint::Method(GET_BLOB);
    let begun = async || world.pds().requests_to(method).len() == SHARE;
    until("all of them to be asked for", begun).await;
    let refused = app.query(&tokens.access, GET_SESSION).await;
    refused
        .expect(429, "RateLimitExceeded")
        .logged("of this account are in flight");
    // Whoever reads to the end has given its place back, as has whoever goes away.
    let mut read = Vec::new();
    let reader = readers.last_mut().unwrap();
    reader.read_to_end(&mut read).await.unwrap();
    assert!(read.len() > BYTES);
    app.query(&tokens.access, GET_SESSION).await.ok();
    let one_more = world.open(&head).await;
    let begun = async || world.pds().requests_to(method).len() == SHARE + 1;
    until("the next one to be asked for", begun).await;
    let refused = app.query(&tokens.access, GET_SESSION).await;
    refused.expect(429, "RateLimitExceeded");
    drop((readers, one_more));
    let served = async || app.query(&tokens.access, GET_SESSION).await.status == StatusCode::OK;
    until("the places to be free again", served).await;
}

async fn an_error_of_ours_has_a_name_of_xrpc(world: &World) {
    let app = world.app().await;
    let tokens = tokens(world, &app, SCOPE).await;
    for (method, path, status, error) in [
        (
            Method::DELETE,
            "/xrpc/com.atproto.sync.getBlob",
            405,
            "InvalidRequest",
        ),
        (
            Method::PUT,
            "/xrpc/tools.graze.aip.clients.Update",
            405,
            "InvalidRequest",
        ),
        (Method::GET, "/xrpc/", 404, "XRPCNotSupported"),
        (Method::GET, "/xrpc/a/b", 404, "XRPCNotSupported"),
        (Method::GET, "/xrpc/com.example", 400, "InvalidRequest"),
        (Method::GET, "/xrpc/com.example.a#b", 400, "InvalidRequest"),
        (Method::GET, "/xrpc/com.example.a_b", 400, "InvalidRequest"),
        (
            Method::GET,
            "/api/atprotocol/resolve",
            400,
            "InvalidRequest",
        ),
    ] {
        let path = path.replace('#', "%23");
        let call = app.call(&method, &path, &tokens.access, &[], Bytes::new());
        let answer = call.await;
        answer.expect(status, error).logged(error);
        assert!(answer.json()["message"].is_string(), "{path}");
    }
    let twice = format!(
        "GET /xrpc/{GET_BLOB} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer a\r\n\
         Authorization: Bearer b\r\nConnection: close\r\n\r\n"
    );
    let answer = world.raw(&twice).await;
    assert!(answer.contains("\"error\":\"InvalidRequest\""), "{answer}");
}
