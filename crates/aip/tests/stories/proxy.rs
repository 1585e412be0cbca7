//! XRPC through AIP: what crosses, what stays, and what never leaves.

use aip_sandbox::{Endpoint, Reply};
use bytes::Bytes;
use http::header::{RETRY_AFTER, SET_COOKIE, WWW_AUTHENTICATE};
use http::{HeaderName, Method, StatusCode};
use serde_json::json;

use crate::app::{SCOPE, Tokens};
use crate::on_both_engines;
use crate::world::{World, until};

on_both_engines!(
    nothing_but_the_name_of_a_method_chooses_where_a_call_goes,
    credentials_of_the_caller_and_cookies_of_the_pds_stay_here,
    the_query_and_a_large_body_cross_unchanged,
    what_the_token_does_not_allow_never_leaves,
    a_rate_limit_of_the_pds_is_passed_on,
    a_narrowed_token_does_not_learn_the_address,
    the_request_that_the_pds_would_execute_is_judged,
    a_write_reaches_the_pds_as_it_was_judged,
    what_a_pds_says_of_caching_is_not_passed_on,
    stalled_uploads_of_one_account_hold_back_nobody_else,
);

const GET_SESSION: &str = "com.atproto.server.getSession";

async fn nothing_but_the_name_of_a_method_chooses_where_a_call_goes(world: &World) {
    let app = world.app().await;
    let tokens = app.sign_in(&world.browser(), world.alice()).await;
    let before = world.state().await;
    let sent = world.pds().requests().len();
    for path in [
        "/xrpc/",
        "/xrpc/../oauth/token",
        "/xrpc/..%2foauth%2ftoken",
        "/xrpc/com.atproto.server.getSession/../../oauth/token",
        "/xrpc/com.atproto.server.getSession%2f..",
        "/xrpc/com.atproto.server.getSession%00",
        "/xrpc//evil.example/com.atproto.server.getSession",
        "/xrpc/https://evil.example/com.atproto.server.getSession",
        "/xrpc/https:%2f%2fevil.example",
        "/xrpc/com.atproto.server.getSession%0d%0aX-Evil:1",
        "/xrpc/evil.example",
        "/xrpc/notanamespace",
        "//evil.example/xrpc/com.atproto.server.getSession",
    ] {
        let answer = app
            .call(&Method::GET, path, &tokens.access, &[], Bytes::new())
            .await;
        assert!(answer.status.is_client_error(), "{path}: {}", answer.status);
        answer.logged("caller");
    }
    // Written by hand, because no client sends this.
    for head in [
        "GET http://evil.example/xrpc/com.atproto.server.getSession HTTP/1.1\r\nHost: x",
        "GET /xrpc/com.atproto.server.getSession\rX: y HTTP/1.1\r\nHost: x",
        "GET /xrpc/com.atproto.server.getSession HTTP/1.1\r\nHost: x\r\nX-A: a\rInjected: b",
    ] {
        let answer = world
            .raw(&format!("{head}\r\nConnection: close\r\n\r\n"))
            .await;
        assert!(answer.starts_with("HTTP/1.1 4"), "{head}: {answer}");
    }
    let proxy = [("atproto-proxy", "https://evil.example")];
    let path = "/xrpc/app.bsky.feed.getTimeline";
    let answer = app
        .call(&Method::GET, path, &tokens.access, &proxy, Bytes::new())
        .await;
    answer.expect(400, "InvalidRequest").logged("atproto-proxy");
    assert_eq!(world.pds().requests().len(), sent);
    assert_eq!(world.state().await, before);
}

