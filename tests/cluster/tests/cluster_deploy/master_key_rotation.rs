//! `keys rotate --auto --purpose master`: three deployments and a Job, killed in between, and met by others.

use std::time::Duration;

use aip_apply::apply::FailPoint;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};

use crate::key_rotation::{copy, live, secrets, time_passes};
use crate::test_project::{CommandOutput, TestProject};

const AUTO: [&str; 7] = [
    "keys",
    "rotate",
    "--auto",
    "--purpose",
    "master",
    "--every",
    "90d",
];

/// The master key of the stories.
const OLD: &str = "m";

async fn auto(project: &TestProject) -> CommandOutput {
    project.run(&AUTO).await
}

/// The primary key that the Pods have, and the ids of all.
async fn live_keys(project: &TestProject) -> (String, Vec<String>) {
    let set = live(project, "aip-env", "AIP_MASTER_KEYS").await;
    let set: Value = serde_json::from_str(&set).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let keys = set["keys"].as_array().unwrap().iter();
    (
        text(&set["primary"]),
        keys.map(|key| text(&key["kid"])).collect(),
    )
}

fn file(project: &TestProject) -> String {
    std::fs::read_to_string(project.stack_file()).unwrap()
}

/// The Jobs that seal again.
async fn jobs(project: &TestProject) -> Vec<String> {
    let mut names = project.names("batch", "Job").await;
    names.retain(|name| name.starts_with("aip-rekey-"));
    names
}

/// The labels of a server Pod.
fn server_labels() -> Value {
    json!({"app.kubernetes.io/instance": "aip", "app.kubernetes.io/name": "aip"})
}

