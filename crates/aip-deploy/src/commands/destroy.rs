//! `destroy`: deletes every object of the inventory. The record of them is kept until the API
//! server confirms that they are gone.

use std::time::Duration;

use clap::Args;
use tokio::time::Instant;

use crate::apply::lease::{LeaseKeeper, TTL};
use crate::apply::{delete_all, kept_by};
use crate::commands::deploy::interrupted;
use crate::commands::failure::CommandError;
use crate::commands::session::Session;
use crate::commands::shown;
use crate::guard::{GuardedCluster, PinnedCluster};
use crate::plan::tree::Progress;
use crate::plan::{Namespace, Plan, build, not_desired};
use crate::selection::{Reveal, Selection};
use crate::store::{Inventory, Outcome, Recorded, RevisionRecord};
use crate::target::Target;
use crate::ui::Screen;
use crate::ui::prompt::{Answer, ask};
use crate::ui::time::rfc3339;

/// Delete everything the stack deployed
#[derive(Debug, Args)]
pub struct DestroyArgs {
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    /// How long the objects may take to go, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    timeout: u64,
}

impl DestroyArgs {
    /// Deletes. The namespace stays: it may hold what others put there.
    pub async fn run(self, selection: &Selection, screen: &Screen) -> Result<(), CommandError> {
        let session = Session::open(selection, screen).await?;
        let target = selection.target(Reveal::Stubs).await?;
        let inventory = session.store.inventory().await?;
        let cluster = session.cluster(&target.context, &inventory).await?;
        let cluster = cluster.pinned()?;
        let plan = doomed(&cluster, &inventory).await?;
        shown::plan(
            screen,
            "Previewing destroy",
            &plan,
            session.names(&[]),
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
        let holder = session.holder("destroy", Some(TTL));
        let lease = LeaseKeeper::acquire(session.store.clone(), &holder).await?;
        let result = tokio::select! {
            result = delete(&session, &target, &cluster, &lease, self.timeout) => result,
            () = interrupted() => Err(CommandError::Cancelled),
        };
        let released = lease.release().await;
        result?;
        screen.lines([
            "",
            "The objects of the stack have been deleted; its history and configuration are kept.",
        ]);
        screen.line(format!(
            "To remove the stack completely: aip-deploy stack rm {}",
            session.stack.as_str()
        ));
        Ok(released?)
    }
}

/// Everything the stack owns or may own.
async fn doomed(cluster: &GuardedCluster, inventory: &Inventory) -> Result<Plan, CommandError> {
    let intents = inventory.intents.iter().flat_map(|intent| &intent.objects);
    let objects = not_desired(&inventory.owned, intents, &[]);
    let stale = cluster.observe_stale(objects).await?;
    Ok(build(Vec::new(), stale, &[], Namespace::Exists))
}

async fn delete(
    session: &Session<'_>,
    target: &Target,
    cluster: &PinnedCluster,
    lease: &LeaseKeeper,
    timeout: u64,
) -> Result<(), CommandError> {
    let selection = session.selection;
    let (started, since) = (selection.clock.now(), Instant::now());
    let inventory = session.store.inventory().await?;
    let plan = doomed(cluster, &inventory).await?;
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
    let names = session.names(&[]);
    shown::result(
        session.screen,
        "Destroying",
        &plan,
        names,
        &progress,
        since.elapsed(),
        None,
    );
    let kept: Vec<Recorded> = left
        .iter()
        .map(|left| Recorded {
            object: left.object.clone(),
            fields: serde_json::Value::Null,
        })
        .collect();
    session.store.promote(kept).await?;
    let holder = session.holder("destroy", None);
    let record = RevisionRecord {
        command: holder.command,
        user: holder.user,
        host: holder.host,
        started: rfc3339(started),
        ended: rfc3339(selection.clock.now()),
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
    session.store.append_history(&record).await?;
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
