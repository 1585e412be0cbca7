//! `stack init`: a stack with its encryption, hardened from the start.

use clap::Args;
use pulumi_files::yaml::Tree;
use pulumi_files::{ConfigPath, Project, ProjectError, StackFile, StackName};

use super::StackError;
use crate::cli_context::{CliContext, CliContextError};
use crate::config::quoted;

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
    pub(super) async fn run(self, cli: &CliContext) -> Result<(), StackError> {
        let project = self.project(cli)?;
        let name = match cli.named(self.name.as_deref(), &project)? {
            Some(name) => name,
            None if cli.terminal.is_interactive() => {
                let name = cli.terminal.read_line("Name of the new stack");
                StackName::of_reference(name.map_err(StackError::Input)?.trim(), &project.name)?
            }
            None => return Err(StackError::NoName),
        };
        create(
            cli,
            &project,
            &name,
            &self.secrets_provider,
            self.copy_config_from.as_deref(),
        )
        .await?;
        if !self.no_select {
            super::select::select(cli, &project, &name)?;
        }
        Ok(())
    }
}

impl InitArgs {
    /// The project of the folder, or a new one for it.
    fn project(&self, cli: &CliContext) -> Result<Project, StackError> {
        let missing = match cli.project() {
            Ok(project) => {
                return match &self.project {
                    Some(name) if *name != project.name => Err(StackError::OtherProject {
                        file: project.file,
                        name: project.name,
                    }),
                    _ => Ok(project),
                };
            }
            Err(error @ CliContextError::Project(ProjectError::NotFound { .. })) => error,
            Err(error) => return Err(error.into()),
        };
        let name = match &self.project {
            Some(name) => name.clone(),
            None if cli.terminal.is_interactive() => {
                cli.terminal.status(
                    "No project found: Pulumi.yaml will be created with this name, which is also the namespace \
                     of its configuration keys.",
                );
                let name = cli.terminal.read_line("Name of the new project (aip)");
                let name = name.map_err(StackError::Input)?;
                Some(name.trim())
                    .filter(|name| !name.is_empty())
                    .unwrap_or("aip")
                    .to_owned()
            }
            None => return Err(missing.into()),
        };
        let project = Project::create(&cli.folder, &name).map_err(CliContextError::from)?;
        cli.terminal
            .status(&format!("Wrote {}", project.file.display()));
        Ok(project)
    }
}

/// Makes a stack: its place in the store, its file with a key, and the hardened profile.
pub(super) async fn create(
    cli: &CliContext,
    project: &Project,
    name: &StackName,
    provider: &str,
    copy_from: Option<&str>,
) -> Result<(), StackError> {
    let stacks = cli.stacks(Some(project))?;
    let taken = || StackError::Exists(name.to_string());
    if stacks
        .names(&project.name)
        .await
        .map_err(CliContextError::from)?
        .contains(name)
    {
        return Err(taken());
    }
    let path = project.stack_file(name);
    let mut file = StackFile::load(&path, &project.name).map_err(CliContextError::from)?;
    let in_file = |source| CliContextError::Secrets {
        file: path.clone(),
        source,
    };
    if file.encryption() == pulumi_files::Encryption::default() {
        let (_, encryption) = cli
            .keyring()
            .create(provider, None)
            .await
            .map_err(in_file)?;
        file.set_encryption(&encryption)
            .map_err(CliContextError::from)?;
    }
    if let Some(other) = copy_from {
        let from = StackName::of_reference(other, &project.name)?;
        cli.require(project, &from).await?;
        let other = StackFile::load(&project.stack_file(&from), &project.name)
            .map_err(CliContextError::from)?;
        for entry in other.entries() {
            let mut secret = false;
            entry.value.each_secret(&mut |_, _| secret = true);
            if secret {
                let key = quoted(&entry.key.display(&project.name));
                cli.terminal.status(&format!(
                    "note: `{key}` was not copied because it contains secrets, which are encrypted per stack: \
                     `aip-deploy -s {from} config cp {key} --dest {name}` copies it"
                ));
                continue;
            }
            let path = ConfigPath {
                key: entry.key,
                steps: Vec::new(),
            };
            file.set(&path, entry.value.to_tree())
                .map_err(CliContextError::from)?;
        }
    }
    let profile = CliContext::config_path(project, "aip_config.profile", true)?;
    if file.get(&profile.key).is_none() {
        file.set(&profile, Tree::String("restricted".to_owned()))
            .map_err(CliContextError::from)?;
    }
    if !stacks
        .register(&project.name, name)
        .await
        .map_err(CliContextError::from)?
    {
        return Err(taken());
    }
    file.save().map_err(CliContextError::from)?;
    cli.terminal.status(&format!("Created stack '{name}'"));
    Ok(())
}
