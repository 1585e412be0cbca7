//! `include:` scopes: what the sets that they name allow, AIP lets leave, and nothing else.

use aip_sandbox::{Endpoint, Reply};
use http::StatusCode;
use serde_json::{Value, json};

use crate::app::{App, Tokens};
use crate::on_both_engines;
use crate::world::World;

on_both_engines!(
    a_write_that_a_published_set_allows_leaves_and_no_other_does,
    a_set_that_cannot_be_read_is_an_outage_and_not_a_refusal,
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
    let granted = format!("UPDATE grants SET scope = 'atproto include:{SET}' RETURNING id");
    assert_eq!(world.texts(&granted).await.len(), 1);
    (app, tokens)
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
    let stored = Reply::json(StatusCode::OK, &json!({ "uri": "at://x", "cid": "x" }));
    world.pds().next(Endpoint::Method(CREATE)).answers(stored);
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
