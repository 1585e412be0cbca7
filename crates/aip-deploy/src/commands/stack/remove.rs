//! `stack rm`.

use clap::Args;

use super::StackError;
use crate::context::Context;

#[derive(Debug, Args)]
#[command(after_help = examples!["stack rm staging", "stack rm staging --yes --preserve-config"])]
pub(super) struct RemoveArgs {
    /// The stack; defaults to the selected one
    name: Option<String>,
    /// Skip the confirmation prompt
    #[arg(short, long)]
    yes: bool,
    /// Remove it even if it still has objects in the cluster, which are left behind
    #[arg(short, long)]
    force: bool,
    /// Keep the stack file
    #[arg(long)]
    preserve_config: bool,
}

impl RemoveArgs {
    pub(super) async fn run(self, ctx: &Context) -> Result<(), StackError> {
        let project = ctx.project()?;
        let stack = match ctx.named(self.name.as_deref(), &project)? {
            Some(stack) => stack,
            None => ctx.stack().await?.name.clone(),
        };
        ctx.require(&project, &stack).await?;
        let stacks = ctx.stacks(Some(&project))?;
        let inventory = stacks.state(&project.name, &stack).inventory().await?;
        let count = inventory.owned.len()
            + inventory
                .intents
                .iter()
                .map(|intent| intent.objects.len())
                .sum::<usize>();
        if count > 0 && !self.force {
            return Err(StackError::HasObjects {
                stack: stack.to_string(),
                count,
            });
        }
        if !self.yes {
            let kept = if self.preserve_config {
                ""
            } else {
                " and its configuration file"
            };
            let consequence = format!("This removes the stack '{stack}'{kept}.");
            let label = "Type the stack name to confirm";
            if !ctx
                .screen
                .confirm_by_typing(&consequence, label, stack.as_str())?
            {
                return Err(StackError::Declined);
            }
        }
        stacks.remove(&project.name, &stack).await?;
        let path = project.stack_file(&stack);
        if !self.preserve_config && path.is_file() {
            std::fs::remove_file(&path).map_err(|source| StackError::File { path, source })?;
        }
        let url = ctx.backend_url(Some(&project))?;
        let workspace = ctx.workspace()?;
        if workspace
            .stack(None, &project, &url)?
            .is_some_and(|(name, _)| name == stack)
        {
            workspace.select(&project, &url, None)?;
        }
        ctx.screen
            .status(format!("Stack '{stack}' has been removed!"));
        Ok(())
    }
}
