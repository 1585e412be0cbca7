//! `include:` scopes: what the sets that they name allow, AIP lets leave, and nothing else.

use std::time::Duration;

use aip_sandbox::{Endpoint, Reply};
use aip_storage::session_read::MAX_READ_AGE;
use http::StatusCode;
use serde_json::{Value, json};

use crate::app::{App, Tokens};
use crate::on_both_engines;
use crate::world::World;

on_both_engines!(
    a_write_that_a_published_set_allows_leaves_and_no_other_does,
    a_set_that_cannot_be_read_is_an_outage_and_not_a_refusal,
    a_set_that_hangs_keeps_no_other_from_being_read,
    an_app_has_only_so_many_sets_read_and_what_is_remembered_is_free,
    a_method_that_a_set_opens_everywhere_goes_to_the_service_that_the_pds_chooses,
);

const CREATE: &str = "com.atproto.repo.createRecord";
const SET: &str = "com.example.calendar.authBasic";
const AUTHOR: &str = "did:web:calendar.test";

/// Publishes the set; its record has this answer.
fn publish(world: &World, status: u16) {
    let pds = "https://lexicons.test";
    let document = json!({ "id": AUTHOR, "service": [{
        "id": "#atproto_pds", "type": "AtprotoPersonalDataServer", "serviceEndpoint": pds,
    }]});
    let place = "https://calendar.test/.well-known/did.json";
    world.hosted.put(place, 200, document.to_string());
    let name = "_lexicon.calendar.example.com";
    world.sandbox.dns.set_txt(name, [format!("did={AUTHOR}")]);
    let permissions = json!([
        { "resource": "repo", "collection": ["com.example.calendar.event"], "action": ["create"] },
        { "resource": "repo", "collection": ["app.bsky.feed.post"] },
        { "resource": "rpc", "lxm": ["com.example.calendar.listEvents"], "aud": "*" },
    ]);
    let main = json!({ "type": "permission-set", "permissions": permissions });
    let record = json!({ "value": { "lexicon": 1, "id": SET, "defs": { "main": main } } });
    let query = format!(
        "repo={}&collection=com.atproto.lexicon.schema&rkey={SET}",
        AUTHOR.replace(':', "%3A")
    );
    let place = format!("{pds}/xrpc/com.atproto.repo.getRecord?{query}");
    world.hosted.put(&place, status, record.to_string());
}

/// Tokens whose scope is the set. The stand-in for the PDS reads no sets, and so grants none.
async fn signed_in(world: &World) -> (App<'_>, Tokens) {
    let app = world.app().await;
    let tokens = app.sign_in(&world.browser(), world.alice()).await;
    grant(world, &format!("atproto include:{SET}")).await;
    (app, tokens)
}

/// From now on all tokens have that scope; what was remembered of them is old.
async fn grant(world: &World, scope: &str) {
    let granted = format!("UPDATE grants SET scope = '{scope}' RETURNING id");
    assert!(!world.texts(&granted).await.is_empty());
    world.pass(MAX_READ_AGE);
}

/// The PDS stores the next record.
fn store_next(world: &World) {
    let stored = Reply::json(StatusCode::OK, &json!({ "uri": "at://x", "cid": "x" }));
    world.pds().next(Endpoint::Method(CREATE)).answers(stored);
}

fn record_in(world: &World, collection: &str) -> Value {
    json!({ "repo": world.alice().did.as_str(), "collection": collection, "record": {} })
}

async fn a_write_that_a_published_set_allows_leaves_and_no_other_does(world: &World) {
    publish(world, 200);
    let (app, tokens) = signed_in(world).await;
    let sent = || world.pds().requests_to(Endpoint::Method(CREATE)).len();
    let before = sent();
    for (collection, method) in [
        // Outside of the namespace of the set, which therefore does not count.
        ("app.bsky.feed.post", CREATE),
        ("com.example.calendar.other", CREATE),
        (
            "com.example.calendar.event",
            "com.atproto.repo.deleteRecord",
        ),
    ] {
        let record = record_in(world, collection);
        let answer = app.procedure(&tokens.access, method, &record).await;
        answer
            .expect(403, "insufficient_scope")
            .logged("lacks repo:");
    }
    assert_eq!(sent(), before);
    store_next(world);
    let event = record_in(world, "com.example.calendar.event");
    app.procedure(&tokens.access, CREATE, &event).await.ok();
    assert_eq!(sent(), before + 1);
}

