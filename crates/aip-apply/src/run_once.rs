//! Runs a Job that belongs to no deployment, and hands back what its Pod has printed. The Job is deleted in any case.

use std::time::Duration;

use aip_base::terminal_excerpt;
use aip_stack::desired::{Desired, ObjectRef};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, LogParams};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::cluster::{ApiError, PinnedCluster};
use crate::error_text::{printable_line, root_cause};

/// Between two looks at the Pod.
const POLL_INTERVAL: Duration = Duration::from_millis(500);
/// As much of the log is read, in bytes.
const MAX_LOG_BYTES: i64 = 256 * 1024;

/// Why there is no output.
#[derive(Debug, thiserror::Error)]
pub enum RunOnceError {
    /// The API server refuses the Job, or does not answer.
    #[error("{0}")]
    Api(String),
    /// The Pod did not come to its end.
    #[error("{job} did not end within {seconds} s: {reason}")]
    TimedOut {
        /// The Job.
        job: String,
        /// How long it was waited for.
        seconds: u64,
        /// What its Pod waits for.
        reason: String,
    },
    /// The Pod has ended, and what it printed is not to be had.
    #[error("the log of the Pod {pod} cannot be read: {reason}")]
    Log {
        /// The Pod.
        pod: String,
        /// What the API server says.
        reason: String,
    },
}

/// Applies the Job, waits until its Pod has ended, well or not, and returns the lines of its log, printable.
pub async fn run_once(
    cluster: &PinnedCluster,
    job: &Desired,
    timeout: Duration,
) -> Result<Vec<String>, RunOnceError> {
    let object = job.object();
    let failed = |error: ApiError| RunOnceError::Api(error.describe_for(object));
    let live = cluster.apply(job, false).await.map_err(failed)?;
    let output = wait(cluster, object, timeout).await;
    let uid = live["metadata"]["uid"].as_str().unwrap_or_default();
    // Otherwise it goes by its own time limit.
    let _ = cluster.delete(object, uid).await;
    output
}

async fn wait(
    cluster: &PinnedCluster,
    job: &ObjectRef,
    timeout: Duration,
) -> Result<Vec<String>, RunOnceError> {
    let namespace = job.namespace.as_deref().unwrap_or_default();
    let any = ObjectRef::any_pod(namespace);
    let labels = format!("batch.kubernetes.io/job-name={}", job.name);
    let deadline = Instant::now() + timeout;
    loop {
        let pods = cluster.list(&any, Some(&labels)).await;
        let pods = pods.map_err(|error| RunOnceError::Api(error.describe_for(job)))?;
        let ended = |pod: &&Value| {
            matches!(
                pod["status"]["phase"].as_str(),
                Some("Succeeded" | "Failed")
            )
        };
        if let Some(pod) = pods.iter().find(ended) {
            return log(cluster, job, namespace, pod).await;
        }
        if Instant::now() >= deadline {
            return Err(RunOnceError::TimedOut {
                job: job.to_string(),
                seconds: timeout.as_secs(),
                reason: waits_for(pods.first()),
            });
        }
        sleep(POLL_INTERVAL).await;
    }
}

/// What a Pod waits for, in the words of its node or of the scheduler.
fn waits_for(pod: Option<&Value>) -> String {
    let Some(pod) = pod else {
        return "it has no Pod; `kubectl describe` it for the reason, such as a quota or a policy"
            .to_owned();
    };
    let status = &pod["status"];
    let statuses = ["initContainerStatuses", "containerStatuses"];
    let containers = statuses.iter().filter_map(|it| status[*it].as_array());
    let waiting = containers
        .flatten()
        .map(|container| &container["state"]["waiting"])
        .find(|waiting| waiting.is_object());
    let mut conditions = status["conditions"].as_array().into_iter().flatten();
    let unplaced = conditions.find(|it| it["type"] == "PodScheduled" && it["status"] == "False");
    match waiting.or(unplaced) {
        Some(why) => {
            let word = |name: &str| why[name].as_str().unwrap_or_default().to_owned();
            terminal_excerpt(&format!("{}: {}", word("reason"), word("message")))
        }
        None => "its Pod still runs".to_owned(),
    }
}

/// Of the container that is named as the Job is without its run.
async fn log(
    cluster: &PinnedCluster,
    job: &ObjectRef,
    namespace: &str,
    pod: &Value,
) -> Result<Vec<String>, RunOnceError> {
    let name = pod["metadata"]["name"].as_str().unwrap_or_default();
    let parameters = LogParams {
        container: Some(job.logical_name.clone()),
        limit_bytes: Some(MAX_LOG_BYTES),
        ..LogParams::default()
    };
    let pods = Api::<Pod>::namespaced(cluster.client.clone(), namespace);
    let text = pods.logs(name, &parameters).await;
    let text = text.map_err(|error| RunOnceError::Log {
        pod: name.to_owned(),
        reason: terminal_excerpt(&root_cause(&error)),
    })?;
    Ok(text.lines().map(printable_line).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pod_that_does_not_end_says_what_it_waits_for() {
        let waiting =
            json!({"state": {"waiting": {"reason": "ErrImagePull", "message": "no such image"}}});
        let running = json!({"state": {"running": {}}});
        let unplaced = json!({"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3"});
        for (status, words) in [
            (
                json!({"containerStatuses": [waiting]}),
                "ErrImagePull: no such image",
            ),
            (
                json!({"initContainerStatuses": [waiting], "containerStatuses": [running]}),
                "ErrImagePull: ",
            ),
            (json!({"conditions": [unplaced]}), "Unschedulable: 0/3"),
            (
                json!({"containerStatuses": [running]}),
                "its Pod still runs",
            ),
            (json!({}), "its Pod still runs"),
        ] {
            let said = waits_for(Some(&json!({"status": status})));
            assert!(said.starts_with(words), "{said}");
        }
        assert!(waits_for(None).contains("it has no Pod"));
    }
}
