//! The flags of every command that applies a plan.

use std::time::Duration;

use aip_apply::apply::ApplyOptions;
use clap::Args;

/// Flags of every command that applies a plan.
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is a flag of the command line"
)]
#[derive(Debug, Args)]
pub(crate) struct ApplyFlags {
    /// Skip the confirmation prompt
    #[arg(short, long)]
    pub(crate) yes: bool,
    /// Skip the preview
    #[arg(short = 'f', long)]
    pub(crate) skip_preview: bool,
    /// Show every changed field
    #[arg(long)]
    pub(crate) diff: bool,
    /// Take ownership of fields that belong to other field managers
    #[arg(long)]
    pub(crate) take_ownership: bool,
    /// Time limit for migration and rollout together, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = DEFAULT_TIMEOUT_SECONDS, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(crate) timeout: u64,
    /// Do not wait for the rollout
    #[arg(long)]
    pub(crate) no_wait: bool,
}

/// The default of `--timeout`.
const DEFAULT_TIMEOUT_SECONDS: u64 = 600;

impl ApplyFlags {
    /// As `up --yes` has them.
    pub(crate) fn unattended() -> Self {
        Self {
            yes: true,
            skip_preview: false,
            diff: false,
            take_ownership: false,
            timeout: DEFAULT_TIMEOUT_SECONDS,
            no_wait: false,
        }
    }

    /// What to wait for.
    pub(crate) fn options(&self) -> ApplyOptions {
        ApplyOptions {
            wait: !self.no_wait,
            timeout: Duration::from_secs(self.timeout),
            release_pulumi_ownership: false,
        }
    }
}
