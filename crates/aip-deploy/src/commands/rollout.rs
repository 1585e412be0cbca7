//! `rollout`: watches the rollout of the stack's Deployments until it is done or has failed.

use std::time::Duration;

use clap::Args;

use crate::apply::Reporter as _;
use crate::commands::failure::CommandError;
use crate::commands::reporter::Live;
use crate::commands::session::Session;
use crate::rollout::{Ended, follow};
use crate::selection::{Reveal, Selection};
use crate::ui::Screen;

/// Watch the rollout
#[derive(Debug, Args)]
pub struct RolloutArgs {
    /// How long to watch, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 600, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    timeout: u64,
}

impl RolloutArgs {
    /// Watches; writes nothing.
    pub async fn run(self, selection: &Selection, screen: &Screen) -> Result<(), CommandError> {
        let session = Session::open(selection, screen).await?;
        // Names of Deployments do not depend on secrets: no passphrase is needed.
        let target = selection.target(Reveal::Stubs).await?;
        let inventory = session.store.inventory().await?;
        let cluster = session.cluster(&target.context, &inventory).await?;
        let deployments = target
            .desired
            .iter()
            .filter(|desired| desired.kind.kind == "Deployment");
        for name in deployments.map(|desired| desired.reference().name) {
            let mut live = Live::new(screen, session.names(&[]), "Watching");
            let ended = follow(
                &cluster,
                &target.namespace,
                &name,
                selection.clock.as_ref(),
                Duration::from_secs(self.timeout),
                |rollout| live.rollout(rollout),
            )
            .await?;
            live.finish();
            match ended {
                Ended::Done => screen.line(format!("Deployment {name} is rolled out")),
                Ended::Failed(failure, log) => {
                    live.log(failure.container.as_deref().unwrap_or(&name), &log);
                    return Err(CommandError::Rollout(failure));
                }
                Ended::TimedOut(pending, log) => {
                    let behind = pending.behind.as_ref();
                    let container = behind.and_then(|behind| behind.container.as_deref());
                    live.log(container.unwrap_or(&name), &log);
                    return Err(CommandError::TimedOut(pending.to_string()));
                }
            }
        }
        Ok(())
    }
}
