//! `drift`: what was changed in the cluster since the last deployment. Unlike `preview` it does
//! not look at the stack file as it stands now, so your own changes are not in the way.

use aip_apply::plan::Step;
use aip_apply::store::last_good;
use aip_stack::Target;
use clap::Args;

use crate::commands::failure::CommandError;
use crate::commands::plan_flags::PlanFlags;
use crate::context::{Context, OpenStack, SecretsMode};

/// Show drift: changes in the cluster since the last deployment
#[derive(Debug, Args)]
#[command(after_help = examples!["drift", "drift --diff", "drift --json"])]
pub(crate) struct DriftArgs {
    #[command(flatten)]
    flags: PlanFlags,
}

impl DriftArgs {
    /// Compares the cluster with the last deployment; exits with 7 if they differ.
    pub(crate) async fn run(self, ctx: &Context) -> Result<(), CommandError> {
        let stack = ctx.open_stack().await?;
        let target = last_deployed_target(&stack).await?;
        let plan = self
            .flags
            .show(&stack, &target, "Checking for drift")
            .await?;
        if !self.flags.json {
            for step in plan
                .steps
                .iter()
                .filter(|step| !step.other_managers.is_empty())
            {
                let others: Vec<&str> = step.other_managers.iter().map(String::as_str).collect();
                ctx.screen.status(format!(
                    "note: {} also has fields managed by {}",
                    step.object,
                    others.join(", ")
                ));
            }
        }
        if plan.steps.iter().any(Step::is_change) {
            return Err(CommandError::UnexpectedChanges(
                "the cluster differs from the last deployment; `aip-deploy up` reverts the drift",
            ));
        }
        Ok(())
    }
}

/// What was deployed last, or the stack file if the history does not say.
async fn last_deployed_target(stack: &OpenStack<'_>) -> Result<Target, CommandError> {
    match last_good(stack.store.as_ref()).await? {
        Some((_, record)) => Ok(stack.target_of_revision(&record).await?),
        None => Ok(stack.target(SecretsMode::Decrypted).await?),
    }
}
