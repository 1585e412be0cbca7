//! The selected stack, and what its file, or one of the history, makes of it.

use std::path::{Path, PathBuf};

use aip_apply::store::{RevisionRecord, State};
use aip_stack::config::{ConfigInput, SecretsAccess, StackConfig, resolve};
use aip_stack::desired::{NameKey, objects};
use aip_stack::{ResolvedImage, Target};
use pulumi_files::{ConfigPath, Project, StackFile, StackName};

use super::{Context, ContextError, SecretsMode, image};

/// What a stack file says, before it is made into objects.
pub(super) struct Configured {
    pub(super) config: StackConfig,
    names: NameKey,
    stack_file: String,
}

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

    /// The objects that the stack file asks for, with its image as it is written there.
    pub(crate) async fn target(
        &self,
        ctx: &Context,
        mode: SecretsMode,
    ) -> Result<Target, ContextError> {
        let configured = self.configured(ctx, &self.load()?, mode).await?;
        Ok(self.target_of(configured, None))
    }

    /// The objects of a revision: those of the stack file that was kept, with the image that was deployed.
    pub(crate) async fn target_of_revision(
        &self,
        ctx: &Context,
        record: &RevisionRecord,
    ) -> Result<Target, ContextError> {
        let path = self.project.stack_file(&self.name);
        let file = StackFile::parse(&path, record.stack_file.clone(), &self.project.name)?;
        let configured = self.configured(ctx, &file, SecretsMode::Decrypted).await;
        let mut configured = configured.map_err(|error| match error {
            // What is wrong is in the history, where no command fixes it.
            ContextError::Configuration(problems) => problems.without_fixes().into(),
            error => error,
        })?;
        let image = &mut configured.config.aip.image;
        if let Some(digest) = image::recorded_digest(image, record.image.as_deref()) {
            *image = format!("{image}@{digest}");
        }
        Ok(self.target_of(configured, None))
    }

    /// The configuration in a stack file.
    pub(super) async fn configured(
        &self,
        ctx: &Context,
        file: &StackFile,
        mode: SecretsMode,
    ) -> Result<Configured, ContextError> {
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
        Ok(Configured {
            config,
            names,
            stack_file: file.text().to_owned(),
        })
    }

    /// The objects of a configuration. `resolved_image` is where its image comes from, if a registry said it.
    pub(super) fn target_of(
        &self,
        configured: Configured,
        resolved_image: Option<ResolvedImage>,
    ) -> Target {
        let Configured {
            config,
            names,
            stack_file,
        } = configured;
        Target {
            project: self.project.name.clone(),
            desired: objects(&config, &names),
            stack: config.stack,
            context: config.context,
            namespace: config.namespace,
            notices: config.notices,
            image: config.aip.image,
            resolved_image,
            stack_file,
        }
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
