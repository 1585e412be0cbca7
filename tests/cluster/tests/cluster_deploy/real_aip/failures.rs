//! Rollouts of the real `aip` that cannot succeed, while the old Pods are in use.

use std::time::Duration;

use tokio::time::Instant;

use super::aip_project::AipProject;
use super::usage::Usage;

#[tokio::test(flavor = "multi_thread")]
async fn broken_images_and_migrations_leave_the_old_pods_serving() {
    let aip_project = AipProject::new("faulty", 2).await;
    aip_project.up().await.exits(0);
    aip_project.balancer.wait_for(2).await;
    let app = aip_project
        .sign_in(&aip_project.sandbox.accounts.alice)
        .await;
    let usage = Usage::start(&app).await;

    an_image_that_nobody_has_pushed_is_named_in_seconds(&aip_project).await;
    a_server_that_crashes_is_named_and_undone(&aip_project).await;
    a_schema_that_only_a_newer_program_knows_is_left_alone(&aip_project).await;

    usage.stop_without_a_loss().await;
    let alice = &aip_project.sandbox.accounts.alice.did;
    assert_eq!(aip_project.sandbox.pds.live_sessions(alice), 1);

    // What was wrong is mended: the same stack goes on.
    aip_project.push("v2");
    aip_project.set_tag("v2").await;
    aip_project.up().await.exits(0).says("updated (");
    app.session().await.unwrap();
}

async fn an_image_that_nobody_has_pushed_is_named_in_seconds(aip_project: &AipProject) {
    aip_project.set_tag("never-pushed").await;
    let begun = Instant::now();
    let ran = aip_project.up().await;
    let taken = begun.elapsed();
    ran.exits(4)
        .says("ImagePullBackOff")
        .says(&aip_project.project.image("never-pushed"));
    assert!(taken < Duration::from_secs(10), "{taken:?}");
    assert_eq!(aip_project.serving().await, aip_project.project.image("v1"));
}

async fn a_server_that_crashes_is_named_and_undone(aip_project: &AipProject) {
    aip_project.push_that_only_migrates("crashing", "no such table: moon phases");
    aip_project.set_tag("crashing").await;
    let ran = aip_project
        .up_with(&["--rollback-on-failure"])
        .await
        .exits(4);
    ran.says("CrashLoopBackOff")
        .says("no such table: moon phases")
        .says("Rolling back to revision 1");
    assert_eq!(aip_project.serving().await, aip_project.project.image("v1"));
}

async fn a_schema_that_only_a_newer_program_knows_is_left_alone(aip_project: &AipProject) {
    aip_project.push("older");
    aip_project.set_tag("older").await;
    aip_project
        .sql(
            "INSERT INTO aip_schema_migrations \
             (version, description, success, checksum, execution_time) \
             VALUES (9999, 'of a newer program', true, '', 0)",
        )
        .await;
    let ran = aip_project.up().await.exits(4);
    ran.says("the migration failed")
        .says("migration 9999, which only a newer program knows");
    assert_eq!(aip_project.serving().await, aip_project.project.image("v1"));
    aip_project
        .sql("DELETE FROM aip_schema_migrations WHERE version = 9999")
        .await;
}
