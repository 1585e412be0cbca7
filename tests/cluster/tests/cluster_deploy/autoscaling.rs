//! The number of Pods changes hands without a Pod being lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use crate::site::Site;

/// The least number of replicas that the Deployment asked for since this was made.
struct Least {
    seen: Arc<AtomicI64>,
    watch: tokio::task::JoinHandle<()>,
}

impl Least {
    fn watch(site: &Site) -> Self {
        let seen = Arc::new(AtomicI64::new(i64::MAX));
        let (api, noted) = (site.api("apps", "Deployment"), Arc::clone(&seen));
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

fn autoscaled(site: &Site, least: u32) {
    site.write(
        "v1",
        &format!("autoscaling: {{min_replicas: {least}, max_replicas: 10}}"),
    );
    site.edit("    replicas: 2\n", "");
}

#[tokio::test(flavor = "multi_thread")]
async fn autoscaling_is_turned_on_and_off_without_a_moment_of_one_pod() {
    let site = Site::new("scale").await;
    site.edit("replicas: 2", "replicas: 4");
    site.up().await.exits(0);
    let pods = site.names("", "Pod").await;

    autoscaled(&site, 3);
    let preview = site.run(&["preview", "--diff"]).await.exits(0);
    assert!(!preview.out.contains("replicas: 4"), "{}", preview.out);
    let least = Least::watch(&site);
    site.up().await.exits(0);
    let live = site.deployment().await;
    assert_eq!(
        (least.stop(), live.data["spec"]["replicas"].as_i64()),
        (4, Some(4))
    );
    // The Job's Pod is among them.
    assert_eq!(site.names("", "Pod").await, pods, "no Pod was deleted");
    site.run(&["preview", "--expect-no-changes"]).await.exits(0);
    site.run(&["drift"]).await.exits(0);

    // Off again: the number is ours, whoever set it last.
    site.write("v1", "");
    site.up().await.exits(0);
    assert_eq!(site.deployment().await.data["spec"]["replicas"], 2);
    assert_eq!(
        site.names("autoscaling", "HorizontalPodAutoscaler").await,
        [""; 0]
    );

    // On with more than there were: at least as many as the autoscaler wants, at once.
    autoscaled(&site, 3);
    let least = Least::watch(&site);
    site.up().await.exits(0);
    assert_eq!(site.deployment().await.data["spec"]["replicas"], 3);
    assert_eq!(least.stop(), 2, "it was two before");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_deployment_begins_with_the_least_that_its_autoscaler_allows() {
    let site = Site::new("scaled").await;
    autoscaled(&site, 3);
    let least = Least::watch(&site);
    site.up().await.exits(0);
    assert_eq!(least.stop(), 3);
    site.run(&["preview", "--expect-no-changes"]).await.exits(0);
}
