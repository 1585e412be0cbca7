//! Rollouts of the real `aip` that cannot succeed, while the old Pods are in use.

use std::time::Duration;

use tokio::time::Instant;

use super::usage::Usage;
use super::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn broken_images_and_migrations_leave_the_old_pods_serving() {
    let world = World::new("faulty", 2).await;
    world.up().await.exits(0);
    world.balancer.wait_for(2).await;
    let app = world.sign_in(&world.sandbox.accounts.alice).await;
    let usage = Usage::start(&app).await;

    an_image_that_nobody_has_pushed_is_named_in_seconds(&world).await;
    a_server_that_crashes_is_named_and_undone(&world).await;
    a_schema_that_only_a_newer_program_knows_is_left_alone(&world).await;

    usage.stop_without_a_loss().await;
    let alice = &world.sandbox.accounts.alice.did;
    assert_eq!(world.sandbox.pds.live_sessions(alice), 1);

    // What was wrong is mended: the same stack goes on.
    world.push("v2");
    world.set_tag("v2").await;
    world.up().await.exits(0).says("updated (");
    app.session().await.unwrap();
}

async fn an_image_that_nobody_has_pushed_is_named_in_seconds(world: &World) {
    world.set_tag("never-pushed").await;
    let begun = Instant::now();
    let ran = world.up().await;
    let taken = begun.elapsed();
    ran.exits(4)
        .says("ImagePullBackOff")
        .says(&world.site.image("never-pushed"));
    assert!(taken < Duration::from_secs(10), "{taken:?}");
    assert_eq!(world.serving().await, world.site.image("v1"));
}

async fn a_server_that_crashes_is_named_and_undone(world: &World) {
    world.push_that_only_migrates("crashing", "no such table: moon phases");
    world.set_tag("crashing").await;
    let ran = world.up_with(&["--rollback-on-failure"]).await.exits(4);
    ran.says("CrashLoopBackOff")
        .says("no such table: moon phases")
        .says("Going back to revision 1");
    assert_eq!(world.serving().await, world.site.image("v1"));
}

async fn a_schema_that_only_a_newer_program_knows_is_left_alone(world: &World) {
    world.push("older");
    world.set_tag("older").await;
    world
        .sql(
            "INSERT INTO aip_schema_migrations \
             (version, description, success, checksum, execution_time) \
             VALUES (9999, 'of a newer program', true, '', 0)",
        )
        .await;
    let ran = world.up().await.exits(4);
    ran.says("the migration failed")
        .says("migration 9999, which only a newer program knows");
    assert_eq!(world.serving().await, world.site.image("v1"));
    world
        .sql("DELETE FROM aip_schema_migrations WHERE version = 9999")
        .await;
}
