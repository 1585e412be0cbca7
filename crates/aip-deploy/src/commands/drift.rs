//! `drift`: what was changed in the cluster since the last deployment. Unlike `preview` it does
//! not look at the stack file as it stands now, so your own changes are not in the way.

use clap::Args;

use crate::cli_context::CliContext;
use crate::commands::deploy_context::{DeployContext, plan};
use crate::commands::failure::CommandError;
use crate::commands::print;
use crate::plan::fields::other_managers;
use crate::store::last_good;
use crate::target::{Target, Targets as _};
use crate::ui::Screen;

/// Show drift: changes in the cluster since the last deployment
#[derive(Debug, Args)]
pub struct DriftArgs {
    /// Show every changed field
    #[arg(long)]
    diff: bool,
    /// Print the drift as JSON
    #[arg(short, long)]
    json: bool,
}

impl DriftArgs {
    /// Compares the cluster with the last deployment; exits with 7 if they differ.
    pub async fn run(self, cli: &CliContext, screen: &Screen) -> Result<(), CommandError> {
        let ctx = DeployContext::open(cli, screen).await?;
        let target = last_deployed_target(&ctx).await?;
        let inventory = ctx.store.inventory().await?;
        let cluster = ctx.cluster(&target.context, &inventory).await?;
        let plan = plan(&cluster, &target, &inventory).await?;
        let stack_info = ctx.stack_info(&target.notices);
        if self.json {
            print::plan_json(screen, &plan, stack_info);
        } else {
            print::plan(
                screen,
                "Checking for drift",
                &plan,
                stack_info,
                &cluster,
                self.diff,
            );
            for step in &plan.steps {
                if let Some(live) = cluster.read(&step.object).await? {
                    let others: Vec<String> = other_managers(&live).into_iter().collect();
                    if !others.is_empty() {
                        screen.status(format!(
                            "note: {} also has fields managed by {}",
                            step.object,
                            others.join(", ")
                        ));
                    }
                }
            }
        }
        if plan.steps.iter().any(crate::plan::Step::is_change) {
            return Err(CommandError::UnexpectedChanges(
                "the cluster differs from the last deployment; `aip-deploy up` reverts the drift",
            ));
        }
        Ok(())
    }
}

/// What was deployed last, or the stack file if the history does not say.
async fn last_deployed_target(ctx: &DeployContext<'_>) -> Result<Target, CommandError> {
    match last_good(ctx.store.as_ref()).await? {
        Some((_, record)) => Ok(ctx.cli.with_stack_file(&record.stack_file).await?),
        None => ctx.target().await,
    }
}
