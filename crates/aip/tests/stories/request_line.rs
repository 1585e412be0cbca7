//! What operators read of a request: the one line that it leaves, and the spans around what was
//! done for it.

use serde_json::Value;

use crate::keeping::{GET_SESSION, STALE, app_with_session};
use crate::on_both_engines;
use crate::world::World;

on_both_engines!(
    the_line_of_a_call_counts_the_refresh_that_it_waited_for,
    the_line_of_a_refused_refresh_names_the_app_and_the_error,
);

/// The lines of the request that was answered with this id.
fn lines(world: &World, id: &str) -> Vec<Value> {
    let log = world.log();
    log.lines()
        .filter(|line| line.contains(id))
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect()
}

fn request_line(world: &World, id: &str) -> Value {
    let mut lines = lines(world, id);
    lines.retain(|line| line["target"] == "aip::request");
    let [line] = lines.as_slice() else {
        panic!("not one line: {lines:#?}");
    };
    line["fields"].clone()
}

async fn the_line_of_a_call_counts_the_refresh_that_it_waited_for(world: &World) {
    let (app, tokens) = app_with_session(world).await;
    let fresh = app.query(&tokens.access, GET_SESSION).await;
    world.pass(STALE);
    let stale = app.query(&tokens.access, GET_SESSION).await;

    let fresh = request_line(world, fresh.header("x-request-id"));
    assert_eq!(fresh["path"], "/xrpc/{nsid}");
    assert_eq!(fresh["client"], app.id.as_str());
    assert_eq!(fresh["account"], world.alice().did.as_str());
    assert_eq!(fresh["upstream_calls"], 1, "the call");
    assert!(fresh["upstream_ms"].as_f64().unwrap() > 0.0);
    assert!(fresh["statements"].as_u64().unwrap() > 0);

    let id = stale.header("x-request-id");
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
