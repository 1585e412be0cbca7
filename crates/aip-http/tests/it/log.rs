//! One line per request: what operators learn, and what nobody may learn from it.

use aip_testkit::logs::Captured;
use axum::body::Body;
use http::Request;
use http::header::AUTHORIZATION;
use serde_json::Value;

use crate::support::app::VERIFIER;
use crate::support::stand_ins::PANICS;
use crate::support::{Answer, World};

/// The line of the request that was answered so.
fn line(log: &Captured, answer: &Answer) -> Value {
    let id = answer.header("x-request-id");
    let text = log.text();
    let mut lines = text.lines().filter(|line| line.contains(id));
    let line = lines.next().expect("the request was logged");
    assert!(lines.next().is_none(), "it was logged once");
    serde_json::from_str(line).unwrap()
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
    assert_eq!(fields["blame"], "caller");
    assert_eq!(
        fields["detail"],
        "the client registered client_secret_basic and used none"
    );
}

#[tokio::test]
async fn a_panic_is_our_fault_and_says_nothing_outside() {
    let log = Captured::begin();
    let world = World::new().await;
    let app = world.app().await;
    let tokens = app.tokens(&[]).await;
    let bearer = format!("Bearer {}", tokens["access_token"].as_str().unwrap());
    let request = Request::get(format!("/xrpc/{PANICS}")).header(AUTHORIZATION, bearer);
    let answer = world.send(request.body(Body::empty()).unwrap()).await;
    assert_eq!(answer.status, 500);
    assert_eq!(answer.json()["error"], "server_error");
    assert!(!answer.body.contains("panic"), "{}", answer.body);
    let line = line(&log, &answer);
    assert_eq!(line["level"], "ERROR");
    assert_eq!(line["fields"]["blame"], "ours");
}

#[tokio::test]
async fn d2_row73_a_whole_sign_in_leaves_no_secret_in_the_trace_log() {
    let log = Captured::begin();
    let world = World::new().await;
    let app = world.confidential_app().await;
    let mut browser = world.browser();
    let code = app.code(&mut browser, &[]).await;
    let tokens = app.redeem(&code, &[]).await.json();
    let refresh = tokens["refresh_token"].as_str().unwrap();
    let fresh = app.refresh(refresh).await.json();
    let of = |tokens: &Value, name: &str| tokens[name].as_str().unwrap().to_owned();
    let secrets = [
        code,
        of(&tokens, "access_token"),
        of(&tokens, "refresh_token"),
        of(&tokens, "id_token"),
        of(&fresh, "access_token"),
        of(&fresh, "refresh_token"),
        app.secret.clone().unwrap(),
        browser
            .cookie()
            .unwrap()
            .split_once('=')
            .unwrap()
            .1
            .to_owned(),
        VERIFIER.to_owned(),
    ];
    let log = log.text();
    assert!(log.contains("/oauth/token"), "the log was captured");
    for secret in secrets {
        assert!(!log.contains(&secret), "{secret} is in the log");
    }
}
