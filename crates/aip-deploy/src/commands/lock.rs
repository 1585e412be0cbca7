//! `lock`, `unlock`, `cancel`: the lease by hand.

use aip_apply::apply::lease::{LOCK_COMMAND, LeaseError, describe};
use aip_apply::store::{AcquireOutcome, Lease};
use clap::Args;

use crate::commands::failure::CommandError;
use crate::context::{Context, OpenStack};
use crate::ui::prompt::{Answer, ask};

/// Lock the stack against changes until `unlock`
#[derive(Debug, Args)]
#[command(after_help = examples!["lock", "lock --reason maintenance"])]
pub(crate) struct LockArgs {
    /// Reason, shown to those who are locked out
    #[arg(short = 'm', long, value_name = "TEXT", value_parser = reason)]
    reason: Option<String>,
}

/// As long as a reason may be: it is shown in one line.
const MAX_REASON_CHARS: usize = 200;

fn reason(text: &str) -> Result<String, String> {
    if text.chars().count() > MAX_REASON_CHARS || text.contains(char::is_control) {
        return Err(format!("one line of at most {MAX_REASON_CHARS} characters"));
    }
    Ok(text.to_owned())
}

impl LockArgs {
    /// Acquires the lease without expiry.
    pub(crate) async fn run(self, ctx: &Context) -> Result<(), CommandError> {
        let stack = ctx.open_stack().await?;
        let command = match &self.reason {
            Some(reason) => format!("{LOCK_COMMAND}: {reason}"),
            None => LOCK_COMMAND.to_owned(),
        };
        match stack.store.acquire(&stack.holder(&command, None)).await? {
            AcquireOutcome::Acquired(_) => {
                ctx.screen
                    .status(format!("Stack {} is locked", stack.stack.name.as_str()));
                Ok(())
            }
            AcquireOutcome::HeldBy(lease) => Err(LeaseError::HeldBy(Box::new(lease)).into()),
        }
    }
}

/// Unlock a stack that was locked with `lock`
#[derive(Debug, Args)]
#[command(after_help = examples!["unlock", "unlock --stack main --yes"])]
pub(crate) struct UnlockArgs {
    /// Skip the confirmation prompt
    #[arg(short, long)]
    yes: bool,
}

impl UnlockArgs {
    pub(crate) async fn run(self, ctx: &Context) -> Result<(), CommandError> {
        let stack = ctx.open_stack().await?;
        let lease = current_lease(&stack).await?;
        if lease.expires.is_some() {
            ctx.screen.status(describe(&lease));
            return Err(CommandError::NotLocked(
                "held by a running command, not by `lock`; `aip-deploy cancel` releases its lease",
            ));
        }
        ctx.screen.status(describe(&lease));
        if !self.yes && ask(&ctx.screen, "Do you want to release this lock?", false)? != Answer::Yes
        {
            return Err(CommandError::Declined("unlock"));
        }
        remove(&stack, &lease).await
    }
}

/// Release a stale lease
#[derive(Debug, Args)]
#[command(after_help = examples!["cancel", "cancel --stack main --yes"])]
pub(crate) struct CancelArgs {
    /// Skip the confirmation prompt
    #[arg(short, long)]
    yes: bool,
}

impl CancelArgs {
    /// Shows whose lease it is, wants the stack's name, removes it. A command that still runs
    /// notices it before its next write.
    pub(crate) async fn run(self, ctx: &Context) -> Result<(), CommandError> {
        let stack = ctx.open_stack().await?;
        let lease = current_lease(&stack).await?;
        ctx.screen.status(describe(&lease));
        let question =
            "This releases the lease; the command that holds it stops before its next write.";
        let label = "Type the stack name to confirm";
        let name = stack.stack.name.as_str();
        if !self.yes && !ctx.screen.confirm_by_typing(question, label, name)? {
            return Err(CommandError::Declined("cancel"));
        }
        remove(&stack, &lease).await
    }
}

async fn current_lease(stack: &OpenStack<'_>) -> Result<Lease, CommandError> {
    let lease = stack.store.lease().await?;
    lease.ok_or(CommandError::NotLocked("no lease is held on this stack"))
}

async fn remove(stack: &OpenStack<'_>, lease: &Lease) -> Result<(), CommandError> {
    if stack.store.break_lease(lease).await? {
        stack.ctx.screen.status(format!(
            "Released the lease of stack {}",
            stack.stack.name.as_str()
        ));
        Ok(())
    } else {
        Err(CommandError::NotLocked(
            "the lease has a new holder by now; check again",
        ))
    }
}
