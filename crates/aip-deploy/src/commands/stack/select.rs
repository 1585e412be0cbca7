//! `stack select`, `stack unselect`, and `stack` alone.

use clap::Args;
use pulumi_files::{Project, StackName};

use super::StackError;
use crate::selection::{Selection, SelectionError};

#[derive(Debug, Args)]
pub(super) struct SelectArgs {
    /// The name; without one it is asked for
    name: Option<String>,
    /// Make it if there is none
    #[arg(short, long)]
    create: bool,
    /// How values of a new stack are encrypted
    #[arg(long, default_value = "passphrase")]
    secrets_provider: String,
}

impl SelectArgs {
    pub(super) async fn run(self, selection: &Selection) -> Result<(), StackError> {
        let project = selection.project()?;
        let name = match selection.named(self.name.as_deref(), &project)? {
            Some(name) => name,
            None if selection.terminal.interactive() => {
                let known = super::list::known(selection, &project).await?;
                for stack in &known {
                    selection.terminal.talk(&format!("  {stack}"));
                }
                let name = selection.terminal.line("Please choose a stack");
                StackName::of_reference(name.map_err(StackError::Input)?.trim(), &project.name)?
            }
            None => return Err(SelectionError::NoStack.into()),
        };
        match selection.require(&project, &name).await {
            Err(SelectionError::UnknownStack(_)) if self.create => {
                super::init::create(selection, &project, &name, &self.secrets_provider, None)
                    .await?;
            }
            outcome => outcome?,
        }
        select(selection, &project, &name)
    }
}

/// Remembers the stack.
pub(super) fn select(
    selection: &Selection,
    project: &Project,
    name: &StackName,
) -> Result<(), StackError> {
    let url = selection.backend_url(Some(project))?;
    let workspace = selection.workspace()?;
    workspace
        .select(project, &url, Some(name))
        .map_err(SelectionError::from)?;
    if let Some(other) = selection
        .environment
        .non_empty("PULUMI_STACK")
        .filter(|other| *other != name.as_str())
    {
        selection.terminal.talk(&format!(
            "warning: PULUMI_STACK says {other}, which counts more than this choice"
        ));
    }
    Ok(())
}

pub(super) fn unselect(selection: &Selection) -> Result<(), StackError> {
    let project = selection.project()?;
    let url = selection.backend_url(Some(&project))?;
    selection
        .workspace()?
        .select(&project, &url, None)
        .map_err(SelectionError::from)?;
    selection.terminal.talk("Stack was unselected");
    Ok(())
}

pub(super) async fn show(selection: &Selection, name_only: bool) -> Result<(), StackError> {
    let project = selection.project()?;
    let stack = selection.stack(&project).await?;
    if name_only {
        selection.terminal.data(stack.as_str());
        return Ok(());
    }
    selection
        .terminal
        .data(&format!("Current stack is {stack}:"));
    selection.terminal.data(&format!(
        "    Backend: {}",
        selection.backend_url(Some(&project))?
    ));
    selection.terminal.data(&format!(
        "    File: {}",
        project.stack_file(&stack).display()
    ));
    Ok(())
}
