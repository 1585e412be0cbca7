//! What was approved is what is applied: a plan becomes applicable only by being computed again
//! under the lease and found to do the same as the one that was shown.

use crate::plan::{Incomplete, Plan};

/// A plan the operator confirmed. It permits an apply only through [`Approval::confirm`].
pub struct Approval {
    shown: Plan,
    take_ownership: bool,
}

/// Permit for an apply: only [`Approval::confirm`] makes it.
pub struct ApprovedPlan {
    plan: Plan,
    take_ownership: bool,
}

/// The cluster changed between the answer and the apply.
#[derive(Debug, thiserror::Error)]
#[error(
    "the cluster changed after the preview, so the approved plan is out of date; nothing was applied. Run the \
     command again"
)]
pub struct PlanChanged;

impl Approval {
    /// Fails for an incomplete plan, for conflicts without `take_ownership`, and for a paused
    /// Deployment.
    pub fn of(shown: Plan, take_ownership: bool) -> Result<Self, Incomplete> {
        shown.check(take_ownership)?;
        shown.check_paused()?;
        Ok(Self {
            shown,
            take_ownership,
        })
    }

    /// Makes the approval good for the plan computed under the lease.
    pub fn confirm(self, again: Plan) -> Result<ApprovedPlan, PlanChanged> {
        if self.shown.does_the_same_as(&again) && again.check(self.take_ownership).is_ok() {
            Ok(ApprovedPlan {
                plan: again,
                take_ownership: self.take_ownership,
            })
        } else {
            Err(PlanChanged)
        }
    }
}

impl ApprovedPlan {
    /// The plan computed under the lease, not the previewed one.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Whether fields of other managers may be taken.
    pub fn takes_ownership(&self) -> bool {
        self.take_ownership
    }
}
