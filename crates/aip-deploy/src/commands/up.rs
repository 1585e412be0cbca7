//! `up`: preview, question, apply, rollout.

use clap::Args;

use crate::commands::apply_flags::ApplyFlags;
use crate::commands::failure::CommandError;
use crate::context::Context;
use crate::workflow::{Deployment, Operation};

/// Deploy the stack
#[derive(Debug, Args)]
#[command(after_help = examples![
    "up",
    "up --yes --rollback-on-failure --timeout 900",
    "up --yes --expect-no-changes",
])]
pub(crate) struct UpArgs {
    #[command(flatten)]
    flags: ApplyFlags,
    /// Roll back to the last successful revision if the rollout fails
    #[arg(long, conflicts_with = "no_wait")]
    rollback_on_failure: bool,
    /// Exit with 7 if anything was changed
    #[arg(long)]
    expect_no_changes: bool,
}

impl UpArgs {
    pub(crate) async fn run(self, ctx: &Context) -> Result<(), CommandError> {
        let stack = ctx.open_stack().await?;
        let target = stack.target_to_deploy().await?;
        let operation = Operation::Up {
            rollback_on_failure: self.rollback_on_failure,
            expect_no_changes: self.expect_no_changes,
        };
        Deployment::new(&stack, &target, operation, &self.flags)
            .run()
            .await
    }
}