async fn credentials_of_the_caller_and_cookies_of_the_pds_stay_here(world: &World) {
    let app = world.app().await;
    let tokens = app.sign_in(&world.browser(), world.alice()).await;
    let body = json!({ "did": world.alice().did.as_str() });
    let reply = Reply::json(StatusCode::OK, &body)
        .with(SET_COOKIE, "pds=1")
        .with(WWW_AUTHENTICATE, "DPoP")
        .with(HeaderName::from_static("connection"), "atproto-repo-rev")
        .with(HeaderName::from_static("atproto-repo-rev"), "3kabc")
        .with(HeaderName::from_static("x-of-the-pds"), "yes");
    app.query(&tokens.access, GET_SESSION).await.ok();
    world
        .pds()
        .next(Endpoint::Method(GET_SESSION))
        .answers(reply);
    let stays = [
        ("cookie", "aip=planted"),
        ("proxy-authorization", "Basic eDp5"),
        ("connection", "x-hop, Content-Language"),
        ("x-hop", "1"),
        ("content-language", "pt"),
        ("te", "trailers"),
        ("x-forwarded-for", "10.0.0.1"),
        ("forwarded", "for=10.0.0.1"),
        ("cf-connecting-ip", "10.0.0.1"),
        ("x-http-method-override", "DELETE"),
        ("origin", "https://app.example.org"),
    ];
    let crosses = [
        ("accept-language", "pt"),
        (
            "atproto-accept-labelers",
            "did:plc:aaaabbbbccccddddeeeeffff",
        ),
    ];
    let headers = [stays.as_slice(), &crosses].concat();
    let path = format!("/xrpc/{GET_SESSION}");
    let answer = app
        .call(&Method::GET, &path, &tokens.access, &headers, Bytes::new())
        .await;
    assert_eq!(answer.ok(), body);

    let requests = world.pds().requests_to(Endpoint::Method(GET_SESSION));
    let received = requests.last().unwrap();
    for (name, value) in crosses {
        assert_eq!(received.header(name), Some(value));
    }
    for (name, _) in stays {
        assert_eq!(received.header(name), None, "{name}");
    }
    assert!(
        !received
            .header("authorization")
            .unwrap()
            .contains(&tokens.access)
    );
    assert!(
        world
            .pds()
            .origin()
            .ends_with(received.header("host").unwrap())
    );
    for name in [
        "set-cookie",
        "www-authenticate",
        "dpop-nonce",
        "atproto-repo-rev",
        "x-of-the-pds",
    ] {
        assert!(!answer.headers.contains_key(name), "{name}");
    }
}

async fn the_query_and_a_large_body_cross_unchanged(world: &World) {
    let app = world.app().await;
    let scope = "atproto blob:*/*";
    let tokens = app
        .sign_in_for(&world.browser(), world.alice(), scope)
        .await;
    let query = "b=2&a=1&b=1&c=%20x%2B&c=&b=3";
    let answer = app
        .query(&tokens.access, &format!("{GET_SESSION}?{query}"))
        .await;
    answer.ok();
    let policy = answer.header("content-security-policy");
    assert!(policy.contains("sandbox"), "{policy}");
    let requests = world.pds().requests_to(Endpoint::Method(GET_SESSION));
    assert_eq!(requests.last().unwrap().query, query);

    let video: Vec<u8> = (0..8_000_000_u32).flat_map(u32::to_be_bytes).collect();
    let path = "/xrpc/com.atproto.repo.uploadBlob";
    let headers = [("content-type", "video/mp4")];
    let upload = app.call(
        &Method::POST,
        path,
        &tokens.access,
        &headers,
        Bytes::from(video),
    );
    let blob = upload.await.ok();
    assert_eq!(blob["blob"]["size"], 32_000_000);
    let cid = blob["blob"]["ref"]["$link"].as_str().unwrap();
    let get = format!(
        "com.atproto.sync.getBlob?did={}&cid={cid}",
        world.alice().did
    );
    let answer = app.query(&tokens.access, &get).await;
    assert_eq!((answer.status.as_u16(), answer.length), (200, 32_000_000));
}

async fn what_the_token_does_not_allow_never_leaves(world: &World) {
    let app = world.app().await;
    let tokens = app.sign_in(&world.browser(), world.alice()).await;
    let before = world.state().await;
    let sent = world.pds().requests().len();
    let write = |collection: &str| json!({ "repo": world.alice().did.as_str(), "collection": collection, "record": { "text": "hi", "createdAt": "2026-01-01T00:00:00Z" } });
    let json = [("content-type", "application/json")];
    let video = [("content-type", "video/mp4")];
    let like = write("app.bsky.feed.like").to_string();
    for (method, nsid, headers, body) in [
        (Method::POST, "com.atproto.repo.createRecord", json, &*like),
        (Method::POST, "com.atproto.repo.deleteRecord", json, &*like),
        (Method::POST, "com.atproto.repo.uploadBlob", video, "bytes"),
        (
            Method::POST,
            "com.atproto.identity.updateHandle",
            json,
            "{}",
        ),
        (Method::POST, "com.atproto.server.updateEmail", json, "{}"),
        (Method::GET, "app.bsky.feed.getTimeline", json, ""),
        (Method::GET, "com.atproto.server.getServiceAuth", json, ""),
    ] {
        let path = format!("/xrpc/{nsid}");
        let body = Bytes::copy_from_slice(body.as_bytes());
        let answer = app
            .call(&method, &path, &tokens.access, &headers, body)
            .await;
        answer.expect(403, "insufficient_scope").logged("lacks");
        assert!(
            answer
                .header("www-authenticate")
                .contains("insufficient_scope")
        );
    }
    assert_eq!(world.pds().requests().len(), sent);
    assert_eq!(world.state().await, before);
    let post = write("app.bsky.feed.post");
    app.procedure(&tokens.access, "com.atproto.repo.createRecord", &post)
        .await
        .ok();
}

