//! `rollout`: watches the rollout of the stack's Deployments, and what leads to them, until it is done or
//! has failed.

use std::time::Duration;

use aip_apply::apply::Reporter as _;
use aip_apply::rollout::{AwaitedKind, FollowOutcome, Following};
use aip_stack::desired::Desired;
use clap::Args;

use crate::commands::failure::CommandError;
use crate::context::{Context, SecretsMode};
use crate::present::progress::ProgressView;

/// Watch the rollout
#[derive(Debug, Args)]
#[command(after_help = examples!["rollout", "rollout --timeout 60"])]
pub(crate) struct RolloutArgs {
    /// Time limit, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 600, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    timeout: u64,
}

impl RolloutArgs {
    pub(crate) async fn run(self, ctx: &Context) -> Result<(), CommandError> {
        let stack = ctx.open_stack().await?;
        // Of what is followed, no name depends on secrets: no passphrase is needed.
        let target = stack.target(SecretsMode::Placeholder).await?;
        let inventory = stack.store.inventory().await?;
        let cluster = stack.cluster(&target.context, &inventory).await?;
        for object in target.desired.iter().map(Desired::object) {
            // A migration is no part of it: it is done before.
            let Some(kind) = AwaitedKind::of(object).filter(|kind| *kind != AwaitedKind::Job)
            else {
                continue;
            };
            let name = object.name.as_str();
            let mut view = ProgressView::new(&ctx.screen, stack.stack_info(&[]), "Watching");
            let following = Following {
                cluster: &cluster,
                namespace: &target.namespace,
                clock: ctx.clock.as_ref(),
                timeout: Duration::from_secs(self.timeout),
            };
            let followed = kind
                .follow(following, name, |state| view.awaited(state))
                .await?;
            view.finish();
            view.log(followed.container().unwrap_or(name), &followed.log);
            match followed.outcome {
                FollowOutcome::Done => {
                    let state = if kind == AwaitedKind::Deployment {
                        "rolled out"
                    } else {
                        "ready"
                    };
                    ctx.screen
                        .line(format!("{} {name} is {state}", object.kind));
                }
                FollowOutcome::Failed(failure) => return Err(CommandError::Rollout(failure)),
                FollowOutcome::TimedOut(pending) => {
                    return Err(CommandError::TimedOut(pending.to_string()));
                }
            }
        }
        Ok(())
    }
}
