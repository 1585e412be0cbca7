//! `stack init`: a stack with its encryption, hardened from the start.

use clap::Args;
use pulumi_files::{Project, ProjectError, StackName};

use super::{StackError, lifecycle};
use crate::context::{Context, ContextError};

#[derive(Debug, Args)]
#[command(after_help = examples![
    "stack init main --project aip",
    "stack init main --secrets-provider 'awskms://alias/aip?region=eu-west-1'",
    "stack init staging --copy-config-from main",
])]
pub(super) struct InitArgs {
    /// The stack name; prompted for if omitted
    name: Option<String>,
    /// Secrets provider: `passphrase` or awskms://…
    #[arg(long, default_value = "passphrase")]
    secrets_provider: String,
    /// Copy the plaintext values of another stack
    #[arg(long, value_name = "STACK")]
    copy_config_from: Option<String>,
    /// Do not select the new stack
    #[arg(long)]
    no_select: bool,
    /// Create Pulumi.yaml with this project name if there is none
    #[arg(long, value_name = "NAME")]
    project: Option<String>,
}

impl InitArgs {
    pub(super) async fn run(self, ctx: &Context) -> Result<(), StackError> {
        let project = self.project(ctx)?;
        let name = match ctx.named(self.name.as_deref(), &project)? {
            Some(name) => name,
            None if ctx.screen.can_ask() => {
                let name = ctx.screen.read_line("Name of the new stack");
                StackName::of_reference(name.map_err(StackError::Input)?.trim(), &project.name)?
            }
            None => return Err(StackError::NoName),
        };
        lifecycle::create(
            ctx,
            &project,
            &name,
            &self.secrets_provider,
            self.copy_config_from.as_deref(),
        )
        .await?;
        if !self.no_select {
            lifecycle::select(ctx, &project, &name)?;
        }
        Ok(())
    }

    /// The project of the folder, or a new one for it.
    fn project(&self, ctx: &Context) -> Result<Project, StackError> {
        let missing = match ctx.project() {
            Ok(project) => {
                return match &self.project {
                    Some(name) if *name != project.name => Err(StackError::OtherProject {
                        file: project.file,
                        name: project.name,
                    }),
                    _ => Ok(project),
                };
            }
            Err(error @ ContextError::Project(ProjectError::NotFound { .. })) => error,
            Err(error) => return Err(error.into()),
        };
        let name = match &self.project {
            Some(name) => name.clone(),
            None if ctx.screen.can_ask() => {
                ctx.screen.status(
                    "No project found: Pulumi.yaml will be created with this name, which is also the namespace \
                     of its configuration keys.",
                );
                let name = ctx.screen.read_line("Name of the new project (aip)");
                let name = name.map_err(StackError::Input)?;
                Some(name.trim())
                    .filter(|name| !name.is_empty())
                    .unwrap_or("aip")
                    .to_owned()
            }
            None => return Err(missing.into()),
        };
        let project = Project::create(&ctx.folder, &name)?;
        ctx.screen
            .status(format!("Wrote {}", project.file.display()));
        Ok(project)
    }
}
