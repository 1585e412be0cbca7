//! `rollback`: deploys an earlier revision, from the stack file the history kept.

use clap::Args;

use crate::commands::deploy::{Manner, deploy};
use crate::commands::failure::CommandError;
use crate::commands::session::Session;
use crate::commands::up::ApplyFlags;
use crate::selection::Selection;
use crate::store::{HISTORY, Revision};
use crate::target::Targets as _;
use crate::ui::Screen;

/// Deploy an earlier revision
#[derive(Debug, Args)]
pub struct RollbackArgs {
    /// The revision, by the number in `stack history`; without one, the last but one that succeeded
    revision: Option<u64>,
    #[command(flatten)]
    flags: ApplyFlags,
}

impl RollbackArgs {
    /// Goes back. The stack file is left alone: it says what is wanted, not what is there.
    pub async fn run(self, selection: &Selection, screen: &Screen) -> Result<(), CommandError> {
        let session = Session::open(selection, screen).await?;
        let revision = match self.revision {
            Some(number) => Revision(number),
            None => earlier(&session).await?,
        };
        let record = session.store.revision(revision).await?;
        let record = record.ok_or(CommandError::NoRevision(revision))?;
        let mut target = selection.with_stack_file(&record.stack_file).await?;
        target.notices.push(format!(
            "this deploys revision {} of {}; the stack file and the database schema stay as they are \
             (afterwards, `aip-deploy config refresh` gets its stack file)",
            revision.0, record.started
        ));
        let manner = Manner {
            command: "rollback",
            what: "rollback",
            previewing: "Previewing rollback",
            doing: "Rolling back",
            rollback_on_failure: false,
            expect_no_changes: false,
            adopted: None,
            restores: false,
            flags: &self.flags,
        };
        deploy(&session, &target, manner).await
    }
}

/// The revision before the one that is deployed now.
async fn earlier(session: &Session<'_>) -> Result<Revision, CommandError> {
    let history = session.store.history(HISTORY).await?;
    let mut good = history
        .into_iter()
        .filter(|(_, record)| record.is_good())
        .map(|(revision, _)| revision);
    good.next();
    good.next().ok_or(CommandError::NoEarlierRevision)
}
