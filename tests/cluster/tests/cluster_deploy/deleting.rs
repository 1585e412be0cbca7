//! Objects that are being deleted are not there any more, and not gone yet.

use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::json;

use crate::test_project::{Running, TestProject};

const HOLD: &str = "example.com/hold";

async fn hold(project: &TestProject, group: &str, kind: &str, name: &str, finalizers: &[&str]) {
    let patch = json!({"metadata": {"finalizers": finalizers}});
    project
        .api(group, kind)
        .patch(name, &PatchParams::default(), &Patch::Merge(patch))
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_a_finalizer_keeps_is_named_waited_for_and_made_again() {
    let project = TestProject::new("hold").await;
    project.write("v1", "migrations: {mode: none}");
    project.up().await.exits(0);
    hold(&project, "", "Service", "aip-headless", &[HOLD]).await;
    hold(&project, "apps", "Deployment", "aip", &[HOLD]).await;
    let dying = project
        .api("", "Service")
        .get("aip-headless")
        .await
        .unwrap();
    let ran = project.run(&["destroy", "--yes", "--timeout", "3"]).await;
    ran.exits(1).says("Service").says("Deployment").says(HOLD);

    project
        .run(&["preview"])
        .await
        .exits(0)
        .says("being deleted")
        .says(HOLD)
        .says("to create");
    project
        .run(&["preview", "--expect-no-changes"])
        .await
        .exits(7);
    // It does not go: said by name, instead of a success that disappears.
    project
        .run(&["up", "--yes", "--timeout", "3"])
        .await
        .exits(1)
        .says("is still being deleted")
        .says(HOLD);

    // It goes: then it is made again.
    let command = project.command(&["up", "--yes", "--timeout", "120"]);
    let running = Running::start(command, "Updating (hold)").await;
    hold(&project, "", "Service", "aip-headless", &[]).await;
    hold(&project, "apps", "Deployment", "aip", &[]).await;
    assert_eq!(running.ends().await, Some(0));
    let live = project
        .api("", "Service")
        .get("aip-headless")
        .await
        .unwrap();
    assert_ne!(live.metadata.uid, dying.metadata.uid);
    assert_eq!(live.metadata.deletion_timestamp, None);
    project
        .run(&["preview", "--expect-no-changes"])
        .await
        .exits(0);
}

/// What an `up` deletes is gone when it ends, whatever removes the finalizers and however late.
#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_the_stack_no_longer_wants_is_gone_when_up_ends() {
    let project = TestProject::new("goes").await;
    let wanted = "migrations: {mode: none}\nautoscaling: {min_replicas: 2, max_replicas: 4}";
    let unwanted = "migrations: {mode: none}\nnetwork_policy: {enabled: false}";
    for (group, kind) in [
        ("networking.k8s.io", "NetworkPolicy"),
        ("autoscaling", "HorizontalPodAutoscaler"),
    ] {
        project.write("v1", wanted);
        project.edit("    replicas: 2\n", "");
        project.up().await.exits(0);
        hold(&project, group, kind, "aip", &[HOLD]).await;
        project.write("v1", unwanted);
        // Twice: what is not gone is still in the inventory.
        for _ in 0..2 {
            project
                .run(&["up", "--yes", "--timeout", "5"])
                .await
                .exits(1)
                .says(&format!("{kind} aip-goes/aip is still being deleted"))
                .says(HOLD);
        }
        project
            .run(&["preview", "--expect-no-changes"])
            .await
            .exits(7);
        let command = project.command(&["up", "--yes", "--timeout", "120"]);
        let running = Running::start(command, "Updating (goes)").await;
        hold(&project, group, kind, "aip", &[]).await;
        assert_eq!(running.ends().await, Some(0), "{kind}");
        assert_eq!(project.names(group, kind).await, [""; 0], "{kind}");
        project
            .run(&["preview", "--expect-no-changes"])
            .await
            .exits(0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_that_is_being_deleted_is_named_by_every_command() {
    let project = TestProject::new("doomed").await;
    let namespace = project.namespace();
    let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
    project.apply("", "Namespace", object).await;
    let kept = json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "kept", "namespace": namespace, "finalizers": [HOLD]}});
    project.apply("", "ConfigMap", kept).await;
    let namespaces: kube::Api<k8s_openapi::api::core::v1::Namespace> =
        kube::Api::all(project.client.clone());
    namespaces
        .delete(&namespace, &DeleteParams::default())
        .await
        .unwrap();
    let words = format!("{namespace} is being deleted");
    for command in [&["preview"][..], &["up", "--yes"], &["doctor"]] {
        project.run(command).await.exits(1).says(&words);
    }
    assert_eq!(project.versions().await, [], "nothing was written");
    hold(&project, "", "ConfigMap", "kept", &[]).await;
}
