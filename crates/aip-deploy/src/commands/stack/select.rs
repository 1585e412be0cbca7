//! `stack select`, `stack unselect`, and `stack` alone.

use clap::Args;
use pulumi_files::StackName;

use super::{StackError, lifecycle};
use crate::context::{Context, ContextError};

#[derive(Debug, Args)]
#[command(after_help = examples!["stack select", "stack select main", "stack select dev --create"])]
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
    pub(super) async fn run(self, ctx: &Context) -> Result<(), StackError> {
        let project = ctx.project()?;
        let name = match ctx.named(self.name.as_deref(), &project)? {
            Some(name) => name,
            None if ctx.screen.can_ask() => {
                let stacks = super::list::existing_stacks(ctx, &project).await?;
                for stack in &stacks {
                    ctx.screen.status(format!("  {stack}"));
                }
                let name = ctx.screen.read_line("Please choose a stack");
                StackName::of_reference(name.map_err(StackError::Input)?.trim(), &project.name)?
            }
            None => return Err(ContextError::NoStack.into()),
        };
        match ctx.require(&project, &name).await {
            Err(ContextError::UnknownStack(_)) if self.create => {
                lifecycle::create(ctx, &project, &name, &self.secrets_provider, None).await?;
            }
            outcome => outcome?,
        }
        lifecycle::select(ctx, &project, &name)
    }
}

pub(super) fn unselect(ctx: &Context) -> Result<(), StackError> {
    let project = ctx.project()?;
    let url = ctx.backend_url(Some(&project))?;
    ctx.workspace()?.select(&project, &url, None)?;
    ctx.screen.status("Stack was unselected");
    Ok(())
}

pub(super) async fn show(ctx: &Context, name_only: bool) -> Result<(), StackError> {
    let stack = ctx.stack().await?;
    if name_only {
        ctx.screen.line(stack.name.as_str());
        return Ok(());
    }
    ctx.screen.line(format!("Current stack is {}:", stack.name));
    ctx.screen.line(format!(
        "    Backend: {}",
        ctx.backend_url(Some(&stack.project))?
    ));
    ctx.screen.line(format!(
        "    File: {}",
        stack.project.stack_file(&stack.name).display()
    ));
    Ok(())
}
