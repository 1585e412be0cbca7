//! `drift`: what was changed in the cluster since the last deployment. Unlike `preview` it does
//! not look at the stack file as it stands now, so your own changes are not in the way.

use clap::Args;

use crate::commands::failure::CommandError;
use crate::commands::session::{Session, plan};
use crate::commands::shown;
use crate::plan::fields::other_managers;
use crate::selection::Selection;
use crate::store::last_good;
use crate::target::{Target, Targets as _};
use crate::ui::Screen;

/// Show what was changed in the cluster since the last deployment
#[derive(Debug, Args)]
pub struct DriftArgs {
    /// Show every changed field
    #[arg(long)]
    diff: bool,
    /// Print the difference as JSON
    #[arg(short, long)]
    json: bool,
}

impl DriftArgs {
    /// Compares the cluster with the last deployment; exits with 7 if they differ.
    pub async fn run(self, selection: &Selection, screen: &Screen) -> Result<(), CommandError> {
        let session = Session::open(selection, screen).await?;
        let target = deployed(&session).await?;
        let inventory = session.store.inventory().await?;
        let cluster = session.cluster(&target.context, &inventory).await?;
        let plan = plan(&cluster, &target, &inventory).await?;
        let names = session.names(&target.notices);
        if self.json {
            shown::digest(screen, &plan, names);
        } else {
            shown::plan(
                screen,
                "Looking for drift",
                &plan,
                names,
                &cluster,
                self.diff,
            );
            for step in &plan.steps {
                if let Some(live) = cluster.read(&step.object).await? {
                    let others: Vec<String> = other_managers(&live).into_iter().collect();
                    if !others.is_empty() {
                        screen.note(format!(
                            "note: {} also has fields of {}",
                            step.object,
                            others.join(", ")
                        ));
                    }
                }
            }
        }
        if plan.steps.iter().any(crate::plan::Step::is_change) {
            return Err(CommandError::UnexpectedChanges(
                "the cluster differs from what was deployed; `aip-deploy up` sets it right",
            ));
        }
        Ok(())
    }
}

/// What was deployed last, or the stack file if the history does not say.
async fn deployed(session: &Session<'_>) -> Result<Target, CommandError> {
    match last_good(session.store.as_ref()).await? {
        Some((_, record)) => Ok(session
            .selection
            .with_stack_file(&record.stack_file)
            .await?),
        None => session.target().await,
    }
}
