//! What an app is told of its session at the PDS, at `/api/atprotocol/session`.

use std::time::Duration;

use aip_base::Clock as _;
use bytes::Bytes;
use http::Method;
use serde_json::json;

use crate::answer::Answer;
use crate::app::App;
use crate::keeping::{STALE, app_with_session, refreshes};
use crate::on_both_engines;
use crate::request_line::request_line;
use crate::world::World;

on_both_engines!(
    a_fresh_session_is_answered_by_one_statement,
    a_session_is_told_without_opening_its_secrets,
    a_stale_session_is_refreshed_before_it_is_answered,
    when_the_pds_ends_the_session_of_a_public_client_is_reported,
);

async fn ask(app: &App<'_>, access: &str) -> Answer {
    let path = "/api/atprotocol/session";
    app.call(&Method::GET, path, access, &[], Bytes::new())
        .await
}

async fn a_fresh_session_is_answered_by_one_statement(world: &World) {
    let (app, tokens) = app_with_session(world).await;
    let answer = ask(&app, &tokens.access).await;
    let line = request_line(world, answer.header("x-request-id"));
    let told = answer.ok();
    assert_eq!(told["did"], world.alice().did.as_str());
    assert_eq!(told["handle"], world.alice().handle.as_str());
    assert_eq!(told["pds_endpoint"], world.pds().origin());
    let mut members: Vec<_> = told.as_object().unwrap().keys().collect();
    members.sort();
    let expected = [
        "did",
        "expires_at",
        "handle",
        "pds_endpoint",
        "scopes",
        "state",
    ];
    assert_eq!(members, expected, "and no secret");
    assert_eq!(told["state"], "active");
    assert_eq!(line["statements"], 1);
    assert_eq!(line["upstream_calls"], 0);
    assert_eq!(line["client"], app.id.as_str());
    assert_eq!(line["account"], world.alice().did.as_str());
}

async fn a_session_is_told_without_opening_its_secrets(world: &World) {
    let (app, tokens) = app_with_session(world).await;
    let spoil = "UPDATE upstream_sessions SET access_token = 'x' || access_token,
                 refresh_token = 'x' || refresh_token, dpop_key = 'x' || dpop_key RETURNING id";
    assert_eq!(world.texts(spoil).await.len(), 1);
    ask(&app, &tokens.access).await.ok();
    let mend = "UPDATE upstream_sessions SET access_token = substr(access_token, 2),
                refresh_token = substr(refresh_token, 2), dpop_key = substr(dpop_key, 2)
                RETURNING id";
    assert_eq!(world.texts(mend).await.len(), 1);
}

async fn a_stale_session_is_refreshed_before_it_is_answered(world: &World) {
    let (app, tokens) = app_with_session(world).await;
    let before = ask(&app, &tokens.access).await.ok();
    world.pass(STALE);
    let after = ask(&app, &tokens.access).await.ok();
    assert_eq!(refreshes(world), 1);
    let end = |told: &serde_json::Value| told["expires_at"].as_i64().unwrap();
    assert!(end(&after) > end(&before), "{before} {after}");
    assert_eq!(after["scopes"], json!(before["scopes"]));
}

async fn when_the_pds_ends_the_session_of_a_public_client_is_reported(world: &World) {
    let (app, tokens) = app_with_session(world).await;
    let begun = world.clock.now();
    let public = "UPDATE upstream_sessions SET client_key_id = NULL RETURNING id";
    assert_eq!(world.texts(public).await.len(), 1);
    let told = ask(&app, &tokens.access).await.ok();
    let two_weeks = Duration::from_hours(14 * 24);
    assert_eq!(told["ends_at"], (begun + two_weeks).as_secs());
}
