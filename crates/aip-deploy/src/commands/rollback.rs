//! `rollback`: deploys an earlier revision, from the stack file the history kept.

use clap::Args;

use crate::cli_context::CliContext;
use crate::commands::deploy::{DeployRequest, deploy};
use crate::commands::deploy_context::DeployContext;
use crate::commands::failure::CommandError;
use crate::commands::up::ApplyFlags;
use crate::store::{HISTORY_LIMIT, Revision};
use crate::target::Targets as _;
use crate::ui::Screen;

/// Deploy an earlier revision
#[derive(Debug, Args)]
pub struct RollbackArgs {
    /// Revision number from `stack history`; defaults to the successful one before the current
    revision: Option<u64>,
    #[command(flatten)]
    flags: ApplyFlags,
}

impl RollbackArgs {
    /// Goes back. The stack file is left alone: it says what is wanted, not what is there.
    pub async fn run(self, cli: &CliContext, screen: &Screen) -> Result<(), CommandError> {
        let ctx = DeployContext::open(cli, screen).await?;
        let revision = match self.revision {
            Some(number) => Revision(number),
            None => previous_good_revision(&ctx).await?,
        };
        let record = ctx.store.revision(revision).await?;
        let record = record.ok_or(CommandError::NoRevision(revision))?;
        let mut target = cli.with_stack_file(&record.stack_file).await?;
        target.notices.push(format!(
            "this deploys revision {} of {}; the stack file and the database schema are not changed (run \
             `aip-deploy config refresh` afterwards to restore its stack file)",
            revision.0, record.started
        ));
        let request = DeployRequest {
            command: "rollback",
            operation: "rollback",
            preview_heading: "Previewing rollback",
            progress_heading: "Rolling back",
            rollback_on_failure: false,
            expect_no_changes: false,
            adopted_objects: None,
            is_auto_rollback: false,
            flags: &self.flags,
        };
        deploy(&ctx, &target, request).await
    }
}

/// The revision before the one that is deployed now.
async fn previous_good_revision(ctx: &DeployContext<'_>) -> Result<Revision, CommandError> {
    let history = ctx.store.history(HISTORY_LIMIT).await?;
    let mut good = history
        .into_iter()
        .filter(|(_, record)| record.is_good())
        .map(|(revision, _)| revision);
    good.next();
    good.next().ok_or(CommandError::NoEarlierRevision)
}
