//! `stack init`: a stack with its encryption, hardened from the start.

use clap::Args;
use pulumi_files::yaml::Tree;
use pulumi_files::{ConfigPath, Project, StackFile, StackName};

use super::StackError;
use crate::selection::{Selection, SelectionError};

#[derive(Debug, Args)]
pub(super) struct InitArgs {
    /// The name
    name: String,
    /// How values are encrypted: `passphrase` or awskms://…
    #[arg(long, default_value = "passphrase")]
    secrets_provider: String,
    /// Begin with the plain values of another stack
    #[arg(long, value_name = "STACK")]
    copy_config_from: Option<String>,
    /// Do not select it
    #[arg(long)]
    no_select: bool,
}

impl InitArgs {
    pub(super) async fn run(self, selection: &Selection) -> Result<(), StackError> {
        let project = selection.project()?;
        let name = StackName::of_reference(&self.name, &project.name)?;
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
        let other = StackName::of_reference(other, &project.name)?;
        selection.require(project, &other).await?;
        let other = selection.stack_file(project, &other)?;
        for entry in other.entries() {
            let mut secret = false;
            entry.value.each_secret(&mut |_, _| secret = true);
            if secret {
                let key = entry.key.display(&project.name);
                selection.terminal.talk(&format!(
                    "note: `{key}` holds secrets: copy it with `aip-deploy config cp`"
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
