//! Carries out an approved plan: intent, phases, waiting, pruning, in this order. Killed at any
//! point, the next run converges: the cluster is the truth, and what it may hold was written down
//! before the first write.

mod approval;
mod fail_point;
mod intent;
pub mod lease;
mod phases;
mod prune;
mod pulumi_ownership;
mod wait;

use std::sync::Arc;
use std::time::Duration;

use aip_base::{Clock, Rng};
use aip_stack::desired::{ObjectRef, Phase};

use crate::cluster::{ApiError, PinnedCluster};
use crate::plan::{Plan, fields};
use crate::rollout::{AwaitedView, Failure, FollowError};
use crate::store::{FieldSet, Inventory, OwnedObject, State, StoreError};

pub use approval::{Approval, ApprovedPlan, PlanChanged};
pub use fail_point::{FailPoint, FailPoints, NoFailPoints};
pub use intent::record_intent;
pub use lease::{LeaseLost, LeaseRenewer};
pub use prune::{RemainingObject, delete_all};
pub use pulumi_ownership::is_pulumi;

/// What an apply needs besides the plan.
pub struct ApplyContext<'a> {
    /// Target of every write; its identity matched the pin.
    pub cluster: &'a PinnedCluster,
    /// Records intents, migrations and the final inventory.
    pub store: &'a Arc<State>,
    /// Checked before every write.
    pub lease: &'a LeaseRenewer,
    /// Combined with the API server's clock skew for verdicts.
    pub clock: &'a dyn Clock,
    /// Makes the ids of intents.
    pub rng: &'a dyn Rng,
    /// Told of every step.
    pub fail_points: &'a dyn FailPoints,
    /// `aip-<stack>`.
    pub namespace: &'a str,
    /// The inventory as the plan saw it.
    pub inventory: &'a Inventory,
    /// Waiting, time limit and adoption.
    pub options: ApplyOptions,
}

/// Waiting, time limit and adoption of one apply.
#[derive(Debug, Clone, Copy)]
pub struct ApplyOptions {
    /// Whether to wait for the rollout.
    pub wait: bool,
    /// How long everything that is waited for may take together.
    pub timeout: Duration,
    /// Whether Pulumi's claims to fields are removed afterwards.
    pub release_pulumi_ownership: bool,
}

/// Progress of one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Not started.
    Waiting,
    /// Elapsed time so far.
    Running(Duration),
    /// Elapsed time.
    Done(Duration),
    /// It failed.
    Failed,
}

