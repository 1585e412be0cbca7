//! Objects that carry the mark of protection.

use kube::api::{Api, DynamicObject, Patch, PatchParams};
use serde_json::{Value, json};

use crate::test_project::TestProject;

/// Sets or removes the mark, as `kubectl annotate` does.
async fn mark(policies: &Api<DynamicObject>, value: Value) {
    let patch = json!({"metadata": {"annotations": {"aip-deploy/protect": value}}});
    let kubectl = PatchParams {
        field_manager: Some("kubectl-annotate".to_owned()),
        ..PatchParams::default()
    };
    let patch = Patch::Merge(patch);
    policies.patch("aip", &kubectl, &patch).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_protected_object_is_kept_by_name_until_its_mark_is_removed() {
    const WITHOUT_POLICY: &str = "network_policy: {enabled: false}";
    let project = TestProject::new("protect").await;
    let policies = project.api("networking.k8s.io", "NetworkPolicy");
    let names = async || project.names("networking.k8s.io", "NetworkPolicy").await;
    project.up().await.exits(0);
    mark(&policies, "true".into()).await;

    // The stack does not desire it any more.
    project.write("v1", WITHOUT_POLICY);
    for command in [&["preview", "--expect-no-changes"][..], &["up", "--yes"]] {
        project
            .run(command)
            .await
            .exits(0)
            .says("kubernetes:networking.k8s.io/v1:NetworkPolicy  aip")
            .says("protected, kept");
        assert_eq!(names().await, ["aip"]);
    }
    mark(&policies, Value::Null).await;
    project.up().await.exits(0).says("1 deleted");
    assert_eq!(names().await, [""; 0]);

    // The whole stack goes.
    project.write("v1", "");
    project.up().await.exits(0);
    mark(&policies, "true".into()).await;
    for _ in 0..2 {
        project
            .run(&["destroy", "--yes"])
            .await
            .exits(0)
            .says("NetworkPolicy aip-protect/aip is protected and was kept")
            .says("aip-deploy/protect");
        assert_eq!(names().await, ["aip"]);
        assert_eq!(project.versions().await, []);
    }
    mark(&policies, Value::Null).await;
    project.run(&["destroy", "--yes"]).await.exits(0);
    assert_eq!(names().await, [""; 0]);
}
