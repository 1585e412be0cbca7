//! Rollouts that cannot succeed: named at once, bounded, and undone if that is wished.

use std::time::Duration;

use cluster::Image;
use tokio::time::Instant;

use crate::site::Site;

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_cannot_be_pulled_is_named_in_seconds_and_the_old_pods_serve_on() {
    let site = Site::new("pull").await;
    site.up().await.exits(0);

    site.write("never-pushed", "migrations: {mode: none}");
    let begun = Instant::now();
    site.up()
        .await
        .exits(4)
        .says("ImagePullBackOff")
        .says("never-pushed");
    let taken = begun.elapsed();
    assert!(taken < Duration::from_secs(10), "{taken:?}");
    let live = site.api("apps", "Deployment").get("aip").await.unwrap();
    assert_eq!(live.data["status"]["availableReplicas"], 2);

    site.write("v1", "");
    site.up().await.exits(0);
    site.run(&["preview", "--expect-no-changes"]).await.exits(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn rollback_on_failure_restores_the_last_good_revision() {
    let site = Site::new("undo").await;
    site.up().await.exits(0);

    site.push("crash", Image::program("sh"));
    let crash = r#"server_args: ["-c", "echo no database here >&2; exit 3"]"#;
    site.write("crash", &format!("migrations: {{mode: none}}\n{crash}"));
    let ran = site
        .run(&["up", "--yes", "--rollback-on-failure", "--timeout", "120"])
        .await
        .exits(4)
        .says("CrashLoopBackOff")
        .says("no database here");
    assert!(ran.err.contains("Going back to revision 1"), "{}", ran.err);
    let live = site.deployment().await;
    assert_eq!(
        live.data["spec"]["template"]["spec"]["containers"][0]["image"],
        site.image("v1")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_migration_leaves_the_old_pods_alone_and_is_run_again() {
    let site = Site::new("migrate").await;
    site.up().await.exits(0);
    let before = site.deployment().await;

    site.write("v1", "extra_env: {A: b}");
    let text = std::fs::read_to_string(site.stack_file()).unwrap();
    let failing = text.replace("\"0\", migrated", "\"7\", broken schema");
    std::fs::write(site.stack_file(), &failing).unwrap();
    site.up()
        .await
        .exits(4)
        .says("the migration failed")
        .says("broken schema");
    let after = site.deployment().await;
    assert_eq!(after.metadata.generation, before.metadata.generation);

    // The same Job again: it failed, so it is run again, and fails again.
    site.up().await.exits(4).says("the migration failed");
    std::fs::write(site.stack_file(), text).unwrap();
    site.up().await.exits(0);
}
