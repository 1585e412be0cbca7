//! The line of a request that was refused or failed: what operators learn, and what nobody may learn
//! from it.

use std::sync::atomic::Ordering;

use aip_testkit::logs::Captured;
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
