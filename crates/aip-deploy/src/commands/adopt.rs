//! `adopt`: takes a stack over from Pulumi. Objects keep their names and are not recreated, apart
//! from the Secrets, whose names follow from their content here.

use clap::Args;

use crate::adoption;
use crate::cli_context::CliContext;
use crate::commands::deploy::{DeployRequest, deploy};
use crate::commands::deploy_context::DeployContext;
use crate::commands::failure::CommandError;
use crate::commands::up::ApplyFlags;
use crate::error_text::json_error_position;
use crate::store::PulumiState as _;
use crate::ui::Screen;

/// Take over a stack from Pulumi
#[derive(Debug, Args)]
pub struct AdoptArgs {
    #[command(flatten)]
    flags: ApplyFlags,
}

impl AdoptArgs {
    /// Shows what changes owner, asks, applies, removes Pulumi's claims. Pulumi's state is only
    /// read.
    pub async fn run(self, cli: &CliContext, screen: &Screen) -> Result<(), CommandError> {
        let ctx = DeployContext::open(cli, screen).await?;
        let locks = ctx.pulumi.locks().await?;
        if !locks.is_empty() {
            return Err(CommandError::PulumiLocked(locks));
        }
        let checkpoint = ctx.pulumi.checkpoint().await?;
        let checkpoint = checkpoint.ok_or(CommandError::NoCheckpoint)?;
        let objects = adoption::objects(&checkpoint)
            .map_err(|error| CommandError::Checkpoint(json_error_position(&error)))?;
        let mut target = ctx.target().await?;
        screen.status("Ownership of these objects moves from Pulumi to aip-deploy:");
        for object in &objects {
            let kept = target
                .desired
                .iter()
                .any(|desired| desired.reference().is_same_object(object));
            let outcome = if kept {
                "kept"
            } else {
                "replaced, and pruned once unreferenced"
            };
            screen.status(format!("  {object}: {outcome}"));
        }
        target.notices.push(
            "from now on use only `aip-deploy up`: `pulumi up` would take ownership of the fields again"
                .to_owned(),
        );
        let request = DeployRequest {
            command: "adopt",
            operation: "adoption",
            preview_heading: "Previewing adoption",
            progress_heading: "Adopting",
            rollback_on_failure: false,
            expect_no_changes: false,
            adopted_objects: Some(&objects),
            is_auto_rollback: false,
            flags: &self.flags,
        };
        deploy(&ctx, &target, request).await
    }
}
