//! Refresh tokens: rotated, with a grace for apps that repeat themselves.

use std::time::Duration;

use crate::support::World;
use crate::support::app::userinfo;

fn text(tokens: &serde_json::Value, name: &str) -> String {
    tokens[name].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn d2_row38_within_the_grace_the_same_successor_and_after_it_the_end_of_the_family() {
    let world = World::new().await;
    let app = world.app().await;
    let first = text(&app.tokens(&[]).await, "refresh_token");
    let second = text(&app.refresh(&first).await.json(), "refresh_token");
    assert_ne!(first, second);
    // The app has no secret and its tokens have no key: a thief could repeat them as well.
    world.clock.advance(Duration::from_secs(9));
    assert_eq!(
        text(&app.refresh(&first).await.json(), "refresh_token"),
        second
    );

    world.clock.advance(Duration::from_secs(2));
    app.refresh(&first).await.expect_error(400, "invalid_grant");
    app.refresh(&second)
        .await
        .expect_error(400, "invalid_grant");
}

#[tokio::test]
async fn d2_row38_an_app_with_a_secret_has_all_of_its_grace() {
    let world = World::new().await;
    let app = world.confidential_app().await;
    let first = text(&app.tokens(&[]).await, "refresh_token");
    let second = text(&app.refresh(&first).await.json(), "refresh_token");
    world.clock.advance(Duration::from_secs(29));
    let repeated = app.refresh(&first).await.json();
    assert_eq!(text(&repeated, "refresh_token"), second);
    world.clock.advance(Duration::from_secs(2));
    app.refresh(&first).await.expect_error(400, "invalid_grant");
}

#[tokio::test]
async fn d2_row38_parallel_refreshes_stay_one_family() {
    let world = World::new().await;
    let app = world.app().await;
    let token = text(&app.tokens(&[]).await, "refresh_token");
    let (one, other) = tokio::join!(app.refresh(&token), app.refresh(&token));
    assert_eq!(
        text(&one.json(), "refresh_token"),
        text(&other.json(), "refresh_token")
    );
}

#[tokio::test]
async fn d2_row39_a_refresh_works_after_the_access_token_expired() {
    let world = World::new().await;
    let app = world.app().await;
    let tokens = app.tokens(&[]).await;
    world.clock.advance(Duration::from_mins(11));
    let bearer = format!("Bearer {}", text(&tokens, "access_token"));
    assert_eq!(userinfo(&world, &bearer).await.status, 401);
    let fresh = app.refresh(&text(&tokens, "refresh_token")).await.json();
    let bearer = format!("Bearer {}", text(&fresh, "access_token"));
    assert_eq!(userinfo(&world, &bearer).await.status, 200);
}

#[tokio::test]
async fn d2_row40_another_app_or_a_wider_scope_is_refused_and_spends_nothing() {
    let world = World::new().await;
    let (app, other) = (world.app().await, world.app().await);
    let token = text(&app.tokens(&[]).await, "refresh_token");
    other
        .refresh(&token)
        .await
        .expect_error(400, "invalid_grant");
    let wider = [
        ("grant_type", "refresh_token"),
        ("refresh_token", token.as_str()),
        ("scope", "openid repo:app.bsky.feed.post"),
    ];
    let answer = app.token(&wider, Vec::new()).await;
    answer.expect_error(400, "invalid_scope");

    let narrower = [
        ("grant_type", "refresh_token"),
        ("refresh_token", token.as_str()),
        ("scope", "openid"),
    ];
    let narrow = app.token(&narrower, Vec::new()).await.json();
    assert_eq!(narrow["scope"], "openid");
    let next = app.refresh(&text(&narrow, "refresh_token")).await.json();
    assert_eq!(
        next["scope"], "atproto openid profile",
        "narrowing does not stick"
    );
}

#[tokio::test]
async fn d2_row40_a_repeat_within_the_grace_is_no_way_to_a_wider_scope() {
    let world = World::new().await;
    let app = world.app().await;
    let spent = text(&app.tokens(&[]).await, "refresh_token");
    let successor = text(&app.refresh(&spent).await.json(), "refresh_token");
    let wider = [
        ("grant_type", "refresh_token"),
        ("refresh_token", spent.as_str()),
        ("scope", "openid email transition:generic"),
    ];
    let answer = app.token(&wider, Vec::new()).await;
    answer.expect_error(400, "invalid_scope");

    let narrower = [
        ("grant_type", "refresh_token"),
        ("refresh_token", spent.as_str()),
        ("scope", "openid"),
    ];
    let repeated = app.token(&narrower, Vec::new()).await.json();
    assert_eq!(repeated["scope"], "openid");
    assert_eq!(text(&repeated, "refresh_token"), successor);
}
