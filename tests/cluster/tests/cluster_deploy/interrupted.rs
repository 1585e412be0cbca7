//! Commands that are killed or meet each other.

use aip_apply::apply::FailPoint;
use kube::api::DeleteParams;
use strum::IntoEnumIterator as _;
use tokio::process::Command;

use crate::test_project::{Running, TestProject, server};

/// The points that only `destroy` reaches.
const OF_DELETION: [FailPoint; 2] = [FailPoint::DeletionStarted, FailPoint::DeletionCompleted];

/// Publishes an image and writes a stack file in which everything differs that a run can change.
fn next_version(project: &TestProject, tag: &str) {
    project.push(tag, server());
    project.write(tag, &format!("extra_env: {{VERSION: {tag}}}"));
}

async fn converges(project: &TestProject, tag: &str) {
    project.up().await.exits(0);
    project
        .run(&["preview", "--expect-no-changes"])
        .await
        .exits(0);
    let live = project.deployment().await;
    assert_eq!(
        live.data["spec"]["template"]["spec"]["containers"][0]["image"],
        project.image(tag)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_kill_at_any_point_the_next_up_converges() {
    let project = TestProject::new("kill").await;
    // The namespace is created once.
    project
        .kill_at(FailPoint::NamespaceCreated, &["up", "--yes"])
        .await;
    let points = FailPoint::iter()
        .filter(|point| {
            let of_others = [
                FailPoint::NamespaceCreated,
                FailPoint::KeysWritten,
                FailPoint::DatabaseMoved,
                FailPoint::MoveWritten,
            ];
            !of_others.contains(point)
        })
        .filter(|point| !OF_DELETION.contains(point));
    for point in points.clone() {
        let tag = format!("after-{point}");
        next_version(&project, &tag);
        project.kill_at(point, &["up", "--yes"]).await;
        converges(&project, &tag).await;
    }
    // What several of them left is found as well.
    for point in points {
        next_version(&project, &format!("again-{point}"));
        project.kill_at(point, &["up", "--yes"]).await;
    }
    next_version(&project, "last");
    converges(&project, "last").await;
    project.run(&["destroy", "--yes"]).await.exits(0);
    assert_eq!(project.versions().await, [], "nothing is left behind");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_kill_at_any_point_the_next_destroy_completes() {
    let project = TestProject::new("killdestroy").await;
    let points = OF_DELETION.into_iter().chain([
        FailPoint::LeaseAcquired,
        FailPoint::IntentRecorded,
        FailPoint::InventoryPromoted,
        FailPoint::HistoryRecorded,
    ]);
    for point in points {
        project.up().await.exits(0);
        project.kill_at(point, &["destroy", "--yes"]).await;
        project.run(&["destroy", "--yes"]).await.exits(0);
        assert_eq!(project.versions().await, [], "{point}");
    }
    project.up().await.exits(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_lost_its_last_replica_set_is_pruned_by_the_next_up_and_is_no_change() {
    let project = TestProject::new("trim").await;
    project.up().await.exits(0);
    let first = project.names("", "Secret").await;
    let replica_set = project.names("apps", "ReplicaSet").await.remove(0);
    project.write("v1", "extra_env: {ROUND: \"2\"}");
    project.up().await.exits(0);
    assert_eq!(project.names("", "Secret").await.len(), first.len() + 1);

    // What the Deployment's controller does with the oldest ones, whenever it likes.
    let replica_sets = project.api("apps", "ReplicaSet");
    let now = DeleteParams::background();
    replica_sets.delete(&replica_set, &now).await.unwrap();
    project
        .run(&["preview", "--expect-no-changes"])
        .await
        .exits(0)
        .says("1 superseded to prune");
    project.run(&["drift"]).await.exits(0);
    project
        .run(&["up", "--yes", "--expect-no-changes"])
        .await
        .exits(0)
        .says("1 superseded pruned");
    assert_eq!(project.names("", "Secret").await.len(), first.len());
    project
        .run(&["preview", "--expect-no-changes"])
        .await
        .exits(0)
        .does_not_say("superseded");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_ups_at_once_one_proceeds_and_the_other_says_who_is_at_work() {
    let project = TestProject::new("race").await;
    let (first, second) = tokio::join!(project.up(), project.up());
    let (winner, loser) = if first.code == 0 {
        (first, second)
    } else {
        (second, first)
    };
    winner.exits(0);
    // The slower one may also have come after everything was done, and found its plan outdated.
    let loser = loser.exits(1);
    assert!(
        loser.err.contains("the stack is in use: `up` by operator@")
            || loser.err.contains("the cluster changed"),
        "{}",
        loser.err
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_keeps_everybody_out_until_it_is_opened() {
    let project = TestProject::new("lock").await;
    project.run(&["lock"]).await.exits(0);
    project
        .up()
        .await
        .exits(1)
        .says("the stack was locked by operator@");
    project.run(&["lock"]).await.exits(1);
    assert_eq!(project.versions().await, []);
    project.run(&["unlock", "--yes"]).await.exits(0);
    project.run(&["unlock", "--yes"]).await.exits(1);
    project.run(&["preview"]).await.exits(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_up_gives_the_lease_back_and_the_next_one_goes_on() {
    let project = TestProject::new("sigint").await;
    project.push("slow", server().variable("READY_AFTER_MS", "20000"));
    project.write("slow", "");
    let command = project.command(&["up", "--yes"]);
    let running = Running::start(command, "ReplicaSet ").await;
    let pid = running.child.id().unwrap().to_string();
    let sent = Command::new("kill")
        .args(["-INT", &pid])
        .status()
        .await
        .unwrap();
    assert!(sent.success());
    assert_eq!(running.ends().await, Some(8));

    // Nothing is left to change; still this is the run that succeeded, to go back to.
    project
        .run(&["up", "--yes", "--expect-no-changes"])
        .await
        .exits(0);
    let history = project.run(&["stack", "history", "--json"]).await.exits(0);
    let history: serde_json::Value = serde_json::from_str(&history.out).unwrap();
    assert_eq!(history[0]["image"], project.image("slow"));
    assert_eq!(history[0]["outcome"], "succeeded");
    project.up().await.exits(0);
    let again = project.run(&["stack", "history", "--json"]).await.exits(0);
    let again: serde_json::Value = serde_json::from_str(&again.out).unwrap();
    assert_eq!(again, history, "it is written down once");

    project.write("v1", "");
    project.up().await.exits(0);
    project
        .run(&["preview", "--expect-no-changes"])
        .await
        .exits(0);
}
