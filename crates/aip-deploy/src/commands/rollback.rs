//! `rollback`: deploys an earlier revision, from the stack file the history kept.

use aip_apply::store::{HISTORY_LIMIT, Revision};
use clap::Args;

use crate::commands::apply_flags::ApplyFlags;
use crate::commands::failure::CommandError;
use crate::context::{Context, OpenStack};
use crate::workflow::{Deployment, Operation};

/// Deploy an earlier revision
#[derive(Debug, Args)]
#[command(after_help = examples!["rollback", "rollback 12 --diff", "rollback --yes --timeout 900"])]
pub(crate) struct RollbackArgs {
    /// Revision number from `stack history`; defaults to the successful one before the current
    revision: Option<u64>,
    #[command(flatten)]
    flags: ApplyFlags,
}

impl RollbackArgs {
    /// Goes back. The stack file is left alone: it says what is wanted, not what is there.
    pub(crate) async fn run(self, ctx: &Context) -> Result<(), CommandError> {
        let stack = ctx.open_stack().await?;
        let revision = match self.revision {
            Some(number) => Revision(number),
            None => previous_good_revision(&stack).await?,
        };
        let record = stack.store.revision(revision).await?;
        let record = record.ok_or(CommandError::NoRevision(revision))?;
        let mut target = stack.target_of_revision(&record).await?;
        target.notices.push(format!(
            "this deploys revision {} of {}; the stack file and the database schema are not changed (run \
             `aip-deploy config refresh` afterwards to restore its stack file)",
            revision.0, record.started
        ));
        Deployment::new(&stack, &target, Operation::Rollback, &self.flags)
            .run()
            .await
    }
}

/// The revision before the one that is deployed now.
async fn previous_good_revision(stack: &OpenStack<'_>) -> Result<Revision, CommandError> {
    let history = stack.store.history(HISTORY_LIMIT).await?;
    let mut good = history
        .into_iter()
        .filter(|(_, record)| record.is_good())
        .map(|(revision, _)| revision);
    good.next();
    good.next().ok_or(CommandError::NoEarlierRevision)
}
