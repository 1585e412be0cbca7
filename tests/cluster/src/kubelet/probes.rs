//! Probes: when a container has started, is ready, is to be restarted.
//! <https://kubernetes.io/docs/concepts/workloads/pods/probes/>

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Probe;
use tokio::sync::oneshot;
use tokio::time::Interval;

use super::events::Kind;
use super::pod::PodWorker;
use super::process::ProcessSpec;
use super::state::ContainerSlot;

/// A probe's name in messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Startup,
    Readiness,
    Liveness,
}

/// A probe that is asked again and again.
struct ProbeWorker<'a> {
    run: &'a PodWorker,
    slot: ContainerSlot,
    process_spec: &'a ProcessSpec,
    purpose: Purpose,
    probe: &'a Probe,
    period: Interval,
    /// Answers of the same kind in a row.
    successes: i32,
    failures: i32,
}

/// Probes a running container until dropped. What is sent is why it must be restarted.
pub(crate) async fn watch(
    run: Arc<PodWorker>,
    slot: ContainerSlot,
    process_spec: Arc<ProcessSpec>,
    unhealthy: oneshot::Sender<&'static str>,
) {
    let container = &process_spec.container;
    let ask = |purpose, probe| ProbeWorker::begin(&run, slot, &process_spec, purpose, probe);
    if let Some(probe) = &container.startup_probe
        && !ask(Purpose::Startup, probe).await.verdict().await
    {
        let _ended = unhealthy.send("failed startup probe");
        return;
    }
    let ready_at_once = container.readiness_probe.is_none() && !process_spec.image.never_ready;
    run.update(slot, |state| {
        state.started = true;
        state.ready = ready_at_once;
    });
    let readiness = async {
        if let Some(probe) = &container.readiness_probe {
            let mut worker = ask(Purpose::Readiness, probe).await;
            loop {
                let ready = worker.verdict().await;
                run.update(slot, |state| state.ready = ready);
            }
        }
    };
    let liveness = async {
        if let Some(probe) = &container.liveness_probe {
            let mut worker = ask(Purpose::Liveness, probe).await;
            while worker.verdict().await {}
            let _ended = unhealthy.send("failed liveness probe");
        }
    };
    tokio::join!(readiness, liveness);
}

impl<'a> ProbeWorker<'a> {
    async fn begin(
        run: &'a PodWorker,
        slot: ContainerSlot,
        process_spec: &'a ProcessSpec,
        purpose: Purpose,
        probe: &'a Probe,
    ) -> Self {
        tokio::time::sleep(seconds(probe.initial_delay_seconds, 0)).await;
        Self {
            run,
            slot,
            process_spec,
            purpose,
            probe,
            period: tokio::time::interval(seconds(probe.period_seconds, 10)),
            successes: 0,
            failures: 0,
        }
    }

    /// Asks until so many answers in a row are alike that they count.
    async fn verdict(&mut self) -> bool {
        loop {
            self.period.tick().await;
            match self.probe_once().await {
                Ok(()) => (self.successes, self.failures) = (self.successes.saturating_add(1), 0),
                Err(message) => {
                    (self.successes, self.failures) = (0, self.failures.saturating_add(1));
                    let message = format!("{:?} probe failed: {message}", self.purpose);
                    self.run
                        .event(Some(self.slot), Kind::Warning, "Unhealthy", message);
                }
            }
            if self.successes >= self.probe.success_threshold.unwrap_or(1).max(1) {
                return true;
            }
            if self.failures >= self.probe.failure_threshold.unwrap_or(3).max(1) {
                return false;
            }
        }
    }

    async fn probe_once(&self) -> Result<(), String> {
        let (spec, probe) = (self.process_spec, self.probe);
        let timeout = seconds(probe.timeout_seconds, 1);
        if spec.image.never_ready && self.purpose != Purpose::Liveness {
            return Err("HTTP probe failed with statuscode: 503".to_owned());
        }
        if let Some(action) = &probe.http_get {
            spec.http_get(action, timeout).await
        } else if let Some(action) = &probe.tcp_socket {
            spec.tcp(action, timeout).await
        } else if let Some(action) = &probe.exec {
            spec.exec(action, timeout).await
        } else {
            Err("the stand-in does not know this kind of probe".to_owned())
        }
    }
}

fn seconds(value: Option<i32>, default: u64) -> Duration {
    let value = value.and_then(|value| u64::try_from(value).ok());
    Duration::from_secs(value.filter(|value| *value > 0).unwrap_or(default))
}
