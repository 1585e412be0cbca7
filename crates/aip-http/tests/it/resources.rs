//! Userinfo, the session endpoint and `/xrpc`, called without a good access token.

use axum::body::Body;
use http::Request;
use http::header::AUTHORIZATION;

use crate::support::app::userinfo;
use crate::support::{World, form_request};

#[tokio::test]
async fn a_bad_token_is_challenged_with_the_error_and_a_missing_one_without() {
    let world = World::new().await;
    let bad = userinfo(&world, "Bearer x").await;
    bad.expect_error(401, "invalid_token");
    let challenge = bad.header("www-authenticate");
    assert!(challenge.contains("error=\"invalid_token\""), "{challenge}");
    let metadata = "resource_metadata=\"https://aip.example/.well-known/oauth-protected-resource\"";
    assert!(challenge.contains(metadata), "{challenge}");

    let missing = world.get("/oauth/userinfo").await;
    assert_eq!(missing.status, 401);
    let challenge = missing.joined("www-authenticate");
    assert!(challenge.contains("Bearer realm") && challenge.contains("DPoP realm"));
    assert!(!challenge.contains("error="), "RFC 6750 §3.1: {challenge}");
}

#[tokio::test]
async fn a_token_in_header_and_body_is_refused() {
    let world = World::new().await;
    let headers = [(AUTHORIZATION, "Bearer x".to_owned())];
    let request = form_request("/oauth/userinfo", &[("access_token", "x")], &headers);
    world
        .send(request)
        .await
        .expect_error(400, "invalid_request");
}

#[tokio::test]
async fn a_session_is_shown_to_nobody_without_a_token() {
    let world = World::new().await;
    let nobody = world.get("/api/atprotocol/session").await;
    nobody.expect_error(401, "invalid_token");
}

#[tokio::test]
async fn a_call_without_a_good_token_is_refused_in_the_format_of_xrpc() {
    let world = World::new().await;
    let path = "/xrpc/com.atproto.repo.getRecord";
    let missing = world.get(path).await;
    assert_eq!(missing.status, 401);
    assert!(missing.json()["message"].is_string(), "{}", missing.body);
    let bad = Request::get(path).header(AUTHORIZATION, "Bearer x");
    let bad = world.send(bad.body(Body::empty()).unwrap()).await;
    assert_eq!(bad.status, 401);
}
