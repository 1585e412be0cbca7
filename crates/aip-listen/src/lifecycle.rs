//! The life of a process as its listeners and probes see it: it only moves forward.

use std::sync::Arc;

use tokio::sync::watch;

/// How far the process has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Not everything is there yet.
    Starting,
    /// Requests are welcome.
    Ready,
    /// Requests are still answered, but load balancers should look elsewhere.
    Leaving,
    /// Listeners stop accepting and finish what runs.
    Draining,
}

/// The shared stage of a process. Clones show and move the same one.
#[derive(Debug, Clone)]
pub struct Lifecycle(Arc<watch::Sender<Stage>>);

impl Lifecycle {
    /// A process that is starting.
    pub fn new() -> Self {
        Self(Arc::new(watch::Sender::new(Stage::Starting)))
    }

    /// The present stage.
    pub fn stage(&self) -> Stage {
        *self.0.borrow()
    }

    /// Moves on to `stage`; never back, so a late "ready" does not undo a drain.
    pub fn advance(&self, stage: Stage) {
        self.0.send_if_modified(|present| {
            let forward = stage > *present;
            if forward {
                *present = stage;
            }
            forward
        });
    }

    /// Whether it should be sent requests: the readiness probe.
    pub fn is_ready(&self) -> bool {
        self.stage() == Stage::Ready
    }

    /// Whether it has ever been ready: the start-up probe.
    pub fn has_started(&self) -> bool {
        self.stage() >= Stage::Ready
    }

    /// Completes when the stage is reached or passed.
    pub async fn reached(&self, stage: Stage) {
        let mut stages = self.0.subscribe();
        // The sender lives in `self`, so this does not fail.
        let _ = stages.wait_for(|present| *present >= stage).await;
    }
}

impl Default for Lifecycle {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stage_is_never_taken_back() {
        let life = Lifecycle::new();
        assert!(!life.is_ready() && !life.has_started());
        life.advance(Stage::Ready);
        assert!(life.is_ready() && life.has_started());

        life.advance(Stage::Draining);
        life.advance(Stage::Ready);
        assert_eq!(life.stage(), Stage::Draining);
        assert!(!life.is_ready() && life.has_started());
        life.reached(Stage::Leaving).await;
        life.reached(Stage::Draining).await;
    }
}
