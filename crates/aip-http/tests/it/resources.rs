//! Userinfo and `/xrpc`: calls with an access token.

use std::sync::atomic::Ordering;
use std::time::Duration;

use aip_base::Clock as _;
use axum::body::Body;
use http::Request;
use http::header::AUTHORIZATION;

use crate::support::app::userinfo;
use crate::support::stand_ins::PUBLIC;
use crate::support::{ALICE, ALICE_HANDLE, Answer, World, form_request};

/// A `GET` with an access token.
async fn xrpc(world: &World, path: &str, token: &str) -> Answer {
    let request = Request::get(path).header(AUTHORIZATION, format!("Bearer {token}"));
    world.send(request.body(Body::empty()).unwrap()).await
}

async fn access_token(world: &World, scope: &str) -> String {
    let app = world.app().await;
    let tokens = app.tokens(&[("scope", scope)]).await;
    tokens["access_token"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn userinfo_tells_what_the_scopes_open() {
    let world = World::new().await;
    let token = access_token(&world, "openid atproto").await;
    let least = userinfo(&world, &format!("Bearer {token}")).await.json();
    assert_eq!(least, serde_json::json!({ "sub": ALICE }));
    let token = access_token(&world, "openid profile email atproto").await;
    let form = [("access_token", token.as_str())];
    let most = world.post("/oauth/userinfo", &form).await.json();
    assert_eq!(
        most,
        serde_json::json!({
            "sub": ALICE,
            "preferred_username": ALICE_HANDLE,
            "name": ALICE_HANDLE,
            "email": format!("mail@{ALICE_HANDLE}"),
            "email_verified": false,
        })
    );
    let token = access_token(&world, "atproto").await;
    let without = userinfo(&world, &format!("Bearer {token}")).await;
    without.expect_error(403, "insufficient_scope");
}

#[tokio::test]
async fn d2_row50_no_other_credential_opens_userinfo() {
    let world = World::new().await;
    let app = world.app().await;
    let tokens = app.tokens(&[]).await;
    let of = |name: &str| format!("Bearer {}", tokens[name].as_str().unwrap());
    for credential in [of("id_token"), of("refresh_token"), "Bearer x".to_owned()] {
        let answer = userinfo(&world, &credential).await;
        answer.expect_error(401, "invalid_token");
        let challenge = answer.header("www-authenticate");
        assert!(challenge.contains("error=\"invalid_token\""), "{challenge}");
        assert!(
            challenge.contains(
                "resource_metadata=\"https://aip.example/.well-known/oauth-protected-resource\""
            ),
            "{challenge}"
        );
    }
    let nothing = world.get("/oauth/userinfo").await;
    assert_eq!(nothing.status, 401);
    let challenge = nothing.joined("www-authenticate");
    assert!(challenge.contains("Bearer realm") && challenge.contains("DPoP realm"));
    assert!(!challenge.contains("error="), "RFC 6750 §3.1: {challenge}");
    let in_query = world
        .get(&format!(
            "/oauth/userinfo?access_token={}",
            tokens["access_token"].as_str().unwrap()
        ))
        .await;
    assert_eq!(in_query.status, 401, "a token in a URL is no credential");

    assert_eq!(userinfo(&world, &of("access_token")).await.status, 200);
    world.clock.advance(Duration::from_mins(11));
    let expired = userinfo(&world, &of("access_token")).await;
    expired.expect_error(401, "invalid_token");
}

#[tokio::test]
async fn a_token_in_header_and_body_is_refused() {
    let world = World::new().await;
    let token = access_token(&world, "openid").await;
    let headers = [(AUTHORIZATION, format!("Bearer {token}"))];
    let request = form_request("/oauth/userinfo", &[("access_token", &token)], &headers);
    world
        .send(request)
        .await
        .expect_error(400, "invalid_request");
}

#[tokio::test]
async fn an_app_sees_its_session_and_no_secret_of_it() {
    let world = World::new().await;
    let token = access_token(&world, "openid atproto").await;
    let path = "/api/atprotocol/session";
    let expires_at = (world.clock.now() + Duration::from_hours(1)).as_secs();
    assert_eq!(
        xrpc(&world, path, &token).await.json(),
        serde_json::json!({
            "did": ALICE,
            "handle": ALICE_HANDLE,
            "pds_endpoint": "https://pds.example",
            "scopes": ["atproto", "openid"],
            "expires_at": expires_at,
            "ends_at": (world.clock.now() + PUBLIC).as_secs(),
        })
    );
    let nobody = world.get(path).await;
    nobody.expect_error(401, "invalid_token");
    world.sessions.over.store(true, Ordering::SeqCst);
    let over = xrpc(&world, path, &token).await;
    over.expect_error(401, "invalid_token");
    assert!(over.body.contains("moved"), "{}", over.body);
}

#[tokio::test]
async fn a_call_on_the_pds_passes_with_its_query_as_it_is() {
    let world = World::new().await;
    let token = access_token(&world, "openid atproto").await;
    let path = "/xrpc/com.atproto.repo.getRecord?a=1&a=2&b=%2F";
    let answer = xrpc(&world, path, &token).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(
        world.proxy.calls(),
        ["GET com.atproto.repo.getRecord a=1&a=2&b=%2F"]
    );
    assert!(answer.header("content-security-policy").contains("sandbox"));
}

#[tokio::test]
async fn d2_row63_nothing_but_the_name_of_a_method_is_forwarded() {
    let world = World::new().await;
    let token = access_token(&world, "openid atproto").await;
    for path in [
        "/xrpc/..",
        "/xrpc/%2e%2e%2fadmin",
        "/xrpc/com.atproto.repo.getRecord%2f..%2f..",
        "/xrpc/com.atproto.repo.getRecord%0d%0aX-Evil:1",
        "/xrpc/com.atproto.repo.getRecord/more",
        "/xrpc//evil.example/com.atproto.repo.getRecord",
        "/xrpc/https:%2f%2fevil.example",
        "/xrpc/notanamespace",
        "/xrpc/",
    ] {
        let answer = xrpc(&world, path, &token).await;
        assert!(answer.status.is_client_error(), "{path}: {}", answer.status);
    }
    assert!(world.proxy.calls().is_empty());
}

#[tokio::test]
async fn a_call_without_a_good_token_reaches_nobody() {
    let world = World::new().await;
    let path = "/xrpc/com.atproto.repo.getRecord";
    let nothing = world.get(path).await;
    assert_eq!(nothing.status, 401);
    assert!(nothing.json()["message"].is_string(), "{}", nothing.body);
    assert_eq!(xrpc(&world, path, "x").await.status, 401);
    assert!(world.proxy.calls().is_empty());
}
