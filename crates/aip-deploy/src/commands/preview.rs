//! `preview`: what `up` would do, computed by the API server against the live cluster.

use clap::Args;

use crate::commands::failure::CommandError;
use crate::commands::session::{Session, plan};
use crate::commands::shown;
use crate::selection::Selection;
use crate::ui::Screen;

/// Show what `up` would change
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is a flag of the command line"
)]
#[derive(Debug, Args)]
pub struct PreviewArgs {
    /// Show every changed field
    #[arg(long)]
    diff: bool,
    /// Print the plan as JSON
    #[arg(short, long)]
    json: bool,
    /// Exit with 7 if there is anything to do
    #[arg(long)]
    expect_no_changes: bool,
    /// Show what taking over the fields of other managers would do
    #[arg(long)]
    take_ownership: bool,
}

impl PreviewArgs {
    /// Computes and prints the plan; writes nothing anywhere.
    pub async fn run(self, selection: &Selection, screen: &Screen) -> Result<(), CommandError> {
        let session = Session::open(selection, screen).await?;
        let target = session.target().await?;
        let inventory = session.store.inventory().await?;
        let cluster = session.cluster(&target.context, &inventory).await?;
        let plan = plan(&cluster, &target, &inventory).await?;
        let names = session.names(&target.notices);
        if self.json {
            shown::digest(screen, &plan, names);
        } else {
            shown::plan(
                screen,
                "Previewing update",
                &plan,
                names,
                &cluster,
                self.diff,
            );
        }
        plan.check(self.take_ownership)?;
        if self.expect_no_changes && plan.counts().changes() > 0 {
            return Err(CommandError::UnexpectedChanges(
                "no changes were expected but changes are proposed",
            ));
        }
        Ok(())
    }
}
