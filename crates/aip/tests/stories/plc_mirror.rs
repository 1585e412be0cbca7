//! A PLC mirror that is behind: it tells what it knows, and decides nothing.

use std::time::Duration;

use aip_atproto::Origin;
use bytes::Bytes;
use http::Method;
use serde_json::json;

use crate::app::Tokens;
use crate::keeping::GET_SESSION;
use crate::on_both_engines;
use crate::world::World;

on_both_engines!(a_mirror_that_is_behind_moves_no_session_and_signs_nobody_in);

const MIRROR: &str = "https://mirror.test";
/// Where the mirror says that people live.
const OLD_PDS: &str = "https://old-pds.test";

async fn a_mirror_that_is_behind_moves_no_session_and_signs_nobody_in(world: &World) {
    let configured = |config: &mut aip::app::AppConfig| {
        let mirror = Origin::parse(MIRROR).unwrap();
        config.resolver.plc.insert(0, mirror);
    };
    world.restart_configured(configured).await;
    let at_mirror = |did: &aip_atproto::Did| format!("{MIRROR}/{did}");
    for person in [world.alice(), world.bob()] {
        let mut document = world.sandbox.plc.document(&person.did).unwrap();
        document["service"][0]["serviceEndpoint"] = json!(OLD_PDS);
        world
            .hosted
            .put(&at_mirror(&person.did), 200, document.to_string());
    }
    let alice = world.alice();
    let app = world.app().await;
    let tokens = app.sign_in(&world.browser(), alice).await;
    app.query(&tokens.access, GET_SESSION).await.ok();
    // Refreshed after the proof, for which the mirror is not asked.
    world.pass(Duration::from_hours(2));
    let tokens = Tokens::of(&app.refresh(&tokens.refresh).await);
    app.query(&tokens.access, GET_SESSION).await.ok();
    assert_eq!(world.hosted.reads(&at_mirror(&alice.did)), 0);

    // Without the authority nothing is decided, and nobody has to sign in again.
    world.sandbox.plc.go_down().await;
    world.pass(Duration::from_hours(2));
    let tokens = Tokens::of(&app.refresh(&tokens.refresh).await);
    let refused = app.query(&tokens.access, GET_SESSION).await;
    refused.expect(503, "UpstreamFailure");
    let browser = world.browser();
    let pending = app.begin_authorization(&[]);
    let login = browser.open(&pending.url).await;
    let handle = world.bob().handle.as_str();
    let page = browser.sign_in_as(&login, handle).await;
    assert!(page.stayed() && page.has_form("login"), "{page:?}");
    // What is told of others is as good as it can be: the mirror's word, unless the authority has said otherwise.
    let resolve = async |did: &aip_atproto::Did| {
        let path = format!("/api/atprotocol/resolve?subject={did}");
        let call = app.call(&Method::GET, &path, &tokens.access, &[], Bytes::new());
        call.await.ok()["identities"][0]["pds"].clone()
    };
    assert_eq!(resolve(&alice.did).await, world.pds().origin());
    assert_eq!(resolve(&world.bob().did).await, OLD_PDS);
    world.sandbox.plc.come_up().await.unwrap();
    world.pass(Duration::from_mins(2));
    app.query(&tokens.access, GET_SESSION).await.ok();
    app.sign_in(&world.browser(), world.bob()).await;
    assert_eq!(resolve(&world.bob().did).await, world.pds().origin());
}
