//! Whoever asks too much from one network waits, on all replicas, and nobody else does.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http::header::{AUTHORIZATION, CONTENT_TYPE};

use crate::answer::Answer;
use crate::app::{App, basic_credential};
use crate::on_both_engines;
use crate::world::{BASE, CALL_LIMITS, World};

on_both_engines!(
    guesses_at_secrets_are_slowed_down,
    guesses_from_many_networks_are_slowed_down_too,
    who_proves_itself_is_let_in_whatever_its_network_did,
    sign_ins_from_one_network_are_limited,
    what_does_not_parse_is_no_sign_in,
    an_app_has_a_quota_for_each_account_and_is_told_what_is_left,
);

/// What a proxy in front of AIP says of the caller.
const FORWARDED: &str = "x-forwarded-for";

async fn introspect(world: &World, from: &str, credential: &str) -> Answer {
    let request = Request::post(format!("{BASE}/oauth/introspect"))
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        .header(AUTHORIZATION, credential)
        .header(FORWARDED, from);
    let form = Bytes::from_static(b"token=x");
    world.send(request.body(form).unwrap()).await
}

async fn guesses_at_secrets_are_slowed_down(world: &World) {
    let app = world.app().await;
    let wrong = basic_credential(app.id.as_str(), "wrong");
    let right = basic_credential(app.id.as_str(), app.secret.as_deref().unwrap());
    for _ in 0..60 {
        let answer = introspect(world, "203.0.113.9", &wrong).await;
        answer.expect(401, "invalid_client");
    }
    let refused = introspect(world, "203.0.113.9", &wrong).await;
    refused
        .expect(429, "temporarily_unavailable")
        .logged("over the limit `client_failures`");
    assert_eq!(refused.header("retry-after"), "1");
    // Left of what the proxy saw is what the caller says of itself.
    let spoofed = introspect(world, "192.0.2.1, 203.0.113.9", &wrong).await;
    spoofed.expect(429, "temporarily_unavailable");
    introspect(world, "203.0.113.9", &right).await.ok();
    introspect(world, "203.0.113.10", &right).await.ok();

    world.pass(Duration::from_secs(1));
    introspect(world, "203.0.113.9", &right).await.ok();
}

async fn guesses_from_many_networks_are_slowed_down_too(world: &World) {
    let app = world.app().await;
    let wrong = basic_credential(app.id.as_str(), "wrong");
    for n in 0..60 {
        let answer = introspect(world, &format!("203.0.113.{n}"), &wrong).await;
        answer.expect(401, "invalid_client");
    }
    let refused = introspect(world, "203.0.113.99", &wrong).await;
    refused
        .expect(429, "temporarily_unavailable")
        .logged("over the limit `failures_of_client`");
    let right = basic_credential(app.id.as_str(), app.secret.as_deref().unwrap());
    introspect(world, "203.0.113.99", &right).await.ok();
    // A name that nobody has is no client whose failures are kept.
    let nobody = basic_credential("nobody", "wrong");
    let answer = introspect(world, "203.0.113.99", &nobody).await;
    answer.expect(401, "invalid_client");
}

async fn who_proves_itself_is_let_in_whatever_its_network_did(world: &World) {
    let app = world.app().await;
    let right = basic_credential(app.id.as_str(), app.secret.as_deref().unwrap());
    for n in 0..60 {
        let guess = basic_credential(&format!("nobody-{n}"), "wrong");
        let answer = introspect(world, "203.0.113.9", &guess).await;
        answer.expect(401, "invalid_client");
    }
    let nobody = basic_credential("nobody", "wrong");
    for _ in 0..3 {
        let refused = introspect(world, "203.0.113.9", &nobody).await;
        refused
            .expect(429, "temporarily_unavailable")
            .logged("over the limit `client_failures`");
        introspect(world, "203.0.113.9", &right).await.ok();
    }
}

async fn what_does_not_parse_is_no_sign_in(world: &World) {
    let app = world.app().await;
    for n in 0..70 {
        let hint = if n % 2 == 0 { "no handle!" } else { "https://" };
        let pending = app.begin_authorization(&[("login_hint", hint)]);
        let request = Request::get(pending.url.as_str()).header(FORWARDED, "203.0.113.9");
        let answer = world.send(request.body(Bytes::new()).unwrap()).await;
        assert_ne!(answer.status, 429);
    }
    begin(world, &app, "203.0.113.9").await.unwrap();
}

async fn an_app_has_a_quota_for_each_account_and_is_told_what_is_left(world: &World) {
    let app = world.app().await;
    let tokens = app.sign_in(&world.browser(), world.alice()).await;
    let call = "com.atproto.server.getSession";
    let limit = CALL_LIMITS.account.get();
    for left in (0..limit).rev() {
        let answer = app.query(&tokens.access, call).await;
        answer.ok();
        assert_eq!(answer.header("ratelimit-limit"), limit.to_string());
        assert_eq!(answer.header("ratelimit-remaining"), left.to_string());
    }
    let sent = world.pds().requests().len();
    let refused = app.query(&tokens.access, call).await;
    refused
        .expect(429, "RateLimitExceeded")
        .logged("of this app for this account");
    assert_eq!(refused.header("retry-after"), "3");
    assert_eq!(refused.header("ratelimit-remaining"), "0");
    assert_eq!(world.pds().requests().len(), sent, "the PDS is left alone");
    // Neither somebody else's calls nor another app's are held back.
    let bob = app.sign_in(&world.browser(), world.bob()).await;
    app.query(&bob.access, call).await.ok();
    let other = world.app().await;
    let tokens = other.sign_in(&world.browser(), world.alice()).await;
    other.query(&tokens.access, call).await.ok();
}

async fn sign_ins_from_one_network_are_limited(world: &World) {
    let app = world.app().await;
    for _ in 0..60 {
        begin(world, &app, "203.0.113.9").await.unwrap();
    }
    world.pds().forget_requests();
    let refused = begin(world, &app, "203.0.113.9").await.unwrap_err();
    refused
        .expect_page(
            429,
            "Too many sign-ins were begun from your network. Please try again in 1 second.",
        )
        .logged("over the limit `sign_ins`");
    assert_eq!(refused.header("retry-after"), "1");
    assert!(world.pds().requests().is_empty(), "the PDS is left alone");
    begin(world, &app, "203.0.113.10").await.unwrap();
    world.pass(Duration::from_secs(1));
    begin(world, &app, "203.0.113.9").await.unwrap();
}

/// Begins a sign-in; the answer, if it does not lead to the PDS.
async fn begin(world: &World, app: &App<'_>, from: &str) -> Result<(), Answer> {
    let pending = app.begin_authorization(&[("login_hint", world.alice().handle.as_str())]);
    let request = Request::get(pending.url.as_str()).header(FORWARDED, from);
    let answer = world.send(request.body(Bytes::new()).unwrap()).await;
    if answer.status == 303 {
        assert!(answer.header("location").starts_with(world.pds().issuer()));
        Ok(())
    } else {
        Err(answer)
    }
}
