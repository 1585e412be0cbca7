//! Whoever asks too much from one network waits, on all replicas, and nobody else does.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http::header::{AUTHORIZATION, CONTENT_TYPE};

use crate::answer::Answer;
use crate::app::{App, basic_credential};
use crate::on_both_engines;
use crate::world::{BASE, World};

on_both_engines!(
    guesses_at_secrets_are_slowed_down,
    sign_ins_from_one_network_are_limited,
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
    let there = introspect(world, "203.0.113.9", &right).await;
    there.expect(429, "temporarily_unavailable");
    // Left of what the proxy saw is what the caller says of itself.
    let spoofed = introspect(world, "192.0.2.1, 203.0.113.9", &right).await;
    spoofed.expect(429, "temporarily_unavailable");
    introspect(world, "203.0.113.10", &right).await.ok();

    world.pass(Duration::from_secs(1));
    introspect(world, "203.0.113.9", &right).await.ok();
}

async fn sign_ins_from_one_network_are_limited(world: &World) {
    let app = world.app().await;
    for _ in 0..60 {
        begin(world, &app, "203.0.113.9").await.unwrap();
    }
    world.pds().forget_requests();
    let refused = begin(world, &app, "203.0.113.9").await.unwrap_err();
    refused
        .expect_page(429, "Too many sign-ins were begun from your network")
        .logged("over the limit `sign_ins`");
    assert_eq!(refused.header("retry-after"), "1");
    assert!(world.pds().requests().is_empty(), "the PDS is left alone");
    begin(world, &app, "203.0.113.10").await.unwrap();
    world.pass(Duration::from_secs(1));
    begin(world, &app, "203.0.113.9").await.unwrap();
}

/// Begins a sign-in; the answer, if it does not lead to the PDS.
async fn begin(world: &World, app: &App<'_>, from: &str) -> Result<(), Answer> {
    let errand = app.errand(&[("login_hint", world.alice().handle.as_str())]);
    let request = Request::get(errand.url.as_str()).header(FORWARDED, from);
    let answer = world.send(request.body(Bytes::new()).unwrap()).await;
    if answer.status == 303 {
        assert!(answer.header("location").starts_with(world.pds().issuer()));
        Ok(())
    } else {
        Err(answer)
    }
}
