//! `repin`: the stack has really moved to another cluster.

use clap::Args;

use crate::cli_context::{CliContext, SecretsMode};
use crate::commands::deploy_context::DeployContext;
use crate::commands::failure::CommandError;
use crate::store::Inventory;
use crate::ui::Screen;
use crate::ui::prompt::confirm_by_typing;

/// Pin the stack to the cluster that its context points to now
#[derive(Debug, Args)]
pub struct RepinArgs {
    /// The stack name, as confirmation in non-interactive mode
    #[arg(long, value_name = "STACK")]
    confirm: Option<String>,
}

impl RepinArgs {
    /// Shows both clusters, wants the stack's name, pins. What the stack owned in the old cluster
    /// is forgotten, not deleted.
    pub async fn run(self, cli: &CliContext, screen: &Screen) -> Result<(), CommandError> {
        let ctx = DeployContext::open(cli, screen).await?;
        let target = cli.target(SecretsMode::Placeholder).await?;
        let inventory = ctx.store.inventory().await?;
        // Without the pin: which cluster answers is the question.
        let cluster = ctx.cluster(&target.context, &Inventory::default()).await?;
        let before = inventory
            .pin
            .map_or_else(|| "none".to_owned(), |pin| pin.cluster_uid);
        screen.status(format!("pinned: {before}\nfound:  {}", cluster.uid()));
        if before == cluster.uid() {
            screen.status("The stack is already pinned to this cluster");
            return Ok(());
        }
        let stack = ctx.stack.as_str();
        let question = "Objects in the old cluster are no longer tracked; they are not deleted.";
        let confirmed = match &self.confirm {
            Some(typed) => typed == stack,
            None => confirm_by_typing(screen, question, stack)?,
        };
        if !confirmed {
            return Err(CommandError::Declined("repin"));
        }
        ctx.store.replace_pin(&cluster.to_pin()).await?;
        screen.status(format!("Stack {stack} is pinned to {}", cluster.uid()));
        Ok(())
    }
}
