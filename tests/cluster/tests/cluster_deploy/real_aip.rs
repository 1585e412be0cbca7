//! The real `aip` in the `restricted` profile, Pods on one PostgreSQL and one Valkey: deployed,
//! signed in to, rolled under load; and its secrets, which stay where they belong.

mod failures;
mod person;
mod search;
mod secrets;
mod usage;
mod world;

use std::time::Duration;

use aip_sandbox::Endpoint;
use cluster::eventually;
use http::StatusCode;

use search::{objects, secrets, without_data};
use usage::Usage;
use world::World;

#[tokio::test(flavor = "multi_thread")]
async fn a_new_tag_rolls_three_pods_without_a_lost_request_or_session() {
    let world = World::new("real", 3).await;
    world.up().await.exits(0);
    world.balancer.wait_for(3).await;
    let alice = &world.sandbox.accounts.alice;
    // Every few seconds another Pod finds that the session at the PDS must be refreshed.
    world
        .sandbox
        .pds
        .set_lifetimes(|lifetimes| lifetimes.access_token = Duration::from_secs(10));
    let app = world.sign_in(alice).await;

    let usage = Usage::start(&app).await;
    world.push("v2");
    world.set_tag("v2").await;
    world.up().await.exits(0).says("updated (");
    world.balancer.wait_for(3).await;
    eventually("refreshes at the PDS", async || match refreshes(&world) {
        count @ 0..3 => Err(format!("{count} of them")),
        _ => Ok(()),
    })
    .await;
    usage.stop_without_a_loss().await;
    let connections = world.valkey_connections().await;
    assert!(connections >= 3, "{connections} connections to Valkey");

    let live = world.site.deployment().await;
    let pod = &live.data["spec"]["template"]["spec"];
    assert_eq!(pod["containers"][0]["image"], world.site.image("v2"));
    assert_eq!(live.data["status"]["updatedReplicas"], 3);
    // The session at the PDS is the one that began with the sign-in.
    assert_eq!(world.sandbox.pds.live_sessions(&alice.did), 1);
    app.refresh().await.unwrap();
    app.session().await.unwrap();
    app.write("after the roll-out").await.unwrap();
}

/// How often the PDS has refreshed a session.
fn refreshes(world: &World) -> usize {
    let requests = world.sandbox.pds.requests_to(Endpoint::Token);
    let done = requests.iter().filter(|request| {
        request.form().get("grant_type") == Some("refresh_token")
            && request.answered() == Some(StatusCode::OK)
    });
    done.count()
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_in_the_data_of_secrets_and_nowhere_else() {
    let world = World::new("quiet", 1).await;
    let needles = world.needles();
    world.deploy(&["preview", "--diff"]).await.exits(0);
    world.up().await.exits(0);

    // Every secret changes, and a program that cannot reach its database complains about it.
    let good = world.database_url().to_owned();
    world
        .set_secret("required_env.DATABASE_URL", &world.wrong_database_url())
        .await;
    world
        .set_secret("extra_env.ANOTHER", "with another value")
        .await;
    world.deploy(&["preview", "--diff"]).await.exits(0);
    world.deploy(&["preview", "--json"]).await.exits(0);
    world.up().await.exits(4).says("the migration failed");
    world.set_secret("required_env.DATABASE_URL", &good).await;
    world.up().await.exits(0);
    for arguments in [
        &["config"][..],
        &["config", "--json"],
        &["stack"],
        &["stack", "history"],
        &["drift"],
        &["doctor"],
        &["rollout"],
        &["render", "--secrets", "stub"],
        &["render", "--secrets", "skip"],
    ] {
        world.deploy(arguments).await;
    }

    assert_eq!(needles.found_in(&world.said()), [""; 0]);
    assert_eq!(needles.found_below(&world.site.state()), [""; 0]);
    let stack_file = std::fs::read_to_string(world.site.stack_file()).unwrap();
    assert_eq!(needles.found_in(&stack_file), [""; 0]);
    let all = objects(&world.site.client, &world.site.namespace()).await;
    assert!(
        all.iter()
            .any(|object| object.metadata.managed_fields.is_some())
    );
    let rest: Vec<_> = all.into_iter().map(without_data).collect();
    assert_eq!(needles.found_in_objects(&rest), [""; 0]);

    // The search finds what there is to find.
    let shown = ["config", "--show-secrets"];
    let shown = world.run_aside(&shown, "").await.exits(0);
    assert_ne!(needles.found_in(&shown.out), [""; 0]);
    let data = secrets(&world.site.client, &world.site.namespace()).await;
    assert_ne!(needles.found_in_objects(&data), [""; 0]);
    std::fs::write(world.site.state().join("planted"), shown.out).unwrap();
    assert_ne!(needles.found_below(&world.site.state()), [""; 0]);
}
