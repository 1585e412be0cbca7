//! The flags of every command that prints a plan and changes nothing.

use aip_apply::plan::Plan;
use aip_stack::Target;
use clap::Args;

use crate::commands::failure::CommandError;
use crate::context::OpenStack;
use crate::present::{json, print};
use crate::workflow::plan::plan;

#[derive(Debug, Args)]
pub(crate) struct PlanFlags {
    /// Show every changed field
    #[arg(long)]
    diff: bool,
    /// Print the plan as JSON
    #[arg(short, long)]
    pub json: bool,
}

impl PlanFlags {
    /// Computes and prints the plan.
    pub(crate) async fn show(
        &self,
        stack: &OpenStack<'_>,
        target: &Target,
        heading: &str,
    ) -> Result<Plan, CommandError> {
        let inventory = stack.store.inventory().await?;
        let cluster = stack.cluster(&target.context, &inventory).await?;
        let plan = plan(&cluster, target, &inventory).await?;
        let stack_info = stack.target_info(target);
        let screen = &stack.ctx.screen;
        if self.json {
            screen.json(&json::to_json(&plan, stack_info));
        } else {
            print::plan(screen, heading, &plan, stack_info, &cluster, self.diff);
        }
        Ok(plan)
    }
}
