//! What an app is told of its session at the PDS, at `/api/atprotocol/session`.

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
    a_fresh_session_is_told_by_one_statement,
    a_session_is_told_without_opening_its_secrets,
    a_stale_session_is_refreshed_before_it_is_told,
);

async fn ask(app: &App<'_>, access: &str) -> Answer {
    let path = "/api/atprotocol/session";
    app.call(&Method::GET, path, access, &[], Bytes::new())
        .await
}

async fn a_fresh_session_is_told_by_one_statement(world: &World) {
    let (app, tokens) = app_with_session(world).await;
    let answer = ask(&app, &tokens.access).await;
    let line = request_line(world, answer.header("x-request-id"));
    let told = answer.ok();
    assert_eq!(told["did"], world.alice().did.as_str());
    assert_eq!(told["handle"], world.alice().handle.as_str());
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

async fn a_stale_session_is_refreshed_before_it_is_told(world: &World) {
    let (app, tokens) = app_with_session(world).await;
    let before = ask(&app, &tokens.access).await.ok();
    world.pass(STALE);
    let after = ask(&app, &tokens.access).await.ok();
    assert_eq!(refreshes(world), 1);
    let end = |told: &serde_json::Value| told["expires_at"].as_i64().unwrap();
    assert!(end(&after) > end(&before), "{before} {after}");
    assert_eq!(after["scopes"], json!(before["scopes"]));
}
