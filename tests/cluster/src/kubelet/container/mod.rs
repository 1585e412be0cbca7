//! One container of a Pod: pulled, configured, started, probed, restarted, stopped.

mod prepare;
mod stop;

use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Container;
use k8s_openapi::jiff::Timestamp;
use tokio::process::Child;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::events::Kind;
use super::logs::Log;
use super::pod::{Deleted, PodWorker};
use super::process::ProcessSpec;
use super::state::{ContainerSlot, CurrentState, Termination, restart_policy};
use super::{probes, time};

/// Longest pause between two attempts.
const MAX_BACK_OFF: Duration = Duration::from_secs(10);
/// How long output may come from a process that has ended.
const OUTPUT_DRAIN_TIMEOUT: Duration = Duration::from_secs(1);

/// What became of a container in the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Succeeded,
    Failed,
    /// The Pod was deleted.
    Stopped,
}

/// A container on its way.
struct ContainerWorker<'a> {
    run: &'a Arc<PodWorker>,
    slot: ContainerSlot,
    container: &'a Container,
    image: String,
}

/// Runs a container until it need not run again.
pub(crate) async fn run_container(run: &Arc<PodWorker>, slot: ContainerSlot) -> Outcome {
    let Some(container) = run.container(slot) else {
        return Outcome::Failed;
    };
    let worker = ContainerWorker {
        run,
        slot,
        container,
        image: container.image.clone().unwrap_or_default(),
    };
    worker.run_with_restarts().await.unwrap_or(Outcome::Stopped)
}

