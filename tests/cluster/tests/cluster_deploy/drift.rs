//! What others changed in the cluster is seen, told apart from one's own change, and repaired;
//! what others own is left alone.

use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::site::{Site, server};

#[tokio::test(flavor = "multi_thread")]
async fn a_scaled_deployment_is_drift_and_is_set_back() {
    let site = Site::new("drift").await;
    site.up().await.exits(0);
    site.run(&["drift"]).await.exits(0);

    let deployments = site.api("apps", "Deployment");
    let scale = json!({"spec": {"replicas": 3}});
    let kubectl = PatchParams {
        field_manager: Some("kubectl".to_owned()),
        ..PatchParams::default()
    };
    deployments
        .patch("aip", &kubectl, &Patch::Merge(&scale))
        .await
        .unwrap();
    let drift = site.run(&["drift"]).await.exits(7);
    assert!(
        drift
            .out
            .contains("drift: .spec.replicas was changed by \"kubectl\""),
        "{}",
        drift.out
    );

    // One's own change is no drift, and both are shown.
    site.push("v2", server());
    site.write("v2", "");
    let preview = site.run(&["preview"]).await.exits(0);
    assert!(preview.out.contains("drift"), "{}", preview.out);
    site.up().await.exits(0);
    assert_eq!(site.deployment().await.data["spec"]["replicas"], 2);
    site.run(&["drift"]).await.exits(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_field_of_another_manager_is_a_conflict_that_only_a_flag_overrules() {
    let site = Site::new("conflict").await;
    site.up().await.exits(0);

    let deployments = site.api("apps", "Deployment");
    let theirs = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "aip", "annotations": {"team": "theirs"}},
        "spec": {"template": {"spec": {"containers": [{"name": "aip", "env": [{"name": "EXTRA", "value": "theirs"}]}]}}},
    });
    deployments
        .patch(
            "aip",
            &PatchParams::apply("platform"),
            &Patch::Apply(&theirs),
        )
        .await
        .unwrap();
    // What we never applied is theirs and in nobody's way.
    site.run(&["preview", "--expect-no-changes"]).await.exits(0);

    let taken = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "aip"},
        "spec": {"template": {"spec": {"terminationGracePeriodSeconds": 77, "containers": []}}},
    });
    deployments
        .patch(
            "aip",
            &PatchParams::apply("platform").force(),
            &Patch::Apply(&taken),
        )
        .await
        .unwrap();
    // We applied it before, so it is drift.
    site.run(&["preview"])
        .await
        .exits(0)
        .says("drift: .spec.template.spec.terminationGracePeriodSeconds");
    site.up().await.exits(0);
    let live = site.deployment().await;
    assert_eq!(
        live.data["spec"]["template"]["spec"]["terminationGracePeriodSeconds"],
        5
    );
}
