//! `keys rotate --auto`: two deployments, killed in between, and met by others.

use std::path::Path;

use aip_apply::apply::FailPoint;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kube::api::DeleteParams;
use serde_json::Value;

use crate::test_project::{CommandOutput, TestProject};

const AUTO: [&str; 5] = ["keys", "rotate", "--auto", "--every", "90d"];

/// The key of the other stories.
const PLAIN_KEY: &str = r#"{"kid":"k1","kty":"EC","crv":"P-256","x":"x","y":"y","d":"d"}"#;
const UPSTREAM_KEY: &str = r#"{"kid":"k1","kty":"EC","crv":"P-256","x":"x","y":"y","d":"d","aip_purpose":"upstream","aip_state":"active"}"#;
const KEYS_FOR_APPS: &str = r#"{"kid":"e1","kty":"EC","crv":"P-256","x":"x","y":"y","d":"d","aip_purpose":"oidc","aip_state":"active"},{"kid":"r1","kty":"RSA","n":"n","e":"AQAB","d":"d","aip_purpose":"oidc","aip_state":"active"}"#;

/// A key for apps whose time was over long ago.
const RETIRED_KEY: &str = r#"{"kid":"o1","kty":"EC","crv":"P-256","x":"x","y":"y","d":"d","aip_purpose":"oidc","aip_state":"retired","aip_retired_since":1}"#;

async fn deployed_stack(name: &str) -> TestProject {
    let project = TestProject::new(name).await;
    let with_apps = format!("{UPSTREAM_KEY},{KEYS_FOR_APPS}");
    project.edit(PLAIN_KEY, &with_apps);
    project.up().await.exits(0);
    project
}

async fn auto(project: &TestProject) -> CommandOutput {
    project.run(&AUTO).await
}

/// What a Secret that the Pods have says under a key.
pub(crate) async fn live(project: &TestProject, logical: &str, key: &str) -> String {
    let deployment = project.deployment().await;
    let pod = &deployment.data["spec"]["template"]["spec"];
    let volumes = pod["volumes"].as_array().unwrap().iter();
    let volumes = volumes.filter_map(|volume| volume["secret"]["secretName"].as_str());
    let env = pod["containers"][0]["envFrom"].as_array().unwrap().iter();
    let env = env.filter_map(|from| from["secretRef"]["name"].as_str());
    let prefix = format!("{logical}-{}-", project.stack);
    let name = volumes.chain(env).find(|name| name.starts_with(&prefix));
    let secret = project.api("", "Secret").get(name.unwrap()).await.unwrap();
    let text = secret.data["data"][key].as_str().unwrap();
    String::from_utf8(STANDARD.decode(text).unwrap()).unwrap()
}

/// Id and state of each key that the Pods have.
async fn live_keys(project: &TestProject) -> Vec<(String, String)> {
    let set = live(project, "aip-signing-keys-json", "signing_keys.json").await;
    let set: Value = serde_json::from_str(&set).unwrap();
    let text = |key: &Value, member: &str| key[member].as_str().unwrap().to_owned();
    let keys = set["keys"].as_array().unwrap().iter();
    keys.map(|key| (text(key, "kid"), text(key, "aip_state")))
        .collect()
}

async fn live_active(project: &TestProject) -> String {
    live(project, "aip-env", "ACTIVE_SIGNING_KEYS").await
}

/// The Secrets, which every deployment of keys adds to. The Deployment's status changes by itself.
pub(crate) async fn secrets(project: &TestProject) -> Vec<(String, Option<String>)> {
    let mut versions = project.versions().await;
    versions.retain(|(name, _)| name.starts_with("Secret "));
    versions
}

/// Lets every deployment of the history have ended long ago.
pub(crate) fn time_passes(project: &TestProject) {
    let history = project
        .state()
        .join(format!(".aip-deploy/aip/{}/history", project.stack));
    for entry in std::fs::read_dir(history).unwrap() {
        let path = entry.unwrap().path();
        // The folder also holds the files that are locked.
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let mut record: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        record["ended"] = "2026-01-01T00:00:00Z".into();
        std::fs::write(path, record.to_string()).unwrap();
    }
}

pub(crate) fn copy(project: &TestProject, name: &str) -> String {
    let path = project.stack_file().with_file_name(name);
    std::fs::copy(project.stack_file(), &path).unwrap();
    path.display().to_string()
}

