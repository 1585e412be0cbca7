//! Revocation and introspection.

use aip_storage::upstream::SessionKind;

use crate::support::app::userinfo;
use crate::support::{ALICE, World};

#[tokio::test]
async fn d2_row52_an_unknown_token_is_revoked_as_far_as_anybody_can_see() {
    let world = World::new().await;
    let app = world.app().await;
    for token in ["unknown", "aip_at_x", "aip_rt_x"] {
        let form = [("token", token)];
        let answer = app.authenticated("/oauth/revoke", &form, Vec::new()).await;
        assert_eq!((answer.status.as_u16(), answer.body.as_str()), (200, ""));
    }
    let without = app
        .authenticated("/oauth/revoke", &[("x", "y")], Vec::new())
        .await;
    without.expect_error(400, "invalid_request");
    let stranger = world.post("/oauth/revoke", &[("token", "unknown")]).await;
    stranger.expect_error(401, "invalid_client");
}

#[tokio::test]
async fn d2_row52_a_token_of_another_app_stays() {
    let world = World::new().await;
    let (app, other) = (world.app().await, world.app().await);
    let tokens = app.tokens(&[]).await;
    for name in ["access_token", "refresh_token"] {
        let form = [("token", tokens[name].as_str().unwrap())];
        let answer = other
            .authenticated("/oauth/revoke", &form, Vec::new())
            .await;
        assert_eq!(answer.status, 200);
    }
    let bearer = format!("Bearer {}", tokens["access_token"].as_str().unwrap());
    assert_eq!(userinfo(&world, &bearer).await.status, 200);
}

#[tokio::test]
async fn d2_row52_with_the_refresh_token_goes_the_access_token_and_the_upstream_session() {
    let world = World::new().await;
    let app = world.app().await;
    let tokens = app.tokens(&[]).await;
    let form = [("token", tokens["refresh_token"].as_str().unwrap())];
    let answer = app.authenticated("/oauth/revoke", &form, Vec::new()).await;
    assert_eq!(answer.status, 200);
    let bearer = format!("Bearer {}", tokens["access_token"].as_str().unwrap());
    assert_eq!(userinfo(&world, &bearer).await.status, 401);
    let client = app.id.parse().unwrap();
    let did = ALICE.parse().unwrap();
    let session = world
        .server
        .storage
        .usable_upstream_session(SessionKind::OAuth, &client, &did);
    assert!(session.await.unwrap().is_none());
}

#[tokio::test]
async fn d2_row53_introspection_tells_an_app_about_its_own_tokens_only() {
    let world = World::new().await;
    let (app, other) = (
        world.confidential_app().await,
        world.confidential_app().await,
    );
    let tokens = app.tokens(&[]).await;
    let access = tokens["access_token"].as_str().unwrap();
    let form = [("token", access)];

    let stranger = world.post("/oauth/introspect", &form).await;
    stranger.expect_error(401, "invalid_client");
    let public = world.app().await;
    let answer = public
        .authenticated("/oauth/introspect", &form, Vec::new())
        .await;
    answer.expect_error(401, "invalid_client");

    let live = app
        .authenticated("/oauth/introspect", &form, Vec::new())
        .await;
    assert_eq!(live.header("cache-control"), "no-store");
    let live = live.json();
    assert_eq!(live["active"], true);
    assert_eq!(live["sub"], ALICE);
    assert_eq!(live["client_id"], app.id);
    assert_eq!(live["scope"], "atproto openid profile");
    let foreign = other
        .authenticated("/oauth/introspect", &form, Vec::new())
        .await;
    assert_eq!(foreign.body, "{\"active\":false}");

    let revoked = app.authenticated("/oauth/revoke", &form, Vec::new()).await;
    assert_eq!(revoked.status, 200);
    let dead = app
        .authenticated("/oauth/introspect", &form, Vec::new())
        .await;
    assert_eq!(dead.body, "{\"active\":false}");
}

#[tokio::test]
async fn d2_row52_a_used_refresh_token_still_ends_the_grant() {
    let world = World::new().await;
    let app = world.app().await;
    let tokens = app.tokens(&[]).await;
    let used = tokens["refresh_token"].as_str().unwrap();
    // As if this answer never reached the app.
    let lost = app.refresh(used).await.json();
    let answer = app
        .authenticated("/oauth/revoke", &[("token", used)], Vec::new())
        .await;
    assert_eq!(answer.status, 200);
    let bearer = format!("Bearer {}", lost["access_token"].as_str().unwrap());
    assert_eq!(userinfo(&world, &bearer).await.status, 401);
}
