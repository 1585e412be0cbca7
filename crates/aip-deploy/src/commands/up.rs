//! `up`: preview, question, apply, rollout.

use std::time::Duration;

use clap::Args;

use crate::apply::Options;
use crate::commands::deploy::{Manner, deploy};
use crate::commands::failure::CommandError;
use crate::commands::session::Session;
use crate::selection::Selection;
use crate::ui::Screen;

/// Flags of every command that applies a plan.
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is a flag of the command line"
)]
#[derive(Debug, Args)]
pub struct ApplyFlags {
    /// Do not ask
    #[arg(short, long)]
    pub(super) yes: bool,
    /// Do not show the plan first
    #[arg(short = 'f', long)]
    pub(super) skip_preview: bool,
    /// Show every changed field
    #[arg(long)]
    pub(super) diff: bool,
    /// Take over fields that belong to other managers
    #[arg(long)]
    pub(super) take_ownership: bool,
    /// How long migration and rollout may take together, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 600, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(super) timeout: u64,
    /// Do not wait for the rollout
    #[arg(long)]
    pub(super) no_wait: bool,
}

impl ApplyFlags {
    /// What to wait for.
    pub(super) fn options(&self) -> Options {
        Options {
            wait: !self.no_wait,
            timeout: Duration::from_secs(self.timeout),
            hand_over: false,
        }
    }
}

/// Deploy the stack
#[derive(Debug, Args)]
pub struct UpArgs {
    #[command(flatten)]
    flags: ApplyFlags,
    /// Restore the last revision that succeeded if the rollout fails
    #[arg(long, conflicts_with = "no_wait")]
    rollback_on_failure: bool,
    /// Exit with 7 if anything was changed
    #[arg(long)]
    expect_no_changes: bool,
}

impl UpArgs {
    /// Deploys.
    pub async fn run(self, selection: &Selection, screen: &Screen) -> Result<(), CommandError> {
        let session = Session::open(selection, screen).await?;
        let target = session.target().await?;
        let manner = Manner {
            command: "up",
            what: "update",
            previewing: "Previewing update",
            doing: "Updating",
            rollback_on_failure: self.rollback_on_failure,
            expect_no_changes: self.expect_no_changes,
            adopted: None,
            restores: false,
            flags: &self.flags,
        };
        deploy(&session, &target, manner).await
    }
}
