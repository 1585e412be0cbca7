//! One line per request: what operators learn, and what nobody may learn from it.

use std::sync::atomic::Ordering;

use aip_testkit::logs::Captured;
use axum::body::Body;
use http::Request;
use http::header::AUTHORIZATION;
use serde_json::Value;

use crate::support::{Answer, World};

/// The line of the request that was answered so.
fn line(log: &Captured, answer: &Answer) -> Value {
    let id = answer.header("x-request-id");
    let text = log.text();
    let mut lines = text
        .lines()
        .filter(|line| line.contains(id))
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter(|line| line["target"] == "aip::request");
    let line = lines.next().expect("the request was logged");
    assert!(lines.next().is_none(), "it was logged once");
    line
}

#[tokio::test]
async fn the_line_says_who_asked_and_what_it_cost() {
    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    let log = Captured::begin();
    let world = World::new().await;
    let app = world.confidential_app().await;
    let tokens = app.tokens(&[]).await;
    let bearer = format!("Bearer {}", tokens["access_token"].as_str().unwrap());
    let request = Request::get("/oauth/userinfo?hidden=query")
        .header(AUTHORIZATION, bearer)
        .header("traceparent", format!("00-{TRACE}-00f067aa0ba902b7-01"));
    let answer = world.send(request.body(Body::empty()).unwrap()).await;
    assert_eq!(answer.status, 200);
    let line = line(&log, &answer);
    assert_eq!(line["level"], "INFO");
    let fields = line["fields"].as_object().unwrap();
    assert_eq!(fields["message"], "request");
    assert_eq!(fields["method"], "GET");
    assert_eq!(fields["path"], "/oauth/userinfo");
    assert_eq!(fields["status"], 200);
    assert_eq!(fields["client"], app.id.as_str());
    assert_eq!(fields["account"], answer.json()["sub"]);
    assert_eq!(fields["trace_id"], TRACE);
    assert!(fields["statements"].as_u64().unwrap() > 0, "{fields:?}");
    assert!(fields["ms"].as_f64().unwrap() >= fields["db_ms"].as_f64().unwrap());
    assert!(fields["db_wait_ms"].is_number() && fields["upstream_ms"].is_number());
    assert_eq!(fields["upstream_calls"], 0);
    for absent in ["error", "blame", "detail"] {
        assert!(!fields.contains_key(absent), "{fields:?}");
    }
}

#[tokio::test]
async fn a_refusal_says_in_the_log_what_the_caller_is_not_told() {
    let log = Captured::begin();
    let world = World::new().await;
    let app = world.confidential_app().await;
    let form = [("client_id", app.id.as_str()), ("token", "x")];
    let answer = world.post("/oauth/revoke?query=hidden", &form).await;
    answer.expect_error(401, "invalid_client");
    assert!(!answer.body.contains("registered"), "{}", answer.body);
    let line = line(&log, &answer);
    assert_eq!(line["level"], "INFO");
    let fields = &line["fields"];
    assert_eq!(fields["path"], "/oauth/revoke");
    assert_eq!(fields["method"], "POST");
    assert_eq!(fields["status"], 401);
    assert_eq!(fields["error"], "invalid_client");
    assert_eq!(fields["blame"], "caller");
    assert_eq!(fields["client"], Value::Null, "it did not prove who it is");
    assert_eq!(
        fields["detail"],
        "the client registered client_secret_basic and used none"
    );
}

#[tokio::test]
async fn a_panic_is_our_fault_and_says_nothing_outside() {
    let log = Captured::begin();
    let world = World::new().await;
    world.health.panics.store(true, Ordering::SeqCst);
    let answer = world.get("/internal/ready").await;
    assert_eq!(answer.status, 500);
    assert_eq!(answer.json()["error"], "server_error");
    assert!(!answer.body.contains("panic"), "{}", answer.body);
    let line = line(&log, &answer);
    assert_eq!(line["level"], "ERROR");
    assert_eq!(line["fields"]["blame"], "ours");
}
