//! `stack select`, `stack unselect`, and `stack` alone.

use clap::Args;
use pulumi_files::{Project, StackName};

use super::StackError;
use crate::cli_context::{CliContext, CliContextError};

#[derive(Debug, Args)]
pub(super) struct SelectArgs {
    /// The stack name; prompted for if omitted
    name: Option<String>,
    /// Create the stack if it does not exist
    #[arg(short, long)]
    create: bool,
    /// Secrets provider of a new stack: `passphrase` or awskms://…
    #[arg(long, default_value = "passphrase")]
    secrets_provider: String,
}

impl SelectArgs {
    pub(super) async fn run(self, cli: &CliContext) -> Result<(), StackError> {
        let project = cli.project()?;
        let name = match cli.named(self.name.as_deref(), &project)? {
            Some(name) => name,
            None if cli.terminal.is_interactive() => {
                let stacks = super::list::existing_stacks(cli, &project).await?;
                for stack in &stacks {
                    cli.terminal.status(&format!("  {stack}"));
                }
                let name = cli.terminal.read_line("Please choose a stack");
                StackName::of_reference(name.map_err(StackError::Input)?.trim(), &project.name)?
            }
            None => return Err(CliContextError::NoStack.into()),
        };
        match cli.require(&project, &name).await {
            Err(CliContextError::UnknownStack(_)) if self.create => {
                super::init::create(cli, &project, &name, &self.secrets_provider, None).await?;
            }
            outcome => outcome?,
        }
        select(cli, &project, &name)
    }
}

/// Remembers the stack.
pub(super) fn select(
    cli: &CliContext,
    project: &Project,
    name: &StackName,
) -> Result<(), StackError> {
    let url = cli.backend_url(Some(project))?;
    let workspace = cli.workspace()?;
    workspace
        .select(project, &url, Some(name))
        .map_err(CliContextError::from)?;
    if let Some(other) = cli
        .environment
        .non_empty("PULUMI_STACK")
        .filter(|other| *other != name.as_str())
    {
        cli.terminal.status(&format!(
            "warning: PULUMI_STACK is set to {other}, which takes precedence over this selection"
        ));
    }
    Ok(())
}

pub(super) fn unselect(cli: &CliContext) -> Result<(), StackError> {
    let project = cli.project()?;
    let url = cli.backend_url(Some(&project))?;
    cli.workspace()?
        .select(&project, &url, None)
        .map_err(CliContextError::from)?;
    cli.terminal.status("Stack was unselected");
    Ok(())
}

pub(super) async fn show(cli: &CliContext, name_only: bool) -> Result<(), StackError> {
    let project = cli.project()?;
    let stack = cli.stack(&project).await?;
    if name_only {
        cli.terminal.data(stack.as_str());
        return Ok(());
    }
    cli.terminal.data(&format!("Current stack is {stack}:"));
    cli.terminal.data(&format!(
        "    Backend: {}",
        cli.backend_url(Some(&project))?
    ));
    cli.terminal.data(&format!(
        "    File: {}",
        project.stack_file(&stack).display()
    ));
    Ok(())
}