async fn a_set_that_cannot_be_read_is_an_outage_and_not_a_refusal(world: &World) {
    publish(world, 503);
    let (app, tokens) = signed_in(world).await;
    let before = world.state().await;
    let sent = world.pds().requests().len();
    let event = record_in(world, "com.example.calendar.event");
    let answer = app.procedure(&tokens.access, CREATE, &event).await;
    answer
        .expect(502, "UpstreamFailure")
        .logged("permission sets");
    assert_eq!(world.pds().requests().len(), sent);
    assert_eq!(world.state().await, before);
}

async fn a_set_that_hangs_keeps_no_other_from_being_read(world: &World) {
    publish(world, 200);
    let slow = "https://slow.test/.well-known/did.json";
    world.hosted.hang(slow);
    let author = "did=did:web:slow.test".to_owned();
    let name = "_lexicon.slow.example.com";
    world.sandbox.dns.set_txt(name, [author]);
    let (app, tokens) = signed_in(world).await;
    let scope = format!("atproto include:com.example.slow.authBasic include:{SET}");
    grant(world, &scope).await;
    for _ in 0..3 {
        store_next(world);
        let event = record_in(world, "com.example.calendar.event");
        app.procedure(&tokens.access, CREATE, &event).await.ok();
        // That one the set that hangs could allow.
        let other = record_in(world, "com.example.slow.event");
        let answer = app.procedure(&tokens.access, CREATE, &other).await;
        answer
            .expect(502, "UpstreamFailure")
            .logged("permission sets");
    }
    let reads = world.hosted.reads(slow);
    assert_eq!(reads, 1, "it is remembered that it could not be read");
}

async fn an_app_has_only_so_many_sets_read_and_what_is_remembered_is_free(world: &World) {
    let (app, tokens) = signed_in(world).await;
    let sent = world.pds().requests().len();
    let event = record_in(world, "com.example.calendar.event");
    use_up_reads(&app, &tokens, &event, 0).await;
    assert_eq!(world.pds().requests().len(), sent);
    // Others have their own, and what they had read is there for all.
    publish(world, 200);
    let (other, its_tokens) = signed_in(world).await;
    for (app, tokens) in [(&other, &its_tokens), (&app, &tokens)] {
        store_next(world);
        app.procedure(&tokens.access, CREATE, &event).await.ok();
    }
    // Old as it is after a day, it is better than nothing for an app that may have none read.
    world.pass(Duration::from_hours(25));
    let tokens = Tokens::of(&app.refresh(&tokens.refresh).await);
    use_up_reads(&app, &tokens, &event, 8).await;
    grant(world, &format!("atproto include:{SET}")).await;
    store_next(world);
    app.procedure(&tokens.access, CREATE, &event).await.ok();
}

/// Has sets read that nobody publishes, until the app may have no more read.
async fn use_up_reads(app: &App<'_>, tokens: &Tokens, event: &Value, first: u32) {
    let world = app.world;
    for round in 0..8 {
        let number = first + round;
        let sets = (0..16).map(|i| format!("include:com.example.r{number}n{i}.authBasic"));
        let sets: Vec<String> = sets.collect();
        grant(world, &format!("atproto {}", sets.join(" "))).await;
        let answer = app.procedure(&tokens.access, CREATE, event).await;
        if round < 6 {
            answer.expect(403, "insufficient_scope");
        } else {
            let refused = answer.expect(429, "RateLimitExceeded");
            refused.logged("permission sets");
            let wait: u64 = refused.header("retry-after").parse().unwrap();
            assert!(wait >= 1);
        }
    }
}

async fn a_method_that_a_set_opens_everywhere_goes_to_the_service_that_the_pds_chooses(
    world: &World,
) {
    publish(world, 200);
    let app = world.app().await;
    let scope = "atproto transition:generic";
    let tokens = app
        .sign_in_for(&world.browser(), world.alice(), scope)
        .await;
    grant(world, &format!("atproto include:{SET}")).await;
    let sent = || world.pds().requests_to(Endpoint::Xrpc).len();
    let before = sent();
    for other in ["com.example.calendar.getOther", "com.example.other.list"] {
        let answer = app.query(&tokens.access, other).await;
        answer
            .expect(403, "insufficient_scope")
            .logged(&format!("lacks rpc:{other}"));
    }
    assert_eq!(sent(), before);
    let list = "com.example.calendar.listEvents";
    let answer = app.query(&tokens.access, list).await;
    // The stand-in for the PDS knows no service to choose.
    answer.expect(400, "InvalidRequest");
    assert!(answer.text().contains("No service configured"));
    assert_eq!(sent(), before + 1);
}
