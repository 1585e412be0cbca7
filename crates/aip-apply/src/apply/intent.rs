//! What a run may own is written down before its first write, so that it is found again if the run is killed.

use aip_base::{Clock, Rng, random_token};

use super::{ApplyError, LeaseRenewer};
use crate::plan::Plan;
use crate::store::{Intent, State};
use crate::time::rfc3339;

/// Records every object of a plan. What is deleted is among them: an adopted object is in no inventory
/// before, and neither is a claim for a volume, which a deleted `StatefulSet` leads to no more.
pub async fn record_intent(
    store: &State,
    lease: &LeaseRenewer,
    clock: &dyn Clock,
    rng: &dyn Rng,
    plan: &Plan,
) -> Result<(), ApplyError> {
    let intent = Intent {
        id: random_token::<16>(rng),
        started: rfc3339(clock.now()),
        objects: plan.steps.iter().map(|step| step.object.clone()).collect(),
    };
    lease.check()?;
    store.record_intent(&intent).await?;
    Ok(())
}
