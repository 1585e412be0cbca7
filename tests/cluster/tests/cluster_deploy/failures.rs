//! Rollouts that cannot succeed: named at once, bounded, and undone if that is wished.

use std::time::Duration;

use cluster::Image;
use tokio::time::Instant;

use crate::test_project::TestProject;

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_cannot_be_pulled_is_named_in_seconds_and_the_old_pods_serve_on() {
    let project = TestProject::new("pull").await;
    project.up().await.exits(0);

    project.write("never-pushed", "migrations: {mode: none}");
    let begun = Instant::now();
    project
        .up()
        .await
        .exits(4)
        .says("ImagePullBackOff")
        .says("never-pushed");
    let taken = begun.elapsed();
    assert!(taken < Duration::from_secs(10), "{taken:?}");
    let live = project.api("apps", "Deployment").get("aip").await.unwrap();
    assert_eq!(live.data["status"]["availableReplicas"], 2);

    project.write("v1", "");
    project.up().await.exits(0);
    project
        .run(&["preview", "--expect-no-changes"])
        .await
        .exits(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn rollback_on_failure_restores_the_last_good_revision() {
    let project = TestProject::new("undo").await;
    project.up().await.exits(0);

    project.push("crash", Image::program("sh"));
    let crash = r#"server_args: ["-c", "echo no database here >&2; exit 3"]"#;
    project.write("crash", &format!("migrations: {{mode: none}}\n{crash}"));
    let ran = project
        .run(&["up", "--yes", "--rollback-on-failure", "--timeout", "120"])
        .await
        .exits(4)
        .says("CrashLoopBackOff")
        .says("no database here");
    assert!(
        ran.err.contains("Rolling back to revision 1"),
        "{}",
        ran.err
    );
    let live = project.deployment().await;
    assert_eq!(
        live.data["spec"]["template"]["spec"]["containers"][0]["image"],
        project.image("v1")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_migration_leaves_the_old_pods_alone_and_is_run_again() {
    let project = TestProject::new("migrate").await;
    project.up().await.exits(0);
    let before = project.deployment().await;

    project.write("v1", "extra_env: {A: b}");
    let text = std::fs::read_to_string(project.stack_file()).unwrap();
    let failing = text.replace("\"0\", migrated", "\"7\", broken schema");
    std::fs::write(project.stack_file(), &failing).unwrap();
    project
        .up()
        .await
        .exits(4)
        .says("the migration failed")
        .says("broken schema");
    let after = project.deployment().await;
    assert_eq!(after.metadata.generation, before.metadata.generation);

    // The same Job again: it failed, so it is run again, and fails again.
    project.up().await.exits(4).says("the migration failed");
    std::fs::write(project.stack_file(), text).unwrap();
    project.up().await.exits(0);
}
