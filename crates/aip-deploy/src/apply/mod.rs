//! Carries out an approved plan: intent, phases, waiting, pruning, in this order. Killed at any
//! point, the next run converges: the cluster is the truth, and what it may hold was written down
//! before the first write.

mod approval;
mod handover;
pub mod lease;
mod prune;
mod stages;
mod wait;

use std::sync::Arc;
use std::time::Duration;

use aip_base::{Clock, Rng, random_token};

use crate::cluster::ApiError;
use crate::desired::{ObjectRef, Phase};
use crate::exit::Exit;
use crate::guard::PinnedCluster;
use crate::plan::tree::Progress;
use crate::plan::{Plan, fields};
use crate::rollout::pod_view::PodView;
use crate::rollout::{Failure, FollowError, Rollout};
use crate::store::{FieldSet, Intent, Inventory, Recorded, StateStore, StoreError};

pub use approval::{Approval, ApprovedPlan, PlanChanged};
pub use lease::{LeaseKeeper, LeaseLost};
pub use prune::delete_all;

/// What an apply needs besides the plan.
pub struct Run<'r> {
    /// Where.
    pub cluster: &'r PinnedCluster,
    /// The state of the stack.
    pub store: &'r Arc<dyn StateStore>,
    /// Our right to write.
    pub lease: &'r LeaseKeeper,
    /// Time.
    pub clock: &'r dyn Clock,
    /// Randomness.
    pub rng: &'r dyn Rng,
    /// The namespace of the stack.
    pub namespace: &'r str,
    /// The inventory as the plan saw it.
    pub inventory: &'r Inventory,
    /// How.
    pub options: Options,
}

/// How to apply.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Whether to wait for the rollout.
    pub wait: bool,
    /// How long everything that is waited for may take together.
    pub timeout: Duration,
    /// Whether Pulumi's claims to fields are removed afterwards.
    pub hand_over: bool,
}

/// Sees the work go on.
pub trait Reporter: Send {
    /// The steps are this far.
    fn progress(&mut self, plan: &Plan, progress: &[Progress]);
    /// The migration's Pods look like this.
    fn migration(&mut self, job: &str, pods: &[PodView]);
    /// The rollout looks like this.
    fn rollout(&mut self, rollout: &Rollout);
    /// A container said this.
    fn log(&mut self, container: &str, lines: &[String]);
}

/// Why an apply ended early.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// An object was refused.
    #[error("{object}: {}", source.about(object))]
    Object {
        /// Which.
        object: ObjectRef,
        /// Why.
        source: ApiError,
    },
    /// An object of the same name does not go away.
    #[error(
        "{object} is being deleted and does not go away{}; when it is gone, run the command again",
        kept_by(finalizers)
    )]
    BeingDeleted {
        /// Which.
        object: ObjectRef,
        /// What keeps it.
        finalizers: Vec<String>,
    },
    /// The migration failed; nothing that serves was touched.
    #[error("the migration failed, and nothing that serves was changed: {0}")]
    Migration(Failure),
    /// The new Pods do not come up.
    #[error("the rollout failed: {0}")]
    Rollout(Failure),
    /// They did not come up in time.
    #[error("timed out after {} s: {waiting_for}", after.as_secs())]
    TimedOut {
        /// The limit.
        after: Duration,
        /// What was missing.
        waiting_for: String,
    },
    /// The rollout could not be watched.
    #[error(transparent)]
    Follow(#[from] FollowError),
    /// Somebody took the lease.
    #[error(transparent)]
    LeaseLost(#[from] LeaseLost),
    /// The cluster.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// The state.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What keeps an object that is being deleted.
pub fn kept_by(finalizers: &[String]) -> String {
    if finalizers.is_empty() {
        String::new()
    } else {
        format!(", because of its finalizers {}", finalizers.join(", "))
    }
}

impl ApplyError {
    /// The exit code of a command that ends with it.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Object { source, .. } | Self::Api(source) => source.exit(),
            Self::Migration(_) | Self::Rollout(_) => Exit::Rollout,
            Self::TimedOut { .. } => Exit::TimedOut,
            Self::Follow(error) => error.exit(),
            Self::Store(error) => error.exit(),
            Self::BeingDeleted { .. } | Self::LeaseLost(_) => Exit::Failed,
        }
    }
}

/// Carries out the plan.
pub async fn run(
    run: &Run<'_>,
    approved: &ApprovedPlan,
    reporter: &mut dyn Reporter,
) -> Result<(), ApplyError> {
    let plan = approved.plan();
    record_intent(run, plan).await?;
    let mut stages = stages::Stages::new(run, approved);
    if plan.creates_namespace {
        stages.namespace().await?;
    }
    let deadline = tokio::time::Instant::now() + run.options.timeout;
    for phase in Phase::ALL {
        if phase == Phase::Workload {
            prune::release_autoscalers(run, plan, deadline).await?;
        }
        stages.apply(phase, deadline, reporter).await?;
        match phase {
            Phase::Migration => wait::migrations(run, &stages, deadline, reporter).await?,
            Phase::Workload if run.options.wait => {
                wait::rollouts(run, plan, deadline, reporter).await?;
            }
            Phase::Foundation | Phase::Workload => {}
        }
    }
    if run.options.hand_over {
        handover::hand_over(run, plan).await?;
    }
    let kept = prune::prune(run, plan).await?;
    promote(run, plan, &stages, kept).await
}

/// Before the first write: whatever this run may create can be found again. A plan that creates
/// nothing adds nothing to what the inventory lists.
async fn record_intent(run: &Run<'_>, plan: &Plan) -> Result<(), ApplyError> {
    let creates = plan
        .steps
        .iter()
        .any(|step| step.desired.is_some() && step.uid.is_none());
    let known = |object: &ObjectRef| {
        let owned = &run.inventory.owned;
        owned
            .iter()
            .any(|recorded| recorded.object.is_same_object(object))
    };
    if !creates && plan.steps.iter().all(|step| known(&step.object)) {
        return Ok(());
    }
    let intent = Intent {
        id: random_token::<16>(run.rng),
        started: crate::ui::time::rfc3339(run.clock.now()),
        // What is pruned is in it too: an adopted object is in no inventory before.
        objects: plan.steps.iter().map(|step| step.object.clone()).collect(),
    };
    run.lease.check()?;
    run.store.record_intent(&intent).await?;
    Ok(())
}

/// After the prune: what is there now is the last good state.
async fn promote(
    run: &Run<'_>,
    plan: &Plan,
    stages: &stages::Stages<'_>,
    kept: Vec<ObjectRef>,
) -> Result<(), ApplyError> {
    let applied_before = |object: &ObjectRef| {
        let mut all = run.inventory.owned.iter();
        let recorded = all.find(|recorded| recorded.object.is_same_object(object));
        recorded.map_or(FieldSet::Null, |recorded| recorded.fields.clone())
    };
    let desired = plan.steps.iter().filter(|step| step.desired.is_some());
    let owned: Vec<Recorded> = desired
        .map(|step| step.object.clone())
        .chain(kept)
        .map(|object| Recorded {
            fields: match stages.applied(&object) {
                Some(live) => fields::owned(live),
                None => applied_before(&object),
            },
            object,
        })
        .collect();
    if owned == run.inventory.owned && run.inventory.intents.is_empty() {
        return Ok(());
    }
    run.lease.check()?;
    run.store.promote(owned).await?;
    Ok(())
}
