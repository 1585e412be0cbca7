//! Which service a call goes on to: the one that it names, or else the default of its app.

use aip_atproto::ServiceRef;
use aip_sandbox::Endpoint;
use aip_storage::session_read::MAX_READ_AGE;
use bytes::Bytes;
use http::Method;
use serde_json::json;

use crate::app::{App, Tokens};
use crate::keeping::GET_SESSION;
use crate::on_both_engines;
use crate::request_line::statements;
use crate::world::World;

on_both_engines!(
    a_call_that_names_no_service_goes_to_the_default_of_its_app,
    the_default_service_is_judged_like_one_that_is_named,
    another_default_counts_within_a_second_at_every_replica,
);

const TIMELINE: &str = "app.bsky.feed.getTimeline";
const SEARCH: &str = "/xrpc/app.bsky.feed.getTimeline?limit=1&b=2&limit=3";
const DEFAULT: &str = "did:web:api.example#appview";
const OTHER: &str = "did:web:other.example#appview";

#[allow(clippy::unnecessary_wraps, reason = "the setting is optional")]
fn service(text: &str) -> Option<ServiceRef> {
    Some(text.parse().unwrap())
}

async fn app_with_default(world: &World) -> App<'_> {
    App::register(world, |settings| {
        settings.default_atproto_proxy = service(DEFAULT);
    })
    .await
}

async fn tokens(world: &World, app: &App<'_>) -> Tokens {
    let scope = "atproto transition:generic";
    let browser = world.browser();
    app.sign_in_for(&browser, world.alice(), scope).await
}

async fn a_call_that_names_no_service_goes_to_the_default_of_its_app(world: &World) {
    let app = app_with_default(world).await;
    let tokens = tokens(world, &app).await;
    let call = async |headers: &[(&str, &str)]| {
        let body = Bytes::new();
        app.call(&Method::GET, SEARCH, &tokens.access, headers, body)
            .await
    };
    let answer = call(&[]).await;
    let passed_on = answer.ok();
    assert_eq!(passed_on["aud"], DEFAULT);
    assert_eq!(passed_on["query"], "limit=1&b=2&limit=3");
    let named = call(&[("atproto-proxy", OTHER)]).await;
    assert_eq!(named.ok()["aud"], OTHER);
    assert_eq!(statements(world, &named), 0, "it is read with the token");
    // One that is for AIP alone is none.
    let for_aip = [("atproto-proxy", OTHER), ("connection", "atproto-proxy")];
    assert_eq!(call(&for_aip).await.ok()["aud"], DEFAULT);
    // One that is no good is not replaced by the default.
    for bad in ["", "did:web:other.example", "https://other.example#a"] {
        let answer = call(&[("atproto-proxy", bad)]).await;
        answer.expect(400, "InvalidRequest");
    }
    // What the PDS serves itself goes nowhere else.
    app.query(&tokens.access, GET_SESSION).await.ok();
    let create = "com.atproto.repo.createRecord";
    let post = json!({ "repo": world.alice().did.as_str(), "collection": "app.bsky.feed.post", "record": { "text": "hi", "createdAt": "2026-01-01T00:00:00Z" } });
    app.procedure(&tokens.access, create, &post).await.ok();
    for method in [GET_SESSION, create] {
        let requests = world.pds().requests_to(Endpoint::Method(method));
        assert_eq!(requests.last().unwrap().header("atproto-proxy"), None);
    }
    // An app without a default has the PDS choose, which here knows none.
    let app = world.app().await;
    let scope = "atproto transition:generic";
    let tokens = app
        .sign_in_for(&world.browser(), world.alice(), scope)
        .await;
    let answer = app.query(&tokens.access, TIMELINE).await;
    answer.expect(400, "InvalidRequest");
    assert!(answer.text().contains("No service configured"));
}

async fn the_default_service_is_judged_like_one_that_is_named(world: &World) {
    let app = app_with_default(world).await;
    let tokens = tokens(world, &app).await;
    let narrow = format!("atproto rpc:{TIMELINE}?aud={}", OTHER.replace('#', "%23"));
    let narrowed = Tokens::of(&app.narrow(&tokens.refresh, &narrow).await);
    let sent = world.pds().requests().len();
    let answer = app.query(&narrowed.access, TIMELINE).await;
    answer.expect(403, "insufficient_scope");
    let lacks = format!("rpc:{TIMELINE}?aud={}", DEFAULT.replace('#', "%23"));
    let challenge = answer.header("www-authenticate");
    assert!(challenge.contains(&lacks), "{challenge}");
    assert!(answer.text().contains(&lacks), "{}", answer.text());
    assert_eq!(world.pds().requests().len(), sent);
    let named = [("atproto-proxy", OTHER)];
    let answer = app.call(&Method::GET, SEARCH, &narrowed.access, &named, Bytes::new());
    assert_eq!(answer.await.ok()["aud"], OTHER);
}

async fn another_default_counts_within_a_second_at_every_replica(world: &World) {
    let app = app_with_default(world).await;
    let tokens = tokens(world, &app).await;
    let one = world.replica().await;
    let other = world.aip();
    for replica in [&one, &other] {
        world.lead_to(replica);
        let answer = app.query(&tokens.access, TIMELINE).await;
        assert_eq!(answer.ok()["aud"], DEFAULT);
    }
    let server = &one.app.server;
    for (default, status) in [(service(OTHER), 200), (None, 400)] {
        let client = server.storage.client(&app.id).await.unwrap().unwrap();
        let mut settings = client.settings;
        settings.default_atproto_proxy.clone_from(&default);
        server.update_client(&app.id, settings).await.unwrap();
        world.pass(MAX_READ_AGE);
        for replica in [&one, &other] {
            world.lead_to(replica);
            let answer = app.query(&tokens.access, TIMELINE).await;
            assert_eq!(answer.status, status, "{}", answer.text());
            if status == 200 {
                assert_eq!(answer.json()["aud"], OTHER);
            }
        }
    }
}