/// Receives the progress of an apply, to display it.
pub trait Reporter: Send {
    /// Called when a step starts or ends; `progress` has one entry per step of the plan.
    fn progress(&mut self, plan: &Plan, progress: &[Progress]);
    /// Called with every new state of an object that is waited for.
    fn awaited(&mut self, view: AwaitedView<'_>);
    /// The last log lines of a container that failed, or of a migration that completed.
    fn log(&mut self, container: &str, lines: &[String]);
}

/// An apply that stopped early. What was applied before stays recorded as an intent.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The API server rejected a write.
    #[error("{object}: {}", source.describe_for(object))]
    Object {
        /// API version, kind, namespace and name.
        object: ObjectRef,
        /// The underlying error.
        source: ApiError,
    },
    /// An object of the same name does not go away.
    #[error(
        "{object} is still being deleted{}; run the command again once it is gone",
        finalizers_hint(finalizers)
    )]
    BeingDeleted {
        /// API version, kind, namespace and name.
        object: ObjectRef,
        /// Its `metadata.finalizers`.
        finalizers: Vec<String>,
    },
    /// A server of the stack does not come up; nothing that serves was touched.
    #[error("PostgreSQL or Valkey does not get ready; no running Pods of AIP were changed: {0}")]
    Dependency(Failure),
    /// The migration failed; nothing that serves was touched.
    #[error("the migration failed; no running Pods were changed: {0}")]
    Migration(Failure),
    /// The database was not sealed again; every master key stays in place.
    #[error(
        "the database was not sealed again with the new master key, so no key is removed: {0}; the log of the Job \
         says which values"
    )]
    Rekey(Failure),
    /// The database was not moved; what uses it goes on.
    #[error(
        "the database was not moved: {0}; the log of the Job says why, and the same command goes on from there"
    )]
    DatabaseMove(Failure),
    /// The rollout cannot succeed by waiting longer.
    #[error("the rollout failed: {0}")]
    Rollout(Failure),
    /// `--timeout` elapsed first.
    #[error("timed out after {} s: {waiting_for}", after.as_secs())]
    TimedOut {
        /// The value of `--timeout`.
        after: Duration,
        /// The last pending condition, as the rollout reported it.
        waiting_for: String,
    },
    /// A watch was refused, or the object disappeared.
    #[error(transparent)]
    Follow(#[from] FollowError),
    /// Detected before a write.
    #[error(transparent)]
    LeaseLost(#[from] LeaseLost),
    /// A read failed.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// The state backend failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl ApplyError {
    /// For a request about `object` that failed.
    fn at(object: &ObjectRef) -> impl FnOnce(ApiError) -> Self {
        let object = object.clone();
        |source| Self::Object { object, source }
    }
}

/// What keeps an object that is being deleted.
pub fn finalizers_hint(finalizers: &[String]) -> String {
    if finalizers.is_empty() {
        String::new()
    } else {
        format!(" (blocked by finalizers: {})", finalizers.join(", "))
    }
}

/// Applies the plan: intent, phases in order, waiting, prune, and promotion of the inventory.
pub async fn run(
    ctx: &ApplyContext<'_>,
    approved: &ApprovedPlan,
    reporter: &mut dyn Reporter,
) -> Result<(), ApplyError> {
    let plan = approved.plan();
    let reached = async |point| ctx.fail_points.reached(point).await;
    if adds_to_inventory(ctx.inventory, plan) {
        record_intent(ctx.store, ctx.lease, ctx.clock, ctx.rng, plan).await?;
    }
    reached(FailPoint::IntentRecorded).await;
    let mut executor = phases::PhaseExecutor::new(ctx, approved);
    if plan.creates_namespace {
        executor.namespace().await?;
        reached(FailPoint::NamespaceCreated).await;
    }
    let deadline = tokio::time::Instant::now() + ctx.options.timeout;
    for phase in Phase::ALL {
        if phase == Phase::Workload {
            prune::release_autoscalers(ctx, plan, deadline).await?;
        }
        executor.apply(phase, deadline, reporter).await?;
        reached(FailPoint::applied(phase)).await;
        wait::phase(ctx, &executor, phase, deadline, reporter).await?;
        if let Some(point) = FailPoint::awaited(phase) {
            reached(point).await;
        }
    }
    if ctx.options.release_pulumi_ownership {
        pulumi_ownership::release_pulumi_ownership(ctx, plan).await?;
    }
    let prune::PruneOutcome { kept, remaining } = prune::prune(ctx, plan, deadline).await?;
    reached(FailPoint::Pruned).await;
    // What is not gone stays in the inventory, so that the next run waits for it.
    let undeleted = remaining.iter().map(|remaining| remaining.object.clone());
    let kept = kept.into_iter().chain(undeleted).collect();
    promote(ctx, plan, &executor, kept).await?;
    reached(FailPoint::InventoryPromoted).await;
    match remaining.into_iter().next() {
        Some(remaining) => Err(remaining.into()),
        None => Ok(()),
    }
}

/// Whether a run may own more than the inventory lists. A plan that creates nothing adds nothing to it.
fn adds_to_inventory(inventory: &Inventory, plan: &Plan) -> bool {
    let creates = plan
        .steps
        .iter()
        .any(|step| step.desired.is_some() && step.uid.is_none());
    let known = |object: &ObjectRef| {
        let owned = &inventory.owned;
        owned
            .iter()
            .any(|recorded| recorded.object.is_same_object(object))
    };
    creates || !plan.steps.iter().all(|step| known(&step.object))
}

/// After the prune: what is there now is the last good state.
async fn promote(
    ctx: &ApplyContext<'_>,
    plan: &Plan,
    executor: &phases::PhaseExecutor<'_>,
    kept: Vec<ObjectRef>,
) -> Result<(), ApplyError> {
    let applied_before = |object: &ObjectRef| {
        let mut all = ctx.inventory.owned.iter();
        let recorded = all.find(|recorded| recorded.object.is_same_object(object));
        recorded.map_or(FieldSet::Null, |recorded| recorded.fields.clone())
    };
    let desired = plan.steps.iter().filter(|step| step.desired.is_some());
    let owned: Vec<OwnedObject> = desired
        .map(|step| step.object.clone())
        .chain(kept)
        .map(|object| OwnedObject {
            fields: match executor.applied(&object) {
                Some(live) => fields::owned(live),
                None => applied_before(&object),
            },
            object,
        })
        .collect();
    if owned == ctx.inventory.owned && ctx.inventory.intents.is_empty() {
        return Ok(());
    }
    ctx.lease.check()?;
    ctx.store.promote(owned).await?;
    Ok(())
}
