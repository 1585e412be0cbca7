//! The end of a container: its hook, then signals.
//! <https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#pod-termination>

use std::process::ExitStatus;
use std::time::Duration;

use k8s_openapi::api::core::v1::LifecycleHandler;
use rustix::process::Signal;
use tokio::process::Child;
use tokio::time::{Instant, timeout_at};

use super::Keeper;
use crate::kubelet::events::Kind;
use crate::kubelet::process::Surroundings;
use crate::reaper::Group;

impl Keeper<'_> {
    /// `preStop`, then SIGTERM, then SIGKILL at the deadline. The hook's time counts.
    pub(super) async fn stop(
        &self,
        child: &mut Child,
        group: &Group,
        surroundings: &Surroundings,
        deadline: Instant,
    ) -> std::io::Result<ExitStatus> {
        let polite = async {
            let lifecycle = self.container.lifecycle.as_ref();
            if let Some(hook) = lifecycle.and_then(|lifecycle| lifecycle.pre_stop.as_ref()) {
                let patience = deadline.saturating_duration_since(Instant::now());
                tokio::select! {
                    done = self.hook(hook, surroundings, patience) => if let Err(message) = done {
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
        surroundings: &Surroundings,
        patience: Duration,
    ) -> Result<(), String> {
        if let Some(sleep) = &hook.sleep {
            let time = Duration::from_secs(u64::try_from(sleep.seconds).unwrap_or(0));
            tokio::time::sleep(time.min(patience)).await;
            return Ok(());
        }
        if let Some(action) = &hook.exec {
            return surroundings.exec(action, patience).await;
        }
        if let Some(action) = &hook.http_get {
            return surroundings.http_get(action, patience).await;
        }
        Err("the stand-in does not know this kind of hook".to_owned())
    }
}
