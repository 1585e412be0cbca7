//! The selected stack, and what its file, or one of the history, makes of it.

use std::path::{Path, PathBuf};

use aip_apply::store::State;
use aip_stack::Target;
use aip_stack::config::{ConfigInput, SecretsAccess, resolve};
use aip_stack::desired::{NameKey, objects};
use pulumi_files::{ConfigPath, Project, StackFile, StackName};

use super::{Context, ContextError, SecretsMode};

pub(crate) struct Stack {
    pub project: Project,
    pub name: StackName,
    /// `--config-file`, else `Pulumi.<stack>.yaml`.
    pub file: PathBuf,
}

impl Stack {
    /// The stack file as it stands now; a missing file is empty.
    pub(crate) fn load(&self) -> Result<StackFile, ContextError> {
        Ok(StackFile::load(&self.file, &self.project.name)?)
    }

    /// A key, or with `path` a key and the way into its value.
    pub(crate) fn config_path(&self, text: &str, path: bool) -> Result<ConfigPath, ContextError> {
        super::config_path(&self.project, text, path)
    }

    pub(crate) fn state(&self, ctx: &Context) -> Result<State, ContextError> {
        let stacks = ctx.stacks(Some(&self.project))?;
        Ok(stacks.state(&self.project.name, &self.name))
    }

    /// The objects that the stack file asks for.
    pub(crate) async fn target(
        &self,
        ctx: &Context,
        mode: SecretsMode,
    ) -> Result<Target, ContextError> {
        self.target_of(ctx, &self.load()?, mode).await
    }

    /// The objects that another text of the file asks for, one of the history.
    pub(crate) async fn target_of_revision(
        &self,
        ctx: &Context,
        text: &str,
    ) -> Result<Target, ContextError> {
        let path = self.project.stack_file(&self.name);
        let file = StackFile::parse(&path, text.to_owned(), &self.project.name)?;
        let target = self.target_of(ctx, &file, SecretsMode::Decrypted).await;
        target.map_err(|error| match error {
            // What is wrong is in the history, where no command fixes it.
            ContextError::Configuration(problems) => problems.without_fixes().into(),
            error => error,
        })
    }

    async fn target_of(
        &self,
        ctx: &Context,
        file: &StackFile,
        mode: SecretsMode,
    ) -> Result<Target, ContextError> {
        let crypter = match mode {
            SecretsMode::Decrypted if !file.secrets().is_empty() => Some(ctx.crypter(file).await?),
            SecretsMode::Decrypted | SecretsMode::Placeholder => None,
        };
        let (secrets, names) = match &crypter {
            Some(crypter) => (SecretsAccess::Decrypt(crypter), NameKey::of(crypter)),
            None => (SecretsAccess::Placeholder, NameKey::public()),
        };
        let config = resolve(ConfigInput {
            file,
            project: &self.project,
            stack: &self.name,
            secrets,
            now: ctx.clock.now(),
        })
        .map_err(|problems| problems.scoped(&ctx.stack_flags()))?;
        Ok(Target {
            project: self.project.name.clone(),
            stack: config.stack.clone(),
            context: config.context.clone(),
            namespace: config.namespace.clone(),
            desired: objects(&config, &names),
            notices: config.notices,
            image: config.aip.image,
            stack_file: file.text().to_owned(),
        })
    }
}

impl Context {
    /// The flags that led to the stack file, for a command that is to find it again.
    fn stack_flags(&self) -> Vec<String> {
        let mut flags = Vec::new();
        if self.folder != Path::new(".") {
            flags.push(format!("--cwd={}", self.folder.display()));
        }
        if let Some(stack) = &self.flags.stack {
            flags.push(format!("--stack={stack}"));
        }
        if let Some(file) = &self.flags.config_file {
            flags.push(format!("--config-file={}", file.display()));
        }
        flags
    }
}