impl ContainerWorker<'_> {
    async fn run_with_restarts(&self) -> Result<Outcome, Deleted> {
        let mut pause = self.run.shared.back_off;
        for restarts in 0.. {
            let image = self.pull().await?;
            let process_spec = self.configure(image).await?;
            self.run
                .update(self.slot, |state| state.restarts = restarts);
            let end = self.execute(process_spec).await;
            let failed = end.exit_code != 0;
            self.run.update(self.slot, |state| {
                state.started = false;
                // An init container that has succeeded counts as ready.
                state.ready = matches!(self.slot, ContainerSlot::Init(_)) && !failed;
                state.now = CurrentState::Terminated(end.clone());
            });
            if self.run.is_ending() {
                return Ok(Outcome::Stopped);
            }
            if !self.restarts_after(failed) {
                return Ok(if failed {
                    Outcome::Failed
                } else {
                    Outcome::Succeeded
                });
            }
            // The first restart comes at once, as in life.
            if restarts > 0 {
                self.back_off(pause).await?;
                pause = (pause * 2).min(MAX_BACK_OFF);
            }
            self.run.update(self.slot, |state| state.last = Some(end));
        }
        Ok(Outcome::Failed)
    }

    fn restarts_after(&self, failed: bool) -> bool {
        match (restart_policy(&self.run.pod).as_str(), self.slot) {
            ("Never", _) => false,
            ("Always", ContainerSlot::Main(_)) => true,
            _ => failed,
        }
    }

    /// `CrashLoopBackOff`.
    async fn back_off(&self, pause: Duration) -> Result<(), Deleted> {
        let PodWorker {
            name,
            namespace,
            uid,
            ..
        } = &**self.run;
        let container = &self.container.name;
        let pod = format!("{name}_{namespace}({uid})");
        let message = format!("Back-off restarting failed container {container} in pod {pod}");
        self.event(Kind::Warning, "BackOff", message);
        let seconds = pause.as_secs_f32();
        let message =
            format!("back-off {seconds}s restarting failed container={container} pod={pod}");
        self.run.update(self.slot, |state| {
            if let CurrentState::Terminated(end) = &state.now {
                state.last = Some(end.clone());
            }
            state.now = waiting("CrashLoopBackOff", message);
        });
        self.run.pause(pause).await
    }

    /// Runs the process until it has ended, by itself or because it must.
    async fn execute(&self, process_spec: ProcessSpec) -> Termination {
        let run = self.run;
        let name = &self.container.name;
        let log = run.shared.logs.open(&run.namespace, &run.name, name);
        let started = time::now();
        let end = match process_spec.entrypoint().spawn() {
            Ok(mut child) => {
                let output = capture_output(&mut child, &log);
                self.event(
                    Kind::Normal,
                    "Created",
                    format!("Created container: {name}"),
                );
                self.event(Kind::Normal, "Started", format!("Started container {name}"));
                let now = CurrentState::Running { since: started };
                run.update(self.slot, |state| state.now = now);
                let status = self.attend(child, Arc::new(process_spec)).await;
                let _late = timeout(OUTPUT_DRAIN_TIMEOUT, output.join_all()).await;
                self.termination(started, status, &log)
            }
            Err(error) => {
                let message = format!("failed to create containerd task: {error}");
                self.event(Kind::Warning, "Failed", format!("Error: {message}"));
                Termination {
                    exit_code: 128,
                    reason: "StartError",
                    message: Some(message),
                    started,
                    finished: time::now(),
                }
            }
        };
        log.end();
        end
    }

    /// Probes the process; stops it when it is ill or the Pod was deleted.
    async fn attend(
        &self,
        mut child: Child,
        process_spec: Arc<ProcessSpec>,
    ) -> std::io::Result<ExitStatus> {
        let run = self.run;
        let name = &self.container.name;
        let id = child
            .id()
            .expect("a process has an id until it was waited for");
        // A container ends with its first process, whatever else that has started.
        let group = run.shared.reaper.watch(id);
        let (unhealthy, illness) = oneshot::channel();
        let mut probes = JoinSet::new();
        let watch = probes::watch(
            Arc::clone(run),
            self.slot,
            Arc::clone(&process_spec),
            unhealthy,
        );
        probes.spawn(watch);
        let ill = async {
            match illness.await {
                Ok(reason) => reason,
                // No probe can find it ill.
                Err(_) => std::future::pending().await,
            }
        };
        let deadline = tokio::select! {
            status = child.wait() => return status,
            reason = ill => {
                let message = format!("Container {name} {reason}, will be restarted");
                self.event(Kind::Normal, "Killing", message);
                Instant::now() + run.grace()
            }
            deadline = run.ended() => {
                self.event(Kind::Normal, "Killing", format!("Stopping container {name}"));
                deadline
            }
        };
        self.stop(&mut child, &group, &process_spec, deadline).await
    }

    fn termination(
        &self,
        started: Timestamp,
        status: std::io::Result<ExitStatus>,
        log: &Log,
    ) -> Termination {
        let signal = |status: ExitStatus| status.signal().map(|signal| 128 + signal);
        let exit_code = status
            .ok()
            .and_then(|status| status.code().or(signal(status)))
            .unwrap_or(137);
        let from_log =
            self.container.termination_message_policy.as_deref() == Some("FallbackToLogsOnError");
        Termination {
            exit_code,
            reason: if exit_code == 0 { "Completed" } else { "Error" },
            message: (from_log && exit_code != 0).then(|| log.tail(80)),
            started,
            finished: time::now(),
        }
    }

    fn event(&self, kind: Kind, reason: &'static str, message: String) {
        self.run.event(Some(self.slot), kind, reason, message);
    }
}

/// Tasks that keep what the process writes.
fn capture_output(child: &mut Child, log: &Log) -> JoinSet<()> {
    let mut helpers = JoinSet::new();
    if let Some(output) = child.stdout.take() {
        let log = log.clone();
        helpers.spawn(async move { log.capture(output).await });
    }
    if let Some(output) = child.stderr.take() {
        let log = log.clone();
        helpers.spawn(async move { log.capture(output).await });
    }
    helpers
}

fn waiting(reason: &'static str, message: String) -> CurrentState {
    CurrentState::Waiting {
        reason,
        message: Some(message),
    }
}
