//! `stack init`: a stack with its encryption, hardened from the start.

use aip_stack::config::quoted;
use clap::Args;
use pulumi_files::{ConfigPath, Project, ProjectError, StackFile, StackName};
use yaml_lossless::Tree;

use super::StackError;
use crate::context::{Context, ContextError, config_path};

#[derive(Debug, Args)]
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
        create(
            ctx,
            &project,
            &name,
            &self.secrets_provider,
            self.copy_config_from.as_deref(),
        )
        .await?;
        if !self.no_select {
            super::select::select(ctx, &project, &name)?;
        }
        Ok(())
    }
}

impl InitArgs {
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

/// Makes a stack: its place in the store, its file with a key, and the hardened profile.
pub(super) async fn create(
    ctx: &Context,
    project: &Project,
    name: &StackName,
    provider: &str,
    copy_from: Option<&str>,
) -> Result<(), StackError> {
    let stacks = ctx.stacks(Some(project))?;
    let taken = || StackError::Exists(name.to_string());
    if stacks.names(&project.name).await?.contains(name) {
        return Err(taken());
    }
    let path = project.stack_file(name);
    let mut file = StackFile::load(&path, &project.name)?;
    let in_file = |source| ContextError::Secrets {
        file: path.clone(),
        source,
    };
    if file.encryption() == pulumi_files::Encryption::default() {
        let (_, encryption) = ctx
            .keyring()
            .create(provider, None)
            .await
            .map_err(in_file)?;
        file.set_encryption(&encryption)?;
    }
    if let Some(other) = copy_from {
        let from = StackName::of_reference(other, &project.name)?;
        ctx.require(project, &from).await?;
        let other = StackFile::load(&project.stack_file(&from), &project.name)?;
        for entry in other.entries() {
            let mut secret = false;
            entry.value.each_secret(&mut |_, _| secret = true);
            if secret {
                let key = quoted(&entry.key.display(&project.name));
                ctx.screen.status(format!(
                    "note: `{key}` was not copied because it contains secrets, which are encrypted per stack: \
                     `aip-deploy -s {from} config cp {key} --dest {name}` copies it"
                ));
                continue;
            }
            let path = ConfigPath {
                key: entry.key,
                steps: Vec::new(),
            };
            file.set(&path, entry.value.to_tree())?;
        }
    }
    let profile = config_path(project, "aip_config.profile", true)?;
    if file.get(&profile.key).is_none() {
        file.set(&profile, Tree::String("restricted".to_owned()))?;
    }
    if !stacks.register(&project.name, name).await? {
        return Err(taken());
    }
    file.save()?;
    ctx.screen.status(format!("Created stack '{name}'"));
    Ok(())
}