async fn a_rate_limit_of_the_pds_is_passed_on(world: &World) {
    let app = world.app().await;
    let tokens = app.sign_in(&world.browser(), world.alice()).await;
    world
        .pds()
        .next(Endpoint::Method(GET_SESSION))
        .rate_limits(7);
    let answer = app.query(&tokens.access, GET_SESSION).await;
    answer.expect(429, "RateLimitExceeded");
    assert_eq!(answer.header(RETRY_AFTER.as_str()), "7");
    app.query(&tokens.access, GET_SESSION).await.ok();
}

async fn a_narrowed_token_does_not_learn_the_address(world: &World) {
    let app = world.app().await;
    let scope = format!("{SCOPE} email");
    let tokens = app
        .sign_in_for(&world.browser(), world.alice(), &scope)
        .await;
    let told = app.query(&tokens.access, GET_SESSION).await.ok();
    assert_eq!(told["email"], "alice-test@mail.test");

    let narrowed = Tokens::of(&app.narrow(&tokens.refresh, SCOPE).await);
    let told = app.query(&narrowed.access, GET_SESSION).await.ok();
    assert_eq!(told["did"], world.alice().did.as_str());
    assert!(!told.to_string().contains("mail"), "{told}");
}

/// The session at the PDS may do all of this; the token may only call one method at one service.
async fn the_request_that_the_pds_would_execute_is_judged(world: &World) {
    let app = world.app().await;
    let scope = "atproto transition:generic";
    let tokens = app
        .sign_in_for(&world.browser(), world.alice(), scope)
        .await;
    let appview = "did:web:api.bsky.app#bsky_appview";
    let narrow =
        "atproto rpc:com.atproto.repo.createRecord?aud=did:web:api.bsky.app%23bsky_appview";
    let tokens = Tokens::of(&app.narrow(&tokens.refresh, narrow).await);
    let before = world.state().await;
    let sent = world.pds().requests().len();
    let body = json!({
        "repo": world.alice().did.as_str(),
        "collection": "app.bsky.feed.post",
        "record": { "text": "hi", "createdAt": "2026-01-01T00:00:00Z" },
    });
    let body = body.to_string();
    let utf7 = body.replace('{', "+AHs-");
    let (json, in_utf7) = ("application/json", "application/json; charset=utf-7");
    let create = "com.atproto.repo.createRecord";
    for (path, content_type, proxy, body) in [
        (create, json, Some(appview), &body),
        (create, json, Some(""), &body),
        (create, json, None, &body),
        (create, in_utf7, None, &utf7),
        ("com.atproto.repo.createrecord", json, None, &body),
        ("com.atproto.repo.createrecord", json, Some(appview), &body),
        ("COM.ATPROTO.REPO.CREATERECORD", json, Some(appview), &body),
        ("com.atproto.repo.createRecord/", json, None, &body),
        ("com.atproto.repo.%63reateRecord", json, None, &body),
        ("com.atproto.repo.deleteRecord", json, Some(appview), &body),
        ("com.atproto.repo.uploadBlob", json, Some(appview), &body),
        ("com.atproto.server.activateAccount", json, None, &body),
        (
            "com.atproto.server.requestEmailConfirmation",
            json,
            None,
            &body,
        ),
        ("com.atproto.server.createAppPassword", json, None, &body),
    ] {
        let mut headers = vec![("content-type", content_type)];
        headers.extend(proxy.map(|it| ("atproto-proxy", it)));
        let body = Bytes::copy_from_slice(body.as_bytes());
        let path = format!("/xrpc/{path}");
        let call = app.call(&Method::POST, &path, &tokens.access, &headers, body);
        let answer = call.await;
        assert!(answer.status.is_client_error(), "{path}: {}", answer.text());
        answer.logged("caller");
    }
    assert_eq!(world.pds().requests().len(), sent);
    assert_eq!(world.state().await, before);
}

