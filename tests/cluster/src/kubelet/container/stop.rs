//! The end of a container: its hook, then signals.
//! <https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#pod-termination>

use std::process::ExitStatus;
use std::time::Duration;

use k8s_openapi::api::core::v1::LifecycleHandler;
use rustix::process::Signal;
use tokio::process::Child;
use tokio::time::{Instant, timeout_at};

use super::ContainerWorker;
use crate::kubelet::events::Kind;
use crate::kubelet::process::ProcessSpec;
use crate::reaper::Group;

impl ContainerWorker<'_> {
    /// `preStop`, then SIGTERM, then SIGKILL at the deadline. The hook's time counts.
    pub(super) async fn stop(
        &self,
        child: &mut Child,
        group: &Group,
        process_spec: &ProcessSpec,
        deadline: Instant,
    ) -> std::io::Result<ExitStatus> {
        let polite = async {
            let lifecycle = self.container.lifecycle.as_ref();
            if let Some(hook) = lifecycle.and_then(|lifecycle| lifecycle.pre_stop.as_ref()) {
                let patience = deadline.saturating_duration_since(Instant::now());
                tokio::select! {
                    done = self.hook(hook, process_spec, patience) => if let Err(message) = done {
                        let message = format!("PreStopHook failed: {message}");
                        self.event(Kind::Warning, "FailedPreStopHook", message);
                    },
                    status = child.wait() => return status,
                }
            }
            group.signal_leader(Signal::TERM);
            child.wait().await
        };
        let ended = tokio::select! {
            ended = timeout_at(deadline, polite) => ended.ok(),
            () = self.run.forced() => None,
        };
        if let Some(status) = ended {
            return status;
        }
        group.signal(Signal::KILL);
        child.wait().await
    }

    async fn hook(
        &self,
        hook: &LifecycleHandler,
        process_spec: &ProcessSpec,
        patience: Duration,
    ) -> Result<(), String> {
        if let Some(sleep) = &hook.sleep {
            let time = Duration::from_secs(u64::try_from(sleep.seconds).unwrap_or(0));
            tokio::time::sleep(time.min(patience)).await;
            return Ok(());
        }
        if let Some(action) = &hook.exec {
            return process_spec.exec(action, patience).await;
        }
        if let Some(action) = &hook.http_get {
            return process_spec.http_get(action, patience).await;
        }
        Err("the stand-in does not know this kind of hook".to_owned())
    }
}
