//! `stack rm`.

use clap::Args;

use super::StackError;
use crate::cli_context::{CliContext, CliContextError};
use crate::store::StateStore as _;

#[derive(Debug, Args)]
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
    pub(super) async fn run(self, cli: &CliContext) -> Result<(), StackError> {
        let project = cli.project()?;
        let stack = match cli.named(self.name.as_deref(), &project)? {
            Some(stack) => stack,
            None => cli.stack(&project).await?,
        };
        cli.require(&project, &stack).await?;
        let stacks = cli.stacks(Some(&project))?;
        let inventory = stacks
            .state(&project.name, &stack)
            .inventory()
            .await
            .map_err(CliContextError::from)?;
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
            if !cli.terminal.is_interactive() {
                return Err(StackError::NeedsYes);
            }
            let kept = if self.preserve_config {
                ""
            } else {
                " and its configuration file"
            };
            cli.terminal
                .status(&format!("This removes the stack '{stack}'{kept}."));
            let answer = cli
                .terminal
                .read_line("Type the stack name to confirm")
                .map_err(StackError::Input)?;
            if answer.trim() != stack.as_str() {
                return Err(StackError::Declined);
            }
        }
        stacks
            .remove(&project.name, &stack)
            .await
            .map_err(CliContextError::from)?;
        let path = project.stack_file(&stack);
        if !self.preserve_config && path.is_file() {
            std::fs::remove_file(&path).map_err(|source| StackError::File { path, source })?;
        }
        let url = cli.backend_url(Some(&project))?;
        let workspace = cli.workspace()?;
        if workspace
            .stack(None, &project, &url)
            .map_err(CliContextError::from)?
            .is_some_and(|(name, _)| name == stack)
        {
            workspace
                .select(&project, &url, None)
                .map_err(CliContextError::from)?;
        }
        cli.terminal
            .status(&format!("Stack '{stack}' has been removed!"));
        Ok(())
    }
}
