//! `repin`: the stack has really moved to another cluster.

use clap::Args;

use crate::commands::failure::CommandError;
use crate::commands::session::Session;
use crate::selection::{Reveal, Selection};
use crate::store::Inventory;
use crate::ui::Screen;
use crate::ui::prompt::confirm_by_typing;

/// Pin the stack to the cluster that its context leads to now
#[derive(Debug, Args)]
pub struct RepinArgs {
    /// The stack's name, where nobody can be asked
    #[arg(long, value_name = "STACK")]
    confirm: Option<String>,
}

impl RepinArgs {
    /// Shows both clusters, wants the stack's name, pins. What the stack owned in the old cluster
    /// is forgotten, not deleted.
    pub async fn run(self, selection: &Selection, screen: &Screen) -> Result<(), CommandError> {
        let session = Session::open(selection, screen).await?;
        let target = selection.target(Reveal::Stubs).await?;
        let inventory = session.store.inventory().await?;
        // Without the pin: which cluster answers is the question.
        let cluster = session
            .cluster(&target.context, &Inventory::default())
            .await?;
        let before = inventory
            .pin
            .map_or_else(|| "none".to_owned(), |pin| pin.cluster_uid);
        screen.note(format!("pinned: {before}\nfound:  {}", cluster.uid()));
        if before == cluster.uid() {
            screen.note("The stack is pinned to this cluster already");
            return Ok(());
        }
        let stack = session.stack.as_str();
        let question = "The objects in the old cluster are forgotten, not deleted.";
        let confirmed = match &self.confirm {
            Some(typed) => typed == stack,
            None => confirm_by_typing(screen, question, stack)?,
        };
        if !confirmed {
            return Err(CommandError::Declined("repin"));
        }
        session.store.repin(&cluster.as_pin()).await?;
        screen.note(format!("Stack {stack} is pinned to {}", cluster.uid()));
        Ok(())
    }
}
