//! `preview`: what `up` would do, computed by the API server against the live cluster.

use clap::Args;

use crate::commands::failure::CommandError;
use crate::context::{Context, SecretsMode};
use crate::present::print;
use crate::workflow::plan::plan;

/// Show what `up` would change
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is a flag of the command line"
)]
#[derive(Debug, Args)]
pub struct PreviewArgs {
    /// Show every changed field
    #[arg(long)]
    diff: bool,
    /// Print the plan as JSON
    #[arg(short, long)]
    json: bool,
    /// Exit with 7 if there are any changes
    #[arg(long)]
    expect_no_changes: bool,
    /// Preview taking ownership of fields that belong to other field managers
    #[arg(long)]
    take_ownership: bool,
}

impl PreviewArgs {
    /// Computes and prints the plan; writes nothing anywhere.
    pub async fn run(self, ctx: &Context) -> Result<(), CommandError> {
        let stack = ctx.open_stack().await?;
        let target = stack.target(SecretsMode::Decrypted).await?;
        let inventory = stack.store.inventory().await?;
        let cluster = stack.cluster(&target.context, &inventory).await?;
        let plan = plan(&cluster, &target, &inventory).await?;
        let stack_info = stack.stack_info(&target.notices);
        if self.json {
            print::plan_json(&ctx.screen, &plan, stack_info);
        } else {
            print::plan(
                &ctx.screen,
                "Previewing update",
                &plan,
                stack_info,
                &cluster,
                self.diff,
            );
        }
        plan.check(self.take_ownership)?;
        if self.expect_no_changes && plan.counts().changes() > 0 {
            return Err(CommandError::UnexpectedChanges(
                "no changes were expected but changes are proposed",
            ));
        }
        Ok(())
    }
}