/// A Pod with the environment of an earlier deployment.
fn left_over(project: &TestProject, name: &str, labels: &Value) -> Value {
    let secret = format!("aip-env-{}-0000000000", project.stack);
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": project.namespace(), "labels": labels},
        "spec": {"containers": [{
            "name": "aip",
            "image": project.image("v1"),
            "envFrom": [{"secretRef": {"name": secret, "optional": true}}],
        }]},
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_key_is_replaced_by_three_deployments_and_a_job_that_seals_again() {
    let project = TestProject::new("master").await;
    project.write("v1", "extra_env: {REKEY_MS: '6000'}");
    project.up().await.exits(0);
    let old_copy = copy(&project, "Pulumi.old.yaml");

    auto(&project).await.exits(0).says("(master)");
    let (primary, kids) = live_keys(&project).await;
    assert_eq!(
        (primary.as_str(), kids.len(), kids[0].as_str()),
        (OLD, 2, OLD)
    );
    let new = kids[1].clone();
    let text = file(&project);
    assert!(!text.contains(&new), "the set is encrypted");

    // Not before every Pod knows the key. Nothing is written until then.
    let versions = secrets(&project).await;
    auto(&project)
        .await
        .exits(0)
        .says("nothing is due now; the next step is due at 20");
    assert_eq!(
        (secrets(&project).await, file(&project)),
        (versions.clone(), text)
    );
    let with_copy = [&AUTO[..], &["--config-file", &old_copy]].concat();
    project
        .run(&with_copy)
        .await
        .exits(1)
        .says("config refresh");

    // Nor while a Pod does not know it.
    time_passes(&project);
    let pod = left_over(&project, "left-over", &server_labels());
    project.apply("", "Pod", pod).await;
    let refused = "Pod left-over still runs with master keys of an earlier deployment";
    auto(&project).await.exits(1).says(refused);
    assert_eq!(secrets(&project).await, versions);
    // One that is stopping is waited for.
    let pods = project.api("", "Pod");
    let at_once = DeleteParams::default().grace_period(0);
    let finalizers = |names: Value| Patch::Merge(json!({"metadata": {"finalizers": names}}));
    let changed = PatchParams::default();
    let held = finalizers(json!(["example.org/held"]));
    pods.patch("left-over", &changed, &held).await.unwrap();
    pods.delete("left-over", &at_once).await.unwrap();
    let (activated, ()) = tokio::join!(auto(&project), async {
        tokio::time::sleep(Duration::from_secs(3)).await;
        let released = finalizers(Value::Null);
        pods.patch("left-over", &changed, &released).await.unwrap();
    });

    activated.exits(0).says("activated: ");
    assert_eq!(
        live_keys(&project).await,
        (new.clone(), vec![OLD.to_owned(), new.clone()])
    );
    auto(&project).await.exits(0).says("nothing is due now");

    // No key is removed while a Pod seals with the old one, be it a server or what an operator has started.
    time_passes(&project);
    for (name, labels) in [
        ("server", server_labels()),
        ("import", json!({"job-name": "import"})),
    ] {
        project
            .apply("", "Pod", left_over(&project, name, &labels))
            .await;
        let refused = format!("Pod {name} still runs with master keys of an earlier deployment");
        auto(&project).await.exits(1).says(&refused);
        assert_eq!(jobs(&project).await, [""; 0]);
        pods.delete(name, &at_once).await.unwrap();
    }

    let removed = auto(&project).await.exits(0);
    let removed = removed.says("sealing again: 5 of 10 values (50 %)");
    removed.says("everything is sealed again; removed: m (master)");
    assert_eq!(live_keys(&project).await, (new.clone(), vec![new]));
    assert_eq!(jobs(&project).await, [""; 0]);
    auto(&project).await.exits(0).says("nothing is due now");
    project
        .run(&["preview", "--expect-no-changes"])
        .await
        .exits(0);
    let history = project.run(&["stack", "history", "--json"]).await.exits(0);
    let history: Value = serde_json::from_str(&history.out).unwrap();
    assert_eq!(history[0]["command"], "keys rotate");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_master_key_is_removed_while_values_are_sealed_with_it() {
    let project = TestProject::new("masterfails").await;
    project.write("v1", "extra_env: {REKEY_EXIT_CODE: '1'}");
    project.up().await.exits(0);
    auto(&project).await.exits(0);
    time_passes(&project);
    auto(&project).await.exits(0);
    time_passes(&project);
    let (before, text) = (live_keys(&project).await, file(&project));
    for _ in 0..2 {
        auto(&project).await.exits(4).says("so no key is removed");
        assert_eq!(live_keys(&project).await, before);
        assert_eq!(file(&project), text);
    }
    project.edit("REKEY_EXIT_CODE: '1'", "REKEY_EXIT_CODE: '0'");
    auto(&project)
        .await
        .exits(1)
        .says("differ in more than the keys");
    project.up().await.exits(0);
    time_passes(&project);
    auto(&project).await.exits(0).says("removed: m");
    assert_eq!(live_keys(&project).await.1.len(), 1);
}

// Three stacks, whose rollouts are waited for at the same time. Of a removal, the first pass is the Job.
#[tokio::test(flavor = "multi_thread")]
async fn after_a_kill_before_the_job_the_next_rotation_of_master_keys_completes() {
    let points = [
        (
            FailPoint::LeaseAcquired,
            FailPoint::KeysWritten,
            (FailPoint::LeaseAcquired, 1),
        ),
        (
            FailPoint::KeysWritten,
            FailPoint::WorkloadApplied,
            (FailPoint::MigrationApplied, 1),
        ),
    ];
    killed_rotations_are_completed("masterkill", points).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_kill_behind_the_job_the_next_rotation_of_master_keys_completes() {
    let points = [
        (
            FailPoint::FoundationApplied,
            FailPoint::RolloutCompleted,
            (FailPoint::HistoryRecorded, 1),
        ),
        (
            FailPoint::Pruned,
            FailPoint::InventoryPromoted,
            (FailPoint::KeysWritten, 1),
        ),
    ];
    killed_rotations_are_completed("masterkilljob", points).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_kill_while_keys_are_removed_the_next_rotation_of_master_keys_completes() {
    let points = [
        (
            FailPoint::WorkloadApplied,
            FailPoint::FoundationApplied,
            (FailPoint::WorkloadApplied, 2),
        ),
        (
            FailPoint::HistoryRecorded,
            FailPoint::HistoryRecorded,
            (FailPoint::Pruned, 2),
        ),
    ];
    killed_rotations_are_completed("masterkillremove", points).await;
}

/// Places to be killed at while a key is published, while it is activated, and while the old one is removed.
async fn killed_rotations_are_completed(
    stack: &str,
    points: [(FailPoint, FailPoint, (FailPoint, u32)); 2],
) {
    let project = TestProject::new(stack).await;
    for (publishing, activating, (removing, pass)) in points {
        project.write("v1", &format!("extra_env: {{ROUND: {publishing}}}"));
        project.up().await.exits(0);
        project.kill_at(publishing, &AUTO).await;
        auto(&project).await.exits(0);
        let (primary, kids) = live_keys(&project).await;
        assert_eq!(
            (primary.as_str(), kids.len()),
            (OLD, 2),
            "{publishing}: {kids:?}"
        );

        time_passes(&project);
        project.kill_at(activating, &AUTO).await;
        auto(&project).await.exits(0);
        let new = kids[1].clone();
        assert_eq!(
            live_keys(&project).await,
            (new.clone(), kids),
            "{activating}"
        );

        time_passes(&project);
        project.kill_at_pass(removing, pass, &AUTO).await;
        if pass == 1 {
            let (_, kids) = live_keys(&project).await;
            assert_eq!(kids.len(), 2, "{removing}: {kids:?}");
        }
        auto(&project).await.exits(0);
        assert_eq!(
            live_keys(&project).await,
            (new.clone(), vec![new]),
            "{removing}"
        );
        assert_eq!(jobs(&project).await, [""; 0], "{removing}");
        auto(&project).await.exits(0).says("nothing is due now");
        project
            .run(&["preview", "--expect-no-changes"])
            .await
            .exits(0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_rotations_of_master_keys_at_once_one_proceeds() {
    let project = TestProject::new("masterrace").await;
    project.up().await.exits(0);
    let other_machine = copy(&project, "Pulumi.other.yaml");
    let with_copy = [&AUTO[..], &["--config-file", &other_machine]].concat();
    let (first, second) = tokio::join!(auto(&project), project.run(&with_copy));
    let (winner, loser) = if first.code == 0 {
        (first, second)
    } else {
        (second, first)
    };
    winner.exits(0).says("published: ");
    let loser = loser.exits(1);
    assert!(
        loser
            .err
            .contains("the stack is in use: `keys rotate` by operator@")
            || loser.err.contains("which the stack file lacks"),
        "{}",
        loser.err
    );
    assert_eq!(live_keys(&project).await.1.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stack_that_cannot_rotate_its_master_keys_is_told_why() {
    let project = TestProject::new("masterrefused").await;
    auto(&project)
        .await
        .exits(1)
        .says("run `aip-deploy up` first");
    let by_hand = ["keys", "rotate", "--purpose", "master"];
    project.run(&by_hand).await.exits(2).says("pass --auto");
    project
        .run(&AUTO[..5])
        .await
        .exits(2)
        .says("no period is set");
    let before = file(&project);
    project.edit("\"primary\":\"m\"", "\"primary\":\"n\"");
    auto(&project).await.exits(2).says("has no key `n`");
    std::fs::write(project.stack_file(), &before).unwrap();
    project.edit("AIP_MASTER_KEYS", "ANOTHER_VARIABLE");
    auto(&project)
        .await
        .exits(2)
        .says("aip_config.extra_env.AIP_MASTER_KEYS");
    std::fs::write(project.stack_file(), &before).unwrap();
    project.edit("profile: restricted", "profile: compat");
    auto(&project)
        .await
        .exits(2)
        .says("aip_config.profile restricted");
}
