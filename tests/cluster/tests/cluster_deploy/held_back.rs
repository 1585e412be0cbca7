//! What holds Pods back, as a registry, a quota, an operator and whoever adds nodes do it. Every
//! other cause is judged on recorded objects, beside the code.

use std::time::Duration;

use cluster::eventually;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::ResourceExt as _;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::json;
use tokio::time::Instant;

use crate::test_project::{TestProject, server};

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_registry_is_waited_for_and_a_missing_manifest_is_not() {
    let project = TestProject::new("registry").await;
    project.refuse(
        "v1",
        "unexpected status code: 429 Too Many Requests - toomanyrequests: slow down",
        Duration::from_secs(6),
    );
    // Both the migration's Pod and the Deployment's need it.
    project.up().await.exits(0);

    let hour = Duration::from_hours(1);
    project.refuse("gone", "manifest unknown: manifest unknown", hour);
    for more in ["migrations: {mode: none}", ""] {
        project.write("gone", more);
        let begun = Instant::now();
        project.up().await.exits(4).says("manifest unknown");
        let taken = begun.elapsed();
        assert!(taken < Duration::from_secs(10), "{taken:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_whose_pod_may_not_be_made_says_why() {
    let project = TestProject::new("quota").await;
    let namespace = project.namespace();
    let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
    project.apply("", "Namespace", object).await;
    let quota = json!({"apiVersion": "v1", "kind": "ResourceQuota",
        "metadata": {"name": "none", "namespace": namespace}, "spec": {"hard": {"pods": "0"}}});
    project.apply("", "ResourceQuota", quota).await;
    let begun = Instant::now();
    project
        .up()
        .await
        .exits(4)
        .says("the migration failed")
        .says("exceeded quota");
    let taken = begun.elapsed();
    assert!(taken < Duration::from_secs(20), "{taken:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_deployment_is_said_with_who_paused_it_and_not_waited_for() {
    let project = TestProject::new("paused").await;
    project.up().await.exits(0);
    let kubectl = PatchParams {
        field_manager: Some("kubectl-rollout".to_owned()),
        ..PatchParams::default()
    };
    let pause = json!({"spec": {"paused": true}});
    project
        .api("apps", "Deployment")
        .patch("aip", &kubectl, &Patch::Merge(pause))
        .await
        .unwrap();
    // What changes nothing is not in its way.
    project
        .run(&["preview", "--expect-no-changes"])
        .await
        .exits(0)
        .says("\"kubectl-rollout\" paused it");
    project.push("v2", server());
    project.write("v2", "");
    let before = project.versions().await;
    project.run(&["preview"]).await.exits(0).says("paused");
    let begun = Instant::now();
    project
        .up()
        .await
        .exits(4)
        .says("is paused by \"kubectl-rollout\"");
    let taken = begun.elapsed();
    assert!(taken < Duration::from_secs(10), "{taken:?}");
    assert_eq!(project.versions().await, before, "nothing was written");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_that_somebody_cleaned_away_is_not_run_again() {
    let project = TestProject::new("cleaned").await;
    project.up().await.exits(0).says("migrated");
    for job in project.names("batch", "Job").await {
        let gone = DeleteParams::background();
        project
            .api("batch", "Job")
            .delete(&job, &gone)
            .await
            .unwrap();
    }
    eventually("the Job is gone", async || {
        let jobs = project.names("batch", "Job").await;
        if jobs.is_empty() {
            Ok(())
        } else {
            Err(jobs.join(", "))
        }
    })
    .await;
    project
        .run(&["preview", "--expect-no-changes"])
        .await
        .exits(0);
    project.run(&["drift"]).await.exits(0);
    project.up().await.exits(0).does_not_say("migrated");
    // Another configuration is another migration; a destroyed stack begins anew.
    project.write("v1", "extra_env: {A: b}");
    project.up().await.exits(0).says("migrated");
    project.run(&["destroy", "--yes"]).await.exits(0);
    project.up().await.exits(0).says("migrated");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_is_waited_for_while_a_node_comes_for_it() {
    let project = TestProject::new("nodes").await;
    // More than the only node has, as long as it is as it is.
    project.write(
        "v1",
        "migrations: {mode: none}\nrequests: {cpu: \"900\"}\nlimits: {cpu: \"900\"}",
    );
    project.edit("replicas: 2", "replicas: 1");
    let pods: Api<Pod> = Api::namespaced(project.client.clone(), &project.namespace());
    let karpenter = async {
        let pod = eventually("the Pod has no place", async || {
            let all = pods.list(&ListParams::default()).await;
            let all = all.map_err(|error| error.to_string())?.items;
            let unplaced = all.into_iter().find(|pod| {
                let status = pod.status.clone().unwrap_or_default();
                let conditions = status.conditions.unwrap_or_default();
                conditions
                    .iter()
                    .any(|c| c.reason.as_deref() == Some("Unschedulable"))
            });
            unplaced.ok_or_else(|| "no such Pod".to_owned())
        })
        .await;
        let nominated = json!({"apiVersion": "v1", "kind": "Event", "type": "Normal", "reason": "Nominated",
            "message": "Pod should schedule on: nodeclaim/default-x",
            "metadata": {"name": "nominated", "namespace": project.namespace()},
            "involvedObject": {"kind": "Pod", "name": pod.name_any(), "namespace": project.namespace(),
                               "uid": pod.metadata.uid},
            "firstTimestamp": "2026-01-01T00:00:00Z", "lastTimestamp": "2026-01-01T00:00:00Z"});
        let events = project.api("", "Event");
        let event = serde_json::from_value(nominated).unwrap();
        events.create(&PostParams::default(), &event).await.unwrap();
        // Longer than a Pod without a place is given.
        tokio::time::sleep(Duration::from_secs(33)).await;
        let nodes: Api<Node> = Api::all(project.client.clone());
        let node = nodes
            .list(&ListParams::default())
            .await
            .unwrap()
            .items
            .remove(0);
        let larger = json!({"status": {"allocatable": {"cpu": "2000"}}});
        nodes
            .patch_status(
                &node.name_any(),
                &PatchParams::default(),
                &Patch::Merge(larger),
            )
            .await
            .unwrap();
    };
    let (ran, ()) = tokio::join!(project.up(), karpenter);
    ran.exits(0).says("a node is being added");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_out_says_what_was_known_and_shows_the_log() {
    let project = TestProject::new("unready").await;
    project.push("v1", server().never_ready());
    project.write("v1", "migrations: {mode: none}");
    let ran = project
        .run(&["up", "--yes", "--timeout", "12"])
        .await
        .exits(9);
    let last = ran
        .err
        .trim_end()
        .lines()
        .last()
        .unwrap_or_default()
        .to_owned();
    assert!(last.contains("timed out after 12 s"), "{last}");
    assert!(
        last.contains("probe failed") && last.contains("503"),
        "{last}"
    );
    assert!(ran.out.contains("| listening on"), "{}", ran.out);
}
