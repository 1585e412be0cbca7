//! What operators read of a request: the one line that it leaves, and the spans around what was
//! done for it.

use aip_storage::session_read::MAX_READ_AGE;
use bytes::Bytes;
use http::Request;
use http::header::AUTHORIZATION;
use serde_json::Value;

use crate::answer::Answer;
use crate::keeping::{GET_SESSION, STALE, app_with_session};
use crate::on_both_engines;
use crate::world::{BASE, Engine, World};

on_both_engines!(
    the_line_says_who_asked_and_what_it_cost,
    the_line_of_a_call_counts_the_refresh_that_it_waited_for,
    the_line_of_a_refused_refresh_names_the_app_and_the_error,
    a_sign_in_takes_few_statements,
);

/// The lines of the request that was answered with this id.
fn lines(world: &World, id: &str) -> Vec<Value> {
    let log = world.log();
    log.lines()
        .filter(|line| line.contains(id))
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect()
}

pub(crate) fn request_line(world: &World, id: &str) -> Value {
    let mut lines = lines(world, id);
    lines.retain(|line| line["target"] == "aip::request");
    let [line] = lines.as_slice() else {
        panic!("not one line: {lines:#?}");
    };
    line["fields"].clone()
}

/// How many statements a request cost the database.
pub(crate) fn statements(world: &World, answer: &Answer) -> u64 {
    let line = request_line(world, answer.header("x-request-id"));
    line["statements"].as_u64().unwrap()
}

async fn the_line_says_who_asked_and_what_it_cost(world: &World) {
    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    let app = world.app().await;
    let tokens = app.sign_in(&world.browser(), world.alice()).await;
    let request = Request::get(format!("{BASE}/oauth/userinfo?hidden=query"))
        .header(AUTHORIZATION, format!("Bearer {}", tokens.access))
        .header("traceparent", format!("00-{TRACE}-00f067aa0ba902b7-01"));
    let answer = world.send(request.body(Bytes::new()).unwrap()).await;
    let who = answer.ok();
    answer.logged("\"level\":\"INFO\"");
    let line = request_line(world, answer.header("x-request-id"));
    assert_eq!(line["message"], "request");
    assert_eq!(line["method"], "GET");
    assert_eq!(line["path"], "/oauth/userinfo");
    assert_eq!(line["status"], 200);
    assert_eq!(line["client"], app.id.as_str());
    assert_eq!(line["account"], who["sub"]);
    assert_eq!(line["trace_id"], TRACE);
    assert!(line["statements"].as_u64().unwrap() > 0, "{line}");
    assert!(line["ms"].as_f64().unwrap() >= line["db_ms"].as_f64().unwrap());
    assert!(line["db_wait_ms"].is_number() && line["upstream_ms"].is_number());
    assert_eq!(line["upstream_calls"], 1, "for the profile");
    for absent in ["error", "blame", "detail"] {
        assert!(line.get(absent).is_none(), "{line}");
    }
}

async fn the_line_of_a_call_counts_the_refresh_that_it_waited_for(world: &World) {
    let (app, tokens) = app_with_session(world).await;
    // What was read a moment ago would not be read again.
    world.pass(MAX_READ_AGE);
    let fresh = app.query(&tokens.access, GET_SESSION).await;
    world.pass(STALE);
    let stale = app.query(&tokens.access, GET_SESSION).await;

    let fresh = request_line(world, fresh.header("x-request-id"));
    assert_eq!(fresh["path"], "/xrpc/{nsid}");
    assert_eq!(fresh["client"], app.id.as_str());
    assert_eq!(fresh["account"], world.alice().did.as_str());
    assert_eq!(fresh["upstream_calls"], 1, "the call");
    assert!(fresh["upstream_ms"].as_f64().unwrap() > 0.0);
    let statements = |line: &Value| line["statements"].as_u64().unwrap();
    assert!(statements(&fresh) > 0);

    let id = stale.header("x-request-id");
    // Lease, journal and the new tokens, and the session read again.
    let refreshed = statements(&request_line(world, id)) - statements(&fresh);
    assert!(refreshed >= 4, "{refreshed}");
    let calls = &request_line(world, id)["upstream_calls"];
    // The proof of the identity takes more than one.
    assert!(calls.as_u64().unwrap() > 3, "{calls}");
    let spans: Vec<Vec<String>> = lines(world, id)
        .iter()
        .filter_map(|line| line["spans"].as_array())
        .map(|spans| {
            let names = spans.iter().map(|span| span["name"].as_str().unwrap());
            names.map(str::to_owned).collect()
        })
        .collect();
    assert!(
        spans
            .iter()
            .any(|it| it.starts_with(&["request".into(), "refresh".into()])),
        "{spans:?}"
    );
}

async fn the_line_of_a_refused_refresh_names_the_app_and_the_error(world: &World) {
    let (app, _) = app_with_session(world).await;
    let refused = app.refresh("aip_rt_not_a_token").await;
    let line = request_line(world, refused.header("x-request-id"));
    assert_eq!(line["path"], "/oauth/token");
    assert_eq!(line["status"], 400);
    assert_eq!(line["error"], "invalid_grant");
    assert_eq!(line["blame"], "caller");
    assert_eq!(line["client"], app.id.as_str());
    assert_eq!(line["account"], Value::Null);
    assert_eq!(line["upstream_calls"], 0);
}

/// What a sign-in of an unknown browser may cost the database, from the app's redirect to its code.
const MAX_STATEMENTS: u64 = 22;
/// What replicas share on PostgreSQL without Valkey: the rate limit of sign-ins, and the nonce of the
/// PDS, read and written.
const MAX_SHARED_STATE_STATEMENTS: u64 = 3;

async fn a_sign_in_takes_few_statements(world: &World) {
    let app = world.app().await;
    let browser = world.browser();
    let pending = app.begin_authorization(&[]);
    let login = browser.open(&pending.url).await;
    let at_pds = browser
        .sign_in_as(&login, world.alice().handle.as_str())
        .await;
    let callback = browser.at_pds(&at_pds, world.alice()).await;
    let consent = browser.open(callback.as_str()).await;
    let back = browser.allow(&consent).await;
    pending.code(&back);

    let client = format!("\"client\":\"{}\"", app.id);
    let log = world.log();
    let requests: Vec<Value> = log
        .lines()
        .filter(|line| line.contains("\"target\":\"aip::request\"") && line.contains(&client))
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let counted: Vec<(&str, u64)> = requests
        .iter()
        .map(|line| {
            let fields = &line["fields"];
            let path = fields["path"].as_str().unwrap();
            (path, fields["statements"].as_u64().unwrap())
        })
        .collect();
    let total: u64 = counted.iter().map(|it| it.1).sum();
    let shared = match world.engine() {
        Engine::Sqlite => 0,
        Engine::Postgres => MAX_SHARED_STATE_STATEMENTS,
    };
    assert_eq!(counted.len(), 6, "{counted:?}");
    assert!(total <= MAX_STATEMENTS + shared, "{total}: {counted:?}");
}
