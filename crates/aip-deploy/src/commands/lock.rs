//! `lock`, `unlock`, `cancel`: the lease by hand.

use clap::Args;

use crate::apply::lease::{LOCK, LeaseError, describe};
use crate::commands::failure::CommandError;
use crate::commands::session::Session;
use crate::selection::Selection;
use crate::store::{Acquisition, Lease};
use crate::ui::Screen;
use crate::ui::prompt::{Answer, ask, confirm_by_typing};

/// Keep everybody from changing the stack until `unlock`
#[derive(Debug, Args)]
pub struct LockArgs {
    /// Why, for those who are kept out
    #[arg(short = 'm', long, value_name = "TEXT", value_parser = reason)]
    reason: Option<String>,
}

/// As long as a reason may be: it is shown in one line.
const LONGEST_REASON: usize = 200;

fn reason(text: &str) -> Result<String, String> {
    if text.chars().count() > LONGEST_REASON || text.contains(char::is_control) {
        return Err(format!("one line of at most {LONGEST_REASON} characters"));
    }
    Ok(text.to_owned())
}

impl LockArgs {
    /// Takes the lease for good.
    pub async fn run(self, selection: &Selection, screen: &Screen) -> Result<(), CommandError> {
        let session = Session::open(selection, screen).await?;
        let command = match &self.reason {
            Some(reason) => format!("{LOCK}: {reason}"),
            None => LOCK.to_owned(),
        };
        match session
            .store
            .acquire(&session.holder(&command, None))
            .await?
        {
            Acquisition::Acquired(_) => {
                screen.note(format!("Stack {} is locked", session.stack.as_str()));
                Ok(())
            }
            Acquisition::HeldBy(lease) => Err(LeaseError::HeldBy(Box::new(lease)).into()),
        }
    }
}

/// Open a stack that was closed with `lock`
#[derive(Debug, Args)]
pub struct UnlockArgs {
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

impl UnlockArgs {
    /// Shows whose lock it is, asks, opens it.
    pub async fn run(self, selection: &Selection, screen: &Screen) -> Result<(), CommandError> {
        let session = Session::open(selection, screen).await?;
        let lease = held(&session).await?;
        if lease.expires.is_some() {
            screen.note(describe(&lease));
            return Err(CommandError::NotLocked(
                "this is a running command and no lock; `aip-deploy cancel` takes its lease away",
            ));
        }
        screen.note(describe(&lease));
        if !self.yes && ask(screen, "Do you want to open this lock?", false)? != Answer::Yes {
            return Err(CommandError::Declined("unlock"));
        }
        remove(&session, &lease).await
    }
}

/// Take the lease away from a command that does not come to its end
#[derive(Debug, Args)]
pub struct CancelArgs {
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

impl CancelArgs {
    /// Shows whose lease it is, wants the stack's name, removes it. A command that still runs
    /// notices it before its next write.
    pub async fn run(self, selection: &Selection, screen: &Screen) -> Result<(), CommandError> {
        let session = Session::open(selection, screen).await?;
        let lease = held(&session).await?;
        screen.note(describe(&lease));
        let question =
            "This takes the lease away; the command that has it stops before its next write.";
        let stack = session.stack.as_str();
        if !self.yes && !confirm_by_typing(screen, question, stack)? {
            return Err(CommandError::Declined("cancel"));
        }
        remove(&session, &lease).await
    }
}

async fn held(session: &Session<'_>) -> Result<Lease, CommandError> {
    let lease = session.store.lease().await?;
    lease.ok_or(CommandError::NotLocked(
        "nobody has the lease of this stack",
    ))
}

async fn remove(session: &Session<'_>, lease: &Lease) -> Result<(), CommandError> {
    if session.store.break_lease(lease).await? {
        session
            .screen
            .note(format!("Stack {} is free", session.stack.as_str()));
        Ok(())
    } else {
        Err(CommandError::NotLocked(
            "the lease changed hands meanwhile; look again",
        ))
    }
}
