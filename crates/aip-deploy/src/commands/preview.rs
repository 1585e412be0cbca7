//! `preview`: what `up` would do, computed by the API server against the live cluster.

use clap::Args;

use crate::commands::failure::CommandError;
use crate::commands::plan_flags::PlanFlags;
use crate::context::Context;

/// Show what `up` would change
#[derive(Debug, Args)]
#[command(after_help = examples![
    "preview",
    "preview --diff",
    "preview --json --expect-no-changes",
])]
pub(crate) struct PreviewArgs {
    #[command(flatten)]
    flags: PlanFlags,
    /// Exit with 7 if there are any changes
    #[arg(long)]
    expect_no_changes: bool,
    /// Preview taking ownership of fields that belong to other field managers
    #[arg(long)]
    take_ownership: bool,
}

impl PreviewArgs {
    /// Computes and prints the plan; writes nothing anywhere.
    pub(crate) async fn run(self, ctx: &Context) -> Result<(), CommandError> {
        let stack = ctx.open_stack().await?;
        let target = stack.target_to_deploy().await?;
        let plan = self
            .flags
            .show(&stack, &target, "Previewing update")
            .await?;
        plan.check(self.take_ownership)?;
        if self.expect_no_changes && plan.counts().changes() > 0 {
            return Err(CommandError::UnexpectedChanges(
                "no changes were expected but changes are proposed",
            ));
        }
        Ok(())
    }
}
