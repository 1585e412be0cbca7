//! `stack init`: a stack with its encryption, hardened from the start.

use clap::Args;
use pulumi_files::yaml::Tree;
use pulumi_files::{ConfigPath, Project, ProjectError, StackFile, StackName};

use super::StackError;
use crate::config::quoted;
use crate::selection::{Selection, SelectionError};

#[derive(Debug, Args)]
pub(super) struct InitArgs {
    /// The name; without one it is asked for
    name: Option<String>,
    /// How values are encrypted: `passphrase` or awskms://…
    #[arg(long, default_value = "passphrase")]
    secrets_provider: String,
    /// Begin with the plain values of another stack
    #[arg(long, value_name = "STACK")]
    copy_config_from: Option<String>,
    /// Do not select it
    #[arg(long)]
    no_select: bool,
    /// Write Pulumi.yaml for a project of this name if there is none
    #[arg(long, value_name = "NAME")]
    project: Option<String>,
}

impl InitArgs {
    pub(super) async fn run(self, selection: &Selection) -> Result<(), StackError> {
        let project = self.project(selection)?;
        let name = match selection.named(self.name.as_deref(), &project)? {
            Some(name) => name,
            None if selection.terminal.interactive() => {
                let name = selection.terminal.line("Name of the new stack");
                StackName::of_reference(name.map_err(StackError::Input)?.trim(), &project.name)?
            }
            None => return Err(StackError::NoName),
        };
        create(
            selection,
            &project,
            &name,
            &self.secrets_provider,
            self.copy_config_from.as_deref(),
        )
        .await?;
        if !self.no_select {
            super::select::select(selection, &project, &name)?;
        }
        Ok(())
    }
}

impl InitArgs {
    /// The project of the folder, or a new one for it.
    fn project(&self, selection: &Selection) -> Result<Project, StackError> {
        let missing = match selection.project() {
            Ok(project) => {
                return match &self.project {
                    Some(name) if *name != project.name => Err(StackError::OtherProject {
                        file: project.file,
                        name: project.name,
                    }),
                    _ => Ok(project),
                };
            }
            Err(error @ SelectionError::Project(ProjectError::NotFound { .. })) => error,
            Err(error) => return Err(error.into()),
        };
        let name = match &self.project {
            Some(name) => name.clone(),
            None if selection.terminal.interactive() => {
                selection.terminal.talk(
                    "There is no project here yet: its name goes into a new Pulumi.yaml, and is the namespace of its \
                     values.",
                );
                let name = selection.terminal.line("Name of the new project (aip)");
                let name = name.map_err(StackError::Input)?;
                Some(name.trim())
                    .filter(|name| !name.is_empty())
                    .unwrap_or("aip")
                    .to_owned()
            }
            None => return Err(missing.into()),
        };
        let project = Project::create(&selection.folder, &name).map_err(SelectionError::from)?;
        selection
            .terminal
            .talk(&format!("Wrote {}", project.file.display()));
        Ok(project)
    }
}

/// Makes a stack: its place in the store, its file with a key, and the hardened profile.
pub(super) async fn create(
    selection: &Selection,
    project: &Project,
    name: &StackName,
    provider: &str,
    copy_from: Option<&str>,
) -> Result<(), StackError> {
    let stacks = selection.stacks(Some(project))?;
    let taken = || StackError::Exists(name.to_string());
    if stacks
        .names(&project.name)
        .await
        .map_err(SelectionError::from)?
        .contains(name)
    {
        return Err(taken());
    }
    let path = project.stack_file(name);
    let mut file = StackFile::load(&path, &project.name).map_err(SelectionError::from)?;
    let in_file = |source| SelectionError::Secrets {
        file: path.clone(),
        source,
    };
    if file.encryption() == pulumi_files::Encryption::default() {
        let (_, encryption) = selection
            .keyring()
            .create(provider, None)
            .await
            .map_err(in_file)?;
        file.set_encryption(&encryption)
            .map_err(SelectionError::from)?;
    }
    if let Some(other) = copy_from {
        let from = StackName::of_reference(other, &project.name)?;
        selection.require(project, &from).await?;
        let other = StackFile::load(&project.stack_file(&from), &project.name)
            .map_err(SelectionError::from)?;
        for entry in other.entries() {
            let mut secret = false;
            entry.value.each_secret(&mut |_, _| secret = true);
            if secret {
                let key = quoted(&entry.key.display(&project.name));
                selection.terminal.talk(&format!(
                    "note: `{key}` was not copied, because it holds secrets, which are encrypted for one stack: \
                     `aip-deploy -s {from} config cp {key} --dest {name}` copies it"
                ));
                continue;
            }
            let path = ConfigPath {
                key: entry.key,
                steps: Vec::new(),
            };
            file.set(&path, entry.value.to_tree())
                .map_err(SelectionError::from)?;
        }
    }
    let profile = Selection::config_path(project, "aip_config.profile", true)?;
    if file.get(&profile.key).is_none() {
        file.set(&profile, Tree::Text("restricted".to_owned()))
            .map_err(SelectionError::from)?;
    }
    if !stacks
        .register(&project.name, name)
        .await
        .map_err(SelectionError::from)?
    {
        return Err(taken());
    }
    file.save().map_err(SelectionError::from)?;
    selection.terminal.talk(&format!("Created stack '{name}'"));
    Ok(())
}
