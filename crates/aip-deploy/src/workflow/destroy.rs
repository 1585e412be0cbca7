//! Deletes every object of the inventory, and what is found with them. The record of all is kept until the
//! API server confirms that they are gone.

use std::time::Duration;

use aip_apply::apply::lease::LeaseRenewer;
use aip_apply::apply::{FailPoint, Progress, delete_all, finalizers_hint, record_intent};
use aip_apply::cluster::{GuardedCluster, PinnedCluster};
use aip_apply::observe;
use aip_apply::plan::condition::is_claim;
use aip_apply::plan::{Namespace, Op, Plan, build, not_desired};
use aip_apply::store::{Inventory, Outcome, OwnedObject};
use aip_stack::Target;
use aip_stack::desired::{ObjectRef, PROTECT_ANNOTATION};
use tokio::time::Instant;

use super::Operation;
use super::lease::with_lease;
use super::record::{Summary, record};
use crate::commands::failure::CommandError;
use crate::context::OpenStack;
use crate::present::print;
use crate::ui::prompt::{Answer, ask};

/// What `destroy` was told.
#[derive(Clone, Copy)]
pub(crate) struct Destruction<'d> {
    /// Whether it was approved in advance.
    pub(crate) yes: bool,
    /// How long the deletion may take.
    pub(crate) timeout: Duration,
    /// The names of protected objects that are deleted all the same.
    pub(crate) delete_data: &'d [String],
}

/// Shows what is deleted, asks unless `yes`, deletes under the lease. The namespace stays: it may
/// hold what others put there.
pub(crate) async fn destroy(
    stack: &OpenStack<'_>,
    target: &Target,
    destruction: Destruction<'_>,
) -> Result<(), CommandError> {
    let screen = &stack.ctx.screen;
    let inventory = stack.store.inventory().await?;
    let cluster = stack.cluster(&target.context, &inventory).await?;
    let cluster = cluster.pinned()?;
    let plan = deletion_plan(&cluster, &inventory, destruction).await?;
    print::plan(
        screen,
        &Operation::Destroy.preview_heading(),
        &plan,
        stack.stack_info(&[]),
        &cluster,
        false,
    );
    if !destruction.yes && plan.counts().changes() > 0 {
        screen.line("");
        match ask(screen, "Do you want to perform this destroy?", false)? {
            Answer::Yes => {}
            Answer::No | Answer::Details => {
                return Err(CommandError::Declined(Operation::Destroy.labels().noun));
            }
        }
    }
    with_lease(stack, Operation::Destroy, async |lease| {
        delete(stack, target, &cluster, lease, destruction).await
    })
    .await?;
    screen.lines([
        "",
        "The resources in the stack have been deleted; its history and configuration are kept.",
    ]);
    screen.line(format!(
        "To remove the stack completely: aip-deploy stack rm {}",
        stack.stack.name
    ));
    Ok(())
}

/// Everything the stack owns or may own.
async fn deletion_plan(
    cluster: &GuardedCluster,
    inventory: &Inventory,
    destruction: Destruction<'_>,
) -> Result<Plan, CommandError> {
    let intents = inventory.intents.iter().flat_map(|intent| &intent.objects);
    let objects = not_desired(&inventory.owned, intents, &[]);
    let stale = observe::stale_objects(cluster, objects).await?;
    let mut plan = build(Vec::new(), stale, &[], Namespace::Exists);
    plan.delete_protected(destruction.delete_data)?;
    Ok(plan)
}

async fn delete(
    stack: &OpenStack<'_>,
    target: &Target,
    cluster: &PinnedCluster,
    lease: &LeaseRenewer,
    destruction: Destruction<'_>,
) -> Result<(), CommandError> {
    let ctx = stack.ctx;
    let (started, since) = (ctx.clock.now(), Instant::now());
    let inventory = stack.store.inventory().await?;
    let plan = deletion_plan(cluster, &inventory, destruction).await?;
    let timeout = destruction.timeout;
    let fail_points = ctx.fail_points.as_ref();
    if !plan.steps.is_empty() {
        let (clock, rng) = (ctx.clock.as_ref(), ctx.rng.as_ref());
        record_intent(&stack.store, lease, clock, rng, &plan).await?;
        fail_points.reached(FailPoint::IntentRecorded).await;
    }
    let left = delete_all(cluster, lease, fail_points, &plan, since + timeout).await?;
    let is_left = |object: &ObjectRef| left.iter().any(|left| left.object == *object);
    let progress: Vec<Progress> = plan
        .steps
        .iter()
        .map(|step| {
            if is_left(&step.object) {
                Progress::Failed
            } else {
                Progress::Done(since.elapsed())
            }
        })
        .collect();
    print::result(
        &stack.ctx.screen,
        Operation::Destroy.labels().heading,
        &plan,
        stack.stack_info(&[]),
        &progress,
        since.elapsed(),
        None,
    );
    let protected = plan.steps.iter().filter(|step| step.op == Op::Protect);
    let protected: Vec<&ObjectRef> = protected.map(|step| &step.object).collect();
    let remaining = left.iter().map(|left| &left.object);
    let kept = remaining.chain(protected.iter().copied());
    let kept = kept.map(|object| OwnedObject {
        object: object.clone(),
        fields: serde_json::Value::Null,
    });
    stack.store.promote(kept.collect()).await?;
    fail_points.reached(FailPoint::InventoryPromoted).await;
    for object in protected {
        let also = if is_claim(object) {
            String::new()
        } else {
            format!(", and so does `destroy` without its annotation {PROTECT_ANNOTATION}")
        };
        ctx.screen.status(format!(
            "note: {object} is protected and was kept; `aip-deploy destroy --delete-data {name}` deletes it{also}",
            name = object.name
        ));
    }
    let summary = Summary {
        started,
        counts: plan.counts(),
        outcome: if left.is_empty() {
            Outcome::Succeeded
        } else {
            Outcome::Failed
        },
    };
    let record = record(stack, target, Operation::Destroy, summary).await;
    stack.store.append_history(&record).await?;
    fail_points.reached(FailPoint::HistoryRecorded).await;
    if left.is_empty() {
        return Ok(());
    }
    let remaining = left.iter();
    Err(CommandError::NotDeleted(
        remaining
            .map(|left| format!("{}{}", left.object, finalizers_hint(&left.finalizers)))
            .collect(),
    ))
}
