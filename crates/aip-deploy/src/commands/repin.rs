//! `repin`: the stack has really moved to another cluster.

use aip_apply::store::Inventory;
use clap::Args;

use crate::commands::failure::CommandError;
use crate::context::{Context, SecretsMode};

/// Pin the stack to the cluster that its context points to now
#[derive(Debug, Args)]
#[command(after_help = examples!["repin", "repin --stack main --confirm main"])]
pub(crate) struct RepinArgs {
    /// The stack name, as confirmation in non-interactive mode
    #[arg(long, value_name = "STACK")]
    confirm: Option<String>,
}

impl RepinArgs {
    /// Shows both clusters, wants the stack's name, pins. What the stack owned in the old cluster
    /// is forgotten, not deleted.
    pub(crate) async fn run(self, ctx: &Context) -> Result<(), CommandError> {
        let stack = ctx.open_stack().await?;
        let target = stack.target(SecretsMode::Placeholder).await?;
        let inventory = stack.store.inventory().await?;
        // Without the pin: which cluster answers is the question.
        let cluster = stack
            .cluster(&target.context, &Inventory::default())
            .await?;
        let before = inventory
            .pin
            .map_or_else(|| "none".to_owned(), |pin| pin.cluster_uid);
        ctx.screen
            .status(format!("pinned: {before}\nfound:  {}", cluster.uid()));
        if before == cluster.uid() {
            ctx.screen
                .status("The stack is already pinned to this cluster");
            return Ok(());
        }
        let name = stack.stack.name.as_str();
        let question = "Objects in the old cluster are no longer tracked; they are not deleted.";
        let confirmed = if let Some(typed) = &self.confirm {
            typed == name
        } else {
            let label = "Type the stack name to confirm";
            ctx.screen.confirm_by_typing(question, label, name)?
        };
        if !confirmed {
            return Err(CommandError::Declined("repin"));
        }
        stack.store.replace_pin(&cluster.to_pin()).await?;
        ctx.screen
            .status(format!("Stack {name} is pinned to {}", cluster.uid()));
        Ok(())
    }
}
