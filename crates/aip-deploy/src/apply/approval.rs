//! What was approved is what is applied: a plan becomes applicable only by being computed again
//! under the lease and found to do the same as the one that was shown.

use crate::plan::{Incomplete, Plan};

/// The operator said yes to this plan.
pub struct Approval {
    shown: Plan,
    take_ownership: bool,
}

/// A plan that may be carried out.
pub struct ApprovedPlan {
    plan: Plan,
    take_ownership: bool,
}

/// The cluster changed between the answer and the apply.
#[derive(Debug, thiserror::Error)]
#[error(
    "the cluster changed since the plan was shown, so the approved plan no longer holds; nothing was changed. Run the command again"
)]
pub struct PlanChanged;

impl Approval {
    /// Approves a plan, if it is complete.
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
    /// The plan.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Whether fields of other managers may be taken.
    pub fn takes_ownership(&self) -> bool {
        self.take_ownership
    }
}
