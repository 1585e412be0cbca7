//! `stack rm`.

use clap::Args;

use super::StackError;
use crate::selection::{Selection, SelectionError};
use crate::store::StateStore as _;

#[derive(Debug, Args)]
pub(super) struct RemoveArgs {
    /// The stack; the selected one without a name
    name: Option<String>,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    /// Even if it still has objects in the cluster, which stay there
    #[arg(short, long)]
    force: bool,
    /// Keep the stack file
    #[arg(long)]
    preserve_config: bool,
}

impl RemoveArgs {
    pub(super) async fn run(self, selection: &Selection) -> Result<(), StackError> {
        let project = selection.project()?;
        let stack = match selection.named(self.name.as_deref(), &project)? {
            Some(stack) => stack,
            None => selection.stack(&project).await?,
        };
        selection.require(&project, &stack).await?;
        let stacks = selection.stacks(Some(&project))?;
        let inventory = stacks
            .state(&project.name, &stack)
            .inventory()
            .await
            .map_err(SelectionError::from)?;
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
            if !selection.terminal.interactive() {
                return Err(StackError::NeedsYes);
            }
            let kept = if self.preserve_config {
                ""
            } else {
                " and its file with all values"
            };
            selection
                .terminal
                .talk(&format!("This removes the stack '{stack}'{kept}."));
            let answer = selection
                .terminal
                .line("Please confirm with the stack's name")
                .map_err(StackError::Input)?;
            if answer.trim() != stack.as_str() {
                return Err(StackError::Declined);
            }
        }
        stacks
            .remove(&project.name, &stack)
            .await
            .map_err(SelectionError::from)?;
        let path = project.stack_file(&stack);
        if !self.preserve_config && path.is_file() {
            std::fs::remove_file(&path).map_err(|source| StackError::File { path, source })?;
        }
        let url = selection.backend_url(Some(&project))?;
        let workspace = selection.workspace()?;
        if workspace
            .stack(None, &project, &url)
            .map_err(SelectionError::from)?
            .is_some_and(|(name, _)| name == stack)
        {
            workspace
                .select(&project, &url, None)
                .map_err(SelectionError::from)?;
        }
        selection
            .terminal
            .talk(&format!("Stack '{stack}' has been removed!"));
        Ok(())
    }
}