async fn a_write_reaches_the_pds_as_it_was_judged(world: &World) {
    let app = world.app().await;
    let tokens = app.sign_in(&world.browser(), world.alice()).await;
    let create = "com.atproto.repo.createRecord";
    let body = format!(
        r#"{{"repo":"{}","collection":"app.bsky.feed.like","collection":"app.bsky.feed.post",
        "record":{{"text":"hi","createdAt":"2026-01-01T00:00:00Z"}}}}"#,
        world.alice().did
    );
    let headers = [("content-type", "Application/json;charset=UTF-8")];
    let path = format!("/xrpc/{create}?collection=app.bsky.feed.like");
    let body = Bytes::from(body);
    app.call(&Method::POST, &path, &tokens.access, &headers, body)
        .await
        .ok();
    let requests = world.pds().requests_to(Endpoint::Method(create));
    let received = requests.last().unwrap();
    assert_eq!(received.header("content-type"), Some("application/json"));
    assert_eq!(received.query, "");
    let body = String::from_utf8_lossy(&received.body);
    assert!(!body.contains("app.bsky.feed.like"), "{body}");
    assert!(body.contains("app.bsky.feed.post"), "{body}");
}

async fn what_a_pds_says_of_caching_is_not_passed_on(world: &World) {
    let app = world.app().await;
    let tokens = app.sign_in(&world.browser(), world.alice()).await;
    let name = HeaderName::from_static;
    for status in [StatusCode::OK, StatusCode::NOT_FOUND] {
        let reply = Reply::json(status, &json!({ "did": "x", "error": "x", "message": "x" }))
            .with(name("cache-control"), "public, max-age=3600")
            .with(name("expires"), "Thu, 01 Jan 2099 00:00:00 GMT")
            .with(name("x-accel-expires"), "3600")
            .with(name("cdn-cache-control"), "max-age=3600")
            .with(name("vary"), "origin")
            .with(name("etag"), "\"1\"");
        world
            .pds()
            .next(Endpoint::Method(GET_SESSION))
            .answers(reply);
        let answer = app.query(&tokens.access, GET_SESSION).await;
        assert_eq!(answer.status, status);
        let kept = answer.header("cache-control");
        assert!(["private, no-cache", "no-store"].contains(&kept), "{kept}");
        assert!(answer.header("vary").starts_with("Authorization, DPoP"));
        for name in ["expires", "x-accel-expires", "cdn-cache-control", "age"] {
            assert!(!answer.headers.contains_key(name), "{name}");
        }
    }
}

async fn stalled_uploads_of_one_account_hold_back_nobody_else(world: &World) {
    const SHARE: usize = 32;
    let app = world.app().await;
    let scope = "atproto blob:*/*";
    let tokens = app
        .sign_in_for(&world.browser(), world.alice(), scope)
        .await;
    let head = format!(
        "POST /xrpc/com.atproto.repo.uploadBlob HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\n\
         Content-Length: 1000000\r\nAuthorization: Bearer {}\r\n\r\n",
        tokens.access
    );
    let mut stalled = Vec::new();
    for _ in 0..SHARE {
        stalled.push(world.open(&head).await);
    }
    // Each of them asks with a small call of the same account first.
    let refused = async || {
        let answer = app.query(&tokens.access, GET_SESSION).await;
        answer.status == StatusCode::TOO_MANY_REQUESTS
    };
    until("the account's share to be used up", refused).await;
    let answer = app.query(&tokens.access, GET_SESSION).await;
    answer
        .expect(429, "RateLimitExceeded")
        .logged("of this account are in flight");
    assert_eq!(answer.header(RETRY_AFTER.as_str()), "5");
    // Somebody else signs in at the same PDS, and calls it by the same app.
    let bob = app.sign_in(&world.browser(), world.bob()).await;
    app.query(&bob.access, GET_SESSION).await.ok();
    app.refresh(&tokens.refresh).await.ok();
    drop(stalled);
    let served = async || app.query(&tokens.access, GET_SESSION).await.status == StatusCode::OK;
    until("the share to be free again", served).await;
}
