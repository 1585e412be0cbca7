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
use super::pod::{Deleted, PodRun};
use super::process::Surroundings;
use super::state::{Now, Slot, Termination, restart_policy};
use super::{probes, time};

/// Longest pause between two attempts.
const MOST_BACK_OFF: Duration = Duration::from_secs(10);
/// How long output may come from a process that has ended.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// What became of a container in the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Succeeded,
    Failed,
    /// The Pod was deleted.
    Stopped,
}

/// A container on its way.
struct Keeper<'a> {
    run: &'a Arc<PodRun>,
    slot: Slot,
    container: &'a Container,
    image: String,
}

/// Runs a container until it need not run again.
pub(crate) async fn keep(run: &Arc<PodRun>, slot: Slot) -> Outcome {
    let Some(container) = run.container(slot) else {
        return Outcome::Failed;
    };
    let keeper = Keeper {
        run,
        slot,
        container,
        image: container.image.clone().unwrap_or_default(),
    };
    keeper.keep().await.unwrap_or(Outcome::Stopped)
}

impl Keeper<'_> {
    async fn keep(&self) -> Result<Outcome, Deleted> {
        let mut pause = self.run.shared.back_off;
        for restarts in 0.. {
            let image = self.pull().await?;
            let surroundings = self.configure(image).await?;
            self.run
                .update(self.slot, |state| state.restarts = restarts);
            let end = self.execute(surroundings).await;
            let failed = end.exit_code != 0;
            self.run.update(self.slot, |state| {
                state.started = false;
                // An init container that has succeeded counts as ready.
                state.ready = matches!(self.slot, Slot::Init(_)) && !failed;
                state.now = Now::Terminated(end.clone());
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
                pause = (pause * 2).min(MOST_BACK_OFF);
            }
            self.run.update(self.slot, |state| state.last = Some(end));
        }
        Ok(Outcome::Failed)
    }

    fn restarts_after(&self, failed: bool) -> bool {
        match (restart_policy(&self.run.pod).as_str(), self.slot) {
            ("Never", _) => false,
            ("Always", Slot::Main(_)) => true,
            _ => failed,
        }
    }

    /// `CrashLoopBackOff`.
    async fn back_off(&self, pause: Duration) -> Result<(), Deleted> {
        let PodRun {
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
            if let Now::Terminated(end) = &state.now {
                state.last = Some(end.clone());
            }
            state.now = waiting("CrashLoopBackOff", message);
        });
        self.run.pause(pause).await
    }

    /// Runs the process until it has ended, by itself or because it must.
    async fn execute(&self, surroundings: Surroundings) -> Termination {
        let run = self.run;
        let name = &self.container.name;
        let log = run.shared.logs.open(&run.namespace, &run.name, name);
        let started = time::now();
        let end = match surroundings.entrypoint().spawn() {
            Ok(mut child) => {
                let output = keep_output(&mut child, &log);
                self.event(
                    Kind::Normal,
                    "Created",
                    format!("Created container: {name}"),
                );
                self.event(Kind::Normal, "Started", format!("Started container {name}"));
                let now = Now::Running { since: started };
                run.update(self.slot, |state| state.now = now);
                let status = self.attend(child, Arc::new(surroundings)).await;
                let _late = timeout(LAST_WORDS, output.join_all()).await;
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
        surroundings: Arc<Surroundings>,
    ) -> std::io::Result<ExitStatus> {
        let run = self.run;
        let name = &self.container.name;
        let id = child
            .id()
            .expect("a process has an id until it was waited for");
        // A container ends with its first process, whatever else that has started.
        let group = run.shared.reaper.watch(id);
        let (sick, illness) = oneshot::channel();
        let mut probes = JoinSet::new();
        let watch = probes::watch(Arc::clone(run), self.slot, Arc::clone(&surroundings), sick);
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
        self.stop(&mut child, &group, &surroundings, deadline).await
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
fn keep_output(child: &mut Child, log: &Log) -> JoinSet<()> {
    let mut helpers = JoinSet::new();
    if let Some(output) = child.stdout.take() {
        let log = log.clone();
        helpers.spawn(async move { log.keep(output).await });
    }
    if let Some(output) = child.stderr.take() {
        let log = log.clone();
        helpers.spawn(async move { log.keep(output).await });
    }
    helpers
}

fn waiting(reason: &'static str, message: String) -> Now {
    Now::Waiting {
        reason,
        message: Some(message),
    }
}
