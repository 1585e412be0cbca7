//! The number of Pods changes hands without a Pod being lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use crate::test_project::TestProject;

/// The least number of replicas that the Deployment asked for since this was made.
struct MinimumReplicas {
    seen: Arc<AtomicI64>,
    watch: tokio::task::JoinHandle<()>,
}

impl MinimumReplicas {
    fn watch(project: &TestProject) -> Self {
        let seen = Arc::new(AtomicI64::new(i64::MAX));
        let (api, noted) = (project.api("apps", "Deployment"), Arc::clone(&seen));
        let watch = tokio::spawn(async move {
            loop {
                if let Ok(live) = api.get("aip").await {
                    let replicas = live.data["spec"]["replicas"].as_i64().unwrap_or(1);
                    noted.fetch_min(replicas, Ordering::SeqCst);
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        Self { seen, watch }
    }

    fn stop(self) -> i64 {
        self.watch.abort();
        self.seen.load(Ordering::SeqCst)
    }
}

fn autoscaled(project: &TestProject, least: u32) {
    project.write(
        "v1",
        &format!("autoscaling: {{min_replicas: {least}, max_replicas: 10}}"),
    );
    project.edit("    replicas: 2\n", "");
}

#[tokio::test(flavor = "multi_thread")]
async fn autoscaling_is_turned_on_and_off_without_a_moment_of_one_pod() {
    let project = TestProject::new("scale").await;
    project.edit("replicas: 2", "replicas: 4");
    project.up().await.exits(0);
    let pods = project.names("", "Pod").await;

    autoscaled(&project, 3);
    let preview = project.run(&["preview", "--diff"]).await.exits(0);
    assert!(!preview.out.contains("replicas: 4"), "{}", preview.out);
    let least = MinimumReplicas::watch(&project);
    project.up().await.exits(0);
    let live = project.deployment().await;
    assert_eq!(
        (least.stop(), live.data["spec"]["replicas"].as_i64()),
        (4, Some(4))
    );
    // The Job's Pod is among them.
    assert_eq!(project.names("", "Pod").await, pods, "no Pod was deleted");
    project
        .run(&["preview", "--expect-no-changes"])
        .await
        .exits(0);
    project.run(&["drift"]).await.exits(0);

    // Off again: the number is ours, whoever set it last.
    project.write("v1", "");
    project.up().await.exits(0);
    assert_eq!(project.deployment().await.data["spec"]["replicas"], 2);
    assert_eq!(
        project
            .names("autoscaling", "HorizontalPodAutoscaler")
            .await,
        [""; 0]
    );

    // On with more than there were: at least as many as the autoscaler wants, at once.
    autoscaled(&project, 3);
    let least = MinimumReplicas::watch(&project);
    project.up().await.exits(0);
    assert_eq!(project.deployment().await.data["spec"]["replicas"], 3);
    assert_eq!(least.stop(), 2, "it was two before");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_deployment_begins_with_the_least_that_its_autoscaler_allows() {
    let project = TestProject::new("scaled").await;
    autoscaled(&project, 3);
    let least = MinimumReplicas::watch(&project);
    project.up().await.exits(0);
    assert_eq!(least.stop(), 3);
    project
        .run(&["preview", "--expect-no-changes"])
        .await
        .exits(0);
}
