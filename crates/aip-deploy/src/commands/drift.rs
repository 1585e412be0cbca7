//! `drift`: what was changed in the cluster since the last deployment. Unlike `preview` it does
//! not look at the stack file as it stands now, so your own changes are not in the way.

use aip_apply::plan::Step;
use aip_apply::plan::fields::other_managers;
use aip_apply::store::last_good;
use aip_stack::Target;
use clap::Args;

use crate::commands::failure::CommandError;
use crate::context::{Context, OpenStack, SecretsMode};
use crate::present::print;
use crate::workflow::plan::plan;

/// Show drift: changes in the cluster since the last deployment
#[derive(Debug, Args)]
pub struct DriftArgs {
    /// Show every changed field
    #[arg(long)]
    diff: bool,
    /// Print the drift as JSON
    #[arg(short, long)]
    json: bool,
}

impl DriftArgs {
    /// Compares the cluster with the last deployment; exits with 7 if they differ.
    pub async fn run(self, ctx: &Context) -> Result<(), CommandError> {
        let stack = ctx.open_stack().await?;
        let target = last_deployed_target(&stack).await?;
        let inventory = stack.store.inventory().await?;
        let cluster = stack.cluster(&target.context, &inventory).await?;
        let plan = plan(&cluster, &target, &inventory).await?;
        let stack_info = stack.stack_info(&target.notices);
        if self.json {
            print::plan_json(&ctx.screen, &plan, stack_info);
        } else {
            print::plan(
                &ctx.screen,
                "Checking for drift",
                &plan,
                stack_info,
                &cluster,
                self.diff,
            );
            for step in &plan.steps {
                if let Some(live) = cluster.read(&step.object).await? {
                    let others: Vec<String> = other_managers(&live).into_iter().collect();
                    if !others.is_empty() {
                        ctx.screen.status(format!(
                            "note: {} also has fields managed by {}",
                            step.object,
                            others.join(", ")
                        ));
                    }
                }
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
        Some((_, record)) => Ok(stack.target_of_revision(&record.stack_file).await?),
        None => Ok(stack.target(SecretsMode::Decrypted).await?),
    }
}
