//! `destroy`: deletes every object of the inventory. The record of them is kept until the API
//! server confirms that they are gone.

use std::time::Duration;

use clap::Args;
use tokio::time::Instant;

use crate::apply::lease::{LEASE_DURATION, LeaseRenewer};
use crate::apply::{delete_all, kept_by};
use crate::cli_context::{CliContext, SecretsMode};
use crate::commands::deploy::shutdown_signal;
use crate::commands::deploy_context::DeployContext;
use crate::commands::failure::CommandError;
use crate::commands::print;
use crate::guard::{GuardedCluster, PinnedCluster};
use crate::plan::tree::Progress;
use crate::plan::{Namespace, Plan, build, not_desired};
use crate::store::{Inventory, Outcome, OwnedObject, RevisionRecord};
use crate::target::Target;
use crate::ui::Screen;
use crate::ui::prompt::{Answer, ask};
use crate::ui::time::rfc3339;

/// Delete all objects of the stack
#[derive(Debug, Args)]
pub struct DestroyArgs {
    /// Skip the confirmation prompt
    #[arg(short, long)]
    yes: bool,
    /// Time limit for the deletion, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    timeout: u64,
}

impl DestroyArgs {
    /// Deletes. The namespace stays: it may hold what others put there.
    pub async fn run(self, cli: &CliContext, screen: &Screen) -> Result<(), CommandError> {
        let ctx = DeployContext::open(cli, screen).await?;
        let target = cli.target(SecretsMode::Placeholder).await?;
        let inventory = ctx.store.inventory().await?;
        let cluster = ctx.cluster(&target.context, &inventory).await?;
        let cluster = cluster.pinned()?;
        let plan = deletion_plan(&cluster, &inventory).await?;
        print::plan(
            screen,
            "Previewing destroy",
            &plan,
            ctx.stack_info(&[]),
            &cluster,
            false,
        );
        if !self.yes && plan.counts().changes() > 0 {
            screen.line("");
            match ask(screen, "Do you want to perform this destroy?", false)? {
                Answer::Yes => {}
                Answer::No | Answer::Details => return Err(CommandError::Declined("destroy")),
            }
        }
        let holder = ctx.holder("destroy", Some(LEASE_DURATION));
        let lease = LeaseRenewer::acquire(ctx.store.clone(), &holder).await?;
        let result = tokio::select! {
            result = delete(&ctx, &target, &cluster, &lease, self.timeout) => result,
            () = shutdown_signal() => Err(CommandError::Cancelled),
        };
        let released = lease.release().await;
        result?;
        screen.lines([
            "",
            "The resources in the stack have been deleted; its history and configuration are kept.",
        ]);
        screen.line(format!(
            "To remove the stack completely: aip-deploy stack rm {}",
            ctx.stack.as_str()
        ));
        Ok(released?)
    }
}

/// Everything the stack owns or may own.
async fn deletion_plan(
    cluster: &GuardedCluster,
    inventory: &Inventory,
) -> Result<Plan, CommandError> {
    let intents = inventory.intents.iter().flat_map(|intent| &intent.objects);
    let objects = not_desired(&inventory.owned, intents, &[]);
    let stale = cluster.observe_stale(objects).await?;
    Ok(build(Vec::new(), stale, &[], Namespace::Exists))
}

async fn delete(
    ctx: &DeployContext<'_>,
    target: &Target,
    cluster: &PinnedCluster,
    lease: &LeaseRenewer,
    timeout: u64,
) -> Result<(), CommandError> {
    let cli = ctx.cli;
    let (started, since) = (cli.clock.now(), Instant::now());
    let inventory = ctx.store.inventory().await?;
    let plan = deletion_plan(cluster, &inventory).await?;
    let deadline = since + Duration::from_secs(timeout);
    let left = delete_all(cluster, lease, &plan, deadline).await?;
    let progress: Vec<Progress> = plan
        .steps
        .iter()
        .map(|step| {
            if left.iter().any(|left| left.object == step.object) {
                Progress::Failed
            } else {
                Progress::Done(since.elapsed())
            }
        })
        .collect();
    let stack_info = ctx.stack_info(&[]);
    print::result(
        ctx.screen,
        "Destroying",
        &plan,
        stack_info,
        &progress,
        since.elapsed(),
        None,
    );
    let kept: Vec<OwnedObject> = left
        .iter()
        .map(|left| OwnedObject {
            object: left.object.clone(),
            fields: serde_json::Value::Null,
        })
        .collect();
    ctx.store.promote(kept).await?;
    let holder = ctx.holder("destroy", None);
    let record = RevisionRecord {
        command: holder.command,
        user: holder.user,
        host: holder.host,
        started: rfc3339(started),
        ended: rfc3339(cli.clock.now()),
        git_commit: None,
        image: None,
        counts: plan.counts(),
        outcome: if left.is_empty() {
            Outcome::Succeeded
        } else {
            Outcome::Failed
        },
        stack_file: target.stack_file.clone(),
    };
    ctx.store.append_history(&record).await?;
    if left.is_empty() {
        Ok(())
    } else {
        Err(CommandError::StillThere(
            left.iter()
                .map(|left| format!("{}{}", left.object, kept_by(&left.finalizers)))
                .collect(),
        ))
    }
}