async fn with_file(project: &TestProject, file: &str) -> CommandOutput {
    project
        .run(&[&AUTO[..], &["--config-file", file]].concat())
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_published_and_ten_minutes_later_activated_each_with_a_deployment() {
    let project = deployed_stack("rotate").await;
    let old_copy = copy(&project, "Pulumi.old.yaml");
    auto(&project)
        .await
        .exits(0)
        .says("(upstream, ES256)")
        .says("(oidc, ES256)")
        .says("(oidc, RS256)")
        .says("the next step is due at 20");
    let published = live_keys(&project).await;
    assert_eq!(published.len(), 6, "{published:?}");
    assert!(published[3..].iter().all(|(_, state)| state == "published"));
    assert_eq!(live_active(&project).await, r#"["k1"]"#);
    let text = std::fs::read_to_string(project.stack_file()).unwrap();
    assert!(
        !text.contains("k1\",") && text.contains("secure: v1:"),
        "{text}"
    );

    // Not before everybody knows the keys. Nothing is written until then.
    let versions = secrets(&project).await;
    auto(&project).await.exits(0).says("nothing is due now");
    assert_eq!(secrets(&project).await, versions);
    assert_eq!(std::fs::read_to_string(project.stack_file()).unwrap(), text);

    // Another machine has a copy of the stack file from before.
    with_file(&project, &old_copy)
        .await
        .exits(1)
        .says("config refresh");
    assert_eq!(secrets(&project).await, versions);

    time_passes(&project);
    auto(&project).await.exits(0).says("activated: ");
    let activated = live_keys(&project).await;
    let states: Vec<&str> = activated.iter().map(|(_, state)| state.as_str()).collect();
    assert_eq!(
        states,
        [
            "published",
            "published",
            "published",
            "active",
            "active",
            "active"
        ]
    );
    assert_eq!(
        live_active(&project).await,
        format!(r#"["{}"]"#, activated[3].0)
    );
    project
        .run(&["preview", "--expect-no-changes"])
        .await
        .exits(0);

    // When the tokens of the old keys are over, those for apps are retired; the other one stays.
    time_passes(&project);
    auto(&project)
        .await
        .exits(0)
        .says("retired: e1")
        .says("retired: r1");
    let states: Vec<String> = live_keys(&project)
        .await
        .into_iter()
        .map(|key| key.1)
        .collect();
    assert_eq!(
        states,
        [
            "published",
            "retired",
            "retired",
            "active",
            "active",
            "active"
        ]
    );
    auto(&project).await.exits(0).says("nothing is due now");
    let history = project.run(&["stack", "history", "--json"]).await.exits(0);
    let history: Value = serde_json::from_str(&history.out).unwrap();
    assert_eq!(history[0]["command"], "keys rotate");
}

// Three stacks, whose rollouts are waited for at the same time.
#[tokio::test(flavor = "multi_thread")]
async fn after_a_kill_before_the_first_write_the_next_rotation_completes() {
    let points = [
        (FailPoint::KeysWritten, FailPoint::LeaseAcquired),
        (FailPoint::LeaseAcquired, FailPoint::KeysWritten),
    ];
    killed_rotations_are_completed("rotatekill", points).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_kill_while_objects_are_applied_the_next_rotation_completes() {
    let points = [
        (FailPoint::IntentRecorded, FailPoint::FoundationApplied),
        (FailPoint::WorkloadApplied, FailPoint::RolloutCompleted),
    ];
    killed_rotations_are_completed("rotatekillapply", points).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_kill_when_objects_are_applied_the_next_rotation_completes() {
    let points = [
        (FailPoint::Pruned, FailPoint::InventoryPromoted),
        (FailPoint::HistoryRecorded, FailPoint::WorkloadApplied),
    ];
    killed_rotations_are_completed("rotatekillafter", points).await;
}

/// Each point is a place to be killed at while a key is published, or while it is activated.
async fn killed_rotations_are_completed(stack: &str, points: [(FailPoint, FailPoint); 2]) {
    let project = TestProject::new(stack).await;
    for (publishing, activating) in points {
        // A set without times: its key has signed long enough.
        project.write("v1", &format!("extra_env: {{ROUND: {publishing}}}"));
        project.edit(PLAIN_KEY, UPSTREAM_KEY);
        project.up().await.exits(0);
        project.kill_at(publishing, &AUTO).await;
        auto(&project).await.exits(0);
        let keys = live_keys(&project).await;
        assert_eq!(
            keys.len(),
            2,
            "{publishing}: one key is published, once: {keys:?}"
        );
        assert_eq!(live_active(&project).await, r#"["k1"]"#, "{publishing}");

        time_passes(&project);
        project.kill_at(activating, &AUTO).await;
        auto(&project).await.exits(0);
        let keys = live_keys(&project).await;
        let active = format!(r#"["{}"]"#, keys[1].0);
        assert_eq!(live_active(&project).await, active, "{activating}");
        assert_eq!(keys.len(), 2, "{activating}: {keys:?}");
        auto(&project).await.exits(0).says("nothing is due now");
        project
            .run(&["preview", "--expect-no-changes"])
            .await
            .exits(0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_kill_while_a_retired_key_is_removed_the_next_rotation_completes() {
    let project = TestProject::new("rotateremove").await;
    let points = [
        FailPoint::KeysWritten,
        FailPoint::FoundationApplied,
        FailPoint::Pruned,
    ];
    for point in points {
        project.write("v1", &format!("extra_env: {{ROUND: {point}}}"));
        let with_apps = format!("{UPSTREAM_KEY},{RETIRED_KEY},{KEYS_FOR_APPS}");
        project.edit(PLAIN_KEY, &with_apps);
        project.up().await.exits(0);
        project.kill_at(point, &AUTO).await;
        auto(&project).await.exits(0);
        let keys = live_keys(&project).await;
        assert_eq!(keys.len(), 6, "{point}: {keys:?}");
        assert!(keys.iter().all(|(kid, _)| kid != "o1"), "{point}: {keys:?}");
        auto(&project).await.exits(0).says("nothing is due now");
        project
            .run(&["preview", "--expect-no-changes"])
            .await
            .exits(0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_rotations_at_once_one_proceeds_and_a_copy_that_was_overtaken_is_refused() {
    let project = deployed_stack("rotaterace").await;
    let other_machine = copy(&project, "Pulumi.other.yaml");
    let before = std::fs::read_to_string(&other_machine).unwrap();
    let (first, second) = tokio::join!(auto(&project), with_file(&project, &other_machine));
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
    assert_eq!(live_keys(&project).await.len(), 6);

    // A deployment that was killed before it came into the history is found in the cluster.
    let own = std::fs::read_to_string(project.stack_file()).unwrap();
    let won = if own == before {
        Path::new(&other_machine)
    } else {
        &project.stack_file()
    };
    let text = std::fs::read_to_string(won).unwrap();
    std::fs::write(project.stack_file(), &text).unwrap();
    let behind = copy(&project, "Pulumi.behind.yaml");
    time_passes(&project);
    project.kill_at(FailPoint::Pruned, &AUTO).await;
    // The copy knows the same keys; that they were activated later is in the Secret alone.
    let refused = with_file(&project, &behind).await.exits(1);
    assert!(
        refused.err.contains("Secret aip-rotaterace/"),
        "{}",
        refused.err
    );
    auto(&project).await.exits(0);
    auto(&project).await.exits(0).says("nothing is due now");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stack_without_pods_is_not_brought_back_by_a_rotation_that_is_due() {
    let project = deployed_stack("rotategone").await;
    let text = || std::fs::read_to_string(project.stack_file()).unwrap();
    let before = text();
    // By somebody else: the history still has the deployment.
    let deployments = project.api("apps", "Deployment");
    let name = project.names("apps", "Deployment").await.remove(0);
    let foreground = DeleteParams::foreground();
    deployments.delete(&name, &foreground).await.unwrap();
    let refused = "was destroyed: run `aip-deploy up` first";
    let secrets_before = secrets(&project).await;
    auto(&project).await.exits(1).says(refused);
    assert_eq!(secrets(&project).await, secrets_before);
    assert_eq!(text(), before);

    project.run(&["destroy", "--yes"]).await.exits(0);
    time_passes(&project);
    auto(&project).await.exits(1).says(refused);
    assert_eq!(project.versions().await, []);
    assert_eq!(text(), before);
}
