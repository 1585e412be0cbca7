//! `up`: preview, question, apply, rollout.

use std::time::Duration;

use clap::Args;

use crate::apply::ApplyOptions;
use crate::cli_context::CliContext;
use crate::commands::deploy::{DeployRequest, deploy};
use crate::commands::deploy_context::DeployContext;
use crate::commands::failure::CommandError;
use crate::ui::Screen;

/// Flags of every command that applies a plan.
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is a flag of the command line"
)]
#[derive(Debug, Args)]
pub struct ApplyFlags {
    /// Skip the confirmation prompt
    #[arg(short, long)]
    pub(super) yes: bool,
    /// Skip the preview
    #[arg(short = 'f', long)]
    pub(super) skip_preview: bool,
    /// Show every changed field
    #[arg(long)]
    pub(super) diff: bool,
    /// Take ownership of fields that belong to other field managers
    #[arg(long)]
    pub(super) take_ownership: bool,
    /// Time limit for migration and rollout together, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 600, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(super) timeout: u64,
    /// Do not wait for the rollout
    #[arg(long)]
    pub(super) no_wait: bool,
}

impl ApplyFlags {
    /// What to wait for.
    pub(super) fn options(&self) -> ApplyOptions {
        ApplyOptions {
            wait: !self.no_wait,
            timeout: Duration::from_secs(self.timeout),
            release_pulumi_ownership: false,
        }
    }
}

/// Deploy the stack
#[derive(Debug, Args)]
pub struct UpArgs {
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
    /// Deploys.
    pub async fn run(self, cli: &CliContext, screen: &Screen) -> Result<(), CommandError> {
        let ctx = DeployContext::open(cli, screen).await?;
        let target = ctx.target().await?;
        let request = DeployRequest {
            command: "up",
            operation: "update",
            preview_heading: "Previewing update",
            progress_heading: "Updating",
            rollback_on_failure: self.rollback_on_failure,
            expect_no_changes: self.expect_no_changes,
            adopted_objects: None,
            is_auto_rollback: false,
            flags: &self.flags,
        };
        deploy(&ctx, &target, request).await
    }
}
