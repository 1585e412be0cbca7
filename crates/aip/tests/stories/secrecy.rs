//! What is secret can be read neither in the database nor in the log. Every story ends with this
//! search; these two make sure that it would find what is there.

use aip_storage::audit::{AuditEvent, AuditKind};

use crate::app::Tokens;
use crate::on_both_engines;
use crate::world::World;

on_both_engines!(
    no_secret_can_be_read_in_what_the_database_holds,
    no_secret_can_be_read_in_the_trace_log,
);

/// Lets many kinds of secrets come into being.
async fn live(world: &World) {
    for app in [world.app().await, world.app().await.with_dpop()] {
        let tokens = app.sign_in(&world.browser(), world.alice()).await;
        app.query(&tokens.access, "com.atproto.server.getSession")
            .await
            .ok();
        let renewed = Tokens::of(&app.refresh(&tokens.refresh).await);
        app.introspect(&renewed.access).await.ok();
        app.refresh("aip_rt_not_a_token")
            .await
            .expect(400, "invalid_grant");
    }
    // A sign-in that is still on its way holds secrets, too.
    let browser = world.browser();
    let login = browser
        .open(&world.app().await.begin_authorization(&[]).url)
        .await;
    browser.sign_in_as(&login, "bob.test").await;
    world.learn_hidden_secrets().await;
    assert!(world.secrets.len() > 60, "{}", world.secrets.len());
}

async fn no_secret_can_be_read_in_what_the_database_holds(world: &World) {
    live(world).await;
    assert!(world.secrets_in_database().await.is_empty());

    let planted = "planted-in-the-database";
    let aip = world.aip();
    let server = &aip.app.server;
    let event = AuditEvent::new(&*server.clock, &*server.rng, AuditKind::SignedIn, planted);
    server.storage.record(&event).await.unwrap();
    let sought = crate::world::Secrets::default();
    sought.learn("planted", planted);
    assert!(
        !sought
            .found_in(world.dump().await.text().as_bytes())
            .is_empty()
    );
}

async fn no_secret_can_be_read_in_the_trace_log(world: &World) {
    live(world).await;
    assert!(world.secrets_in_log().is_empty());

    for level in ["TRACE", "DEBUG", "INFO"] {
        assert!(
            world.log().contains(&format!("\"level\":\"{level}\"")),
            "{level}"
        );
    }
    let planted = "planted-in-the-log";
    tracing::trace!(planted, "a secret that slips out");
    let sought = crate::world::Secrets::default();
    sought.learn("planted", planted);
    assert!(!sought.found_in(world.log().as_bytes()).is_empty());
}
