//! What others changed in the cluster is seen, told apart from one's own change, and repaired;
//! what others own is left alone.

use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::test_project::{TestProject, server};

#[tokio::test(flavor = "multi_thread")]
async fn a_scaled_deployment_is_drift_and_is_set_back() {
    let project = TestProject::new("drift").await;
    project.up().await.exits(0);
    project.run(&["drift"]).await.exits(0);

    let deployments = project.api("apps", "Deployment");
    let scale = json!({"spec": {"replicas": 3}});
    let kubectl = PatchParams {
        field_manager: Some("kubectl".to_owned()),
        ..PatchParams::default()
    };
    deployments
        .patch("aip", &kubectl, &Patch::Merge(&scale))
        .await
        .unwrap();
    let drift = project.run(&["drift"]).await.exits(7);
    assert!(
        drift
            .out
            .contains("drift: .spec.replicas was changed by \"kubectl\""),
        "{}",
        drift.out
    );

    // One's own change is no drift, and both are shown.
    project.push("v2", server());
    project.write("v2", "");
    let preview = project.run(&["preview"]).await.exits(0);
    assert!(preview.out.contains("drift"), "{}", preview.out);
    project.up().await.exits(0);
    assert_eq!(project.deployment().await.data["spec"]["replicas"], 2);
    project.run(&["drift"]).await.exits(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_own_is_left_alone_and_what_they_took_from_us_is_drift() {
    let project = TestProject::new("shared").await;
    project.up().await.exits(0);

    let deployments = project.api("apps", "Deployment");
    let theirs = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "aip", "annotations": {"team": "theirs"}},
        "spec": {"template": {"spec": {"containers": [
            {"name": "aip", "env": [{"name": "EXTRA", "value": "theirs"}]},
        ]}}},
    });
    deployments
        .patch(
            "aip",
            &PatchParams::apply("platform"),
            &Patch::Apply(&theirs),
        )
        .await
        .unwrap();
    project
        .run(&["preview", "--expect-no-changes"])
        .await
        .exits(0);

    let taken = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "aip"},
        "spec": {"template": {"spec": {"terminationGracePeriodSeconds": 77, "containers": []}}},
    });
    let by_force = PatchParams::apply("platform").force();
    deployments
        .patch("aip", &by_force, &Patch::Apply(&taken))
        .await
        .unwrap();
    project
        .run(&["preview"])
        .await
        .exits(0)
        .says("drift: .spec.template.spec.terminationGracePeriodSeconds");
    project.up().await.exits(0);
    let live = project.deployment().await;
    let pod = &live.data["spec"]["template"]["spec"];
    assert_eq!(pod["terminationGracePeriodSeconds"], 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_field_of_another_manager_is_a_conflict_that_only_a_flag_overrules() {
    const ROLE: &str = "eks.amazonaws.com/role-arn";
    let project = TestProject::new("conflict").await;
    project.up().await.exits(0);
    let accounts = project.api("", "ServiceAccount");
    let theirs = json!({
        "apiVersion": "v1", "kind": "ServiceAccount",
        "metadata": {"name": "aip", "annotations": {ROLE: "arn:aws:iam::000000000000:role/theirs"}},
    });
    accounts
        .patch(
            "aip",
            &PatchParams::apply("platform"),
            &Patch::Apply(&theirs),
        )
        .await
        .unwrap();

    let ours = "arn:aws:iam::000000000000:role/ours";
    project.write("v1", &format!("service_account_role_arn: {ours}"));
    let before = accounts.get("aip").await.unwrap().metadata.resource_version;
    project.run(&["preview"]).await.exits(1).says(
        "conflict: .metadata.annotations.eks.amazonaws.com/role-arn is owned by \"platform\"",
    );
    project.up().await.exits(1).says("--take-ownership");
    let after = accounts.get("aip").await.unwrap().metadata.resource_version;
    assert_eq!(after, before);

    project
        .run(&["up", "--yes", "--take-ownership"])
        .await
        .exits(0);
    let live = accounts.get("aip").await.unwrap();
    assert_eq!(live.metadata.annotations.unwrap()[ROLE], ours);
}
