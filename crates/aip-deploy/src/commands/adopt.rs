//! `adopt`: takes a stack over from Pulumi. Objects keep their names and are not recreated, apart
//! from the Secrets, whose names follow from their content here.

use clap::Args;

use crate::adoption;
use crate::commands::deploy::{Manner, deploy};
use crate::commands::failure::CommandError;
use crate::commands::session::Session;
use crate::commands::up::ApplyFlags;
use crate::foreign::unreadable;
use crate::selection::Selection;
use crate::store::PulumiState as _;
use crate::ui::Screen;

/// Take the stack over from Pulumi
#[derive(Debug, Args)]
pub struct AdoptArgs {
    #[command(flatten)]
    flags: ApplyFlags,
}

impl AdoptArgs {
    /// Shows what changes owner, asks, applies, removes Pulumi's claims. Pulumi's state is only
    /// read.
    pub async fn run(self, selection: &Selection, screen: &Screen) -> Result<(), CommandError> {
        let session = Session::open(selection, screen).await?;
        let locks = session.pulumi.locks().await?;
        if !locks.is_empty() {
            return Err(CommandError::PulumiLocked(locks));
        }
        let checkpoint = session.pulumi.checkpoint().await?;
        let checkpoint = checkpoint.ok_or(CommandError::NoCheckpoint)?;
        let objects = adoption::objects(&checkpoint)
            .map_err(|error| CommandError::Checkpoint(unreadable(&error)))?;
        let mut target = session.target().await?;
        screen.note("These objects change their owner from Pulumi to aip-deploy:");
        for object in &objects {
            let kept = target
                .desired
                .iter()
                .any(|desired| desired.reference().is_same_object(object));
            let fate = if kept {
                "kept"
            } else {
                "replaced or removed when nothing refers to it"
            };
            screen.note(format!("  {object}: {fate}"));
        }
        target.notices.push(
            "from now on use `aip-deploy up` only: `pulumi up` would take the fields back"
                .to_owned(),
        );
        let manner = Manner {
            command: "adopt",
            what: "adoption",
            previewing: "Previewing adoption",
            doing: "Adopting",
            rollback_on_failure: false,
            expect_no_changes: false,
            adopted: Some(&objects),
            restores: false,
            flags: &self.flags,
        };
        deploy(&session, &target, manner).await
    }
}
