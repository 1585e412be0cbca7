//! `preview`: what `up` would do, computed by the API server against the live cluster.

use clap::Args;

use crate::cli_context::CliContext;
use crate::commands::deploy_context::{DeployContext, plan};
use crate::commands::failure::CommandError;
use crate::commands::print;
use crate::ui::Screen;

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
    pub async fn run(self, cli: &CliContext, screen: &Screen) -> Result<(), CommandError> {
        let ctx = DeployContext::open(cli, screen).await?;
        let target = ctx.target().await?;
        let inventory = ctx.store.inventory().await?;
        let cluster = ctx.cluster(&target.context, &inventory).await?;
        let plan = plan(&cluster, &target, &inventory).await?;
        let stack_info = ctx.stack_info(&target.notices);
        if self.json {
            print::plan_json(screen, &plan, stack_info);
        } else {
            print::plan(
                screen,
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
