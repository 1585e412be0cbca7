//! `adopt`: takes a stack over from Pulumi. Objects keep their names and are not recreated, apart
//! from the Secrets, whose names follow from their content here.

use aip_apply::error_text::json_error_position;
use clap::Args;

use crate::commands::apply_flags::ApplyFlags;
use crate::commands::failure::CommandError;
use crate::context::Context;
use crate::pulumi_state;
use crate::workflow::{Deployment, Operation};

/// Take over a stack from Pulumi
#[derive(Debug, Args)]
#[command(after_help = examples!["adopt --diff", "adopt --stack main --yes"])]
pub(crate) struct AdoptArgs {
    #[command(flatten)]
    flags: ApplyFlags,
}

impl AdoptArgs {
    /// Shows what changes owner, asks, applies, removes Pulumi's claims. Pulumi's state is only
    /// read.
    pub(crate) async fn run(self, ctx: &Context) -> Result<(), CommandError> {
        let stack = ctx.open_stack().await?;
        let locks = stack.pulumi.locks().await?;
        if !locks.is_empty() {
            return Err(CommandError::PulumiLocked(locks));
        }
        let checkpoint = stack.pulumi.checkpoint().await?;
        let checkpoint = checkpoint.ok_or(CommandError::NoCheckpoint)?;
        let objects = pulumi_state::objects(&checkpoint)
            .map_err(|error| CommandError::Checkpoint(json_error_position(&error)))?;
        let mut target = stack.target_to_deploy().await?;
        ctx.screen
            .status("Ownership of these objects moves from Pulumi to aip-deploy:");
        for object in &objects {
            let kept = target
                .desired
                .iter()
                .any(|desired| desired.object().is_same_object(object));
            let outcome = if kept {
                "kept"
            } else {
                "replaced, and pruned once unreferenced"
            };
            ctx.screen.status(format!("  {object}: {outcome}"));
        }
        target.notices.push(
            "from now on use only `aip-deploy up`: `pulumi up` would take ownership of the fields again"
                .to_owned(),
        );
        let operation = Operation::Adopt { objects: &objects };
        Deployment::new(&stack, &target, operation, &self.flags)
            .run()
            .await
    }
}
