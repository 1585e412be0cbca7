//! `rollout`: watches the rollout of the stack's Deployments until it is done or has failed.

use std::time::Duration;

use clap::Args;

use crate::apply::Reporter as _;
use crate::cli_context::{CliContext, SecretsMode};
use crate::commands::deploy_context::DeployContext;
use crate::commands::failure::CommandError;
use crate::commands::reporter::ProgressView;
use crate::rollout::{FollowOutcome, follow};
use crate::ui::Screen;

/// Watch the rollout
#[derive(Debug, Args)]
pub struct RolloutArgs {
    /// Time limit, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 600, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    timeout: u64,
}

impl RolloutArgs {
    /// Watches; writes nothing.
    pub async fn run(self, cli: &CliContext, screen: &Screen) -> Result<(), CommandError> {
        let ctx = DeployContext::open(cli, screen).await?;
        // Names of Deployments do not depend on secrets: no passphrase is needed.
        let target = cli.target(SecretsMode::Placeholder).await?;
        let inventory = ctx.store.inventory().await?;
        let cluster = ctx.cluster(&target.context, &inventory).await?;
        let deployments = target
            .desired
            .iter()
            .filter(|desired| desired.kind.kind == "Deployment");
        for name in deployments.map(|desired| desired.reference().name) {
            let mut view = ProgressView::new(screen, ctx.stack_info(&[]), "Watching");
            let ended = follow(
                &cluster,
                &target.namespace,
                &name,
                cli.clock.as_ref(),
                Duration::from_secs(self.timeout),
                |rollout| view.rollout(rollout),
            )
            .await?;
            view.finish();
            match ended {
                FollowOutcome::Done => screen.line(format!("Deployment {name} is rolled out")),
                FollowOutcome::Failed(failure, log) => {
                    view.log(failure.container.as_deref().unwrap_or(&name), &log);
                    return Err(CommandError::Rollout(failure));
                }
                FollowOutcome::TimedOut(pending, log) => {
                    let lagging = pending.lagging.as_ref();
                    let container = lagging.and_then(|lagging| lagging.container.as_deref());
                    view.log(container.unwrap_or(&name), &log);
                    return Err(CommandError::TimedOut(pending.to_string()));
                }
            }
        }
        Ok(())
    }
}
