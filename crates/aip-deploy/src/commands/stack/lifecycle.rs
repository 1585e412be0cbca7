//! Creating and selecting a stack, which `stack init` and `stack select` both do.

use aip_stack::config::quoted;
use pulumi_files::{ConfigPath, Project, StackFile, StackName};
use yaml_lossless::Tree;

use super::StackError;
use crate::context::{Context, ContextError, config_path};

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
            if entry.value.has_secret() {
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

/// Remembers the stack.
pub(super) fn select(ctx: &Context, project: &Project, name: &StackName) -> Result<(), StackError> {
    let url = ctx.backend_url(Some(project))?;
    let workspace = ctx.workspace()?;
    workspace.select(project, &url, Some(name))?;
    if let Some(other) = ctx
        .environment
        .non_empty("PULUMI_STACK")
        .filter(|other| *other != name.as_str())
    {
        ctx.screen.status(format!(
            "warning: PULUMI_STACK is set to {other}, which takes precedence over this selection"
        ));
    }
    Ok(())
}
