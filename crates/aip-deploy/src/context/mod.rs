//! What a command starts from: the terminal, the environment, and what flags, environment and files
//! select.

mod error;
mod image;
mod open_stack;
mod secrets;
mod stack;

use std::path::PathBuf;
use std::sync::Arc;

use aip_apply::apply::FailPoints;
use aip_apply::store::Stacks;
use aip_aws::Aws;
use aip_base::{Clock, Environment, Rng};
use pulumi_files::{
    Backend, ConfigPath, Crypter, Encryption, Project, StackName, Workspace, WorkspaceError,
};
use tokio::sync::{Mutex, OnceCell};

use crate::ui::Screen;
use crate::ui::screen::ColorMode;

pub(crate) use error::ContextError;
pub(crate) use error::from_context_errors;
pub(crate) use open_stack::OpenStack;
pub(crate) use secrets::SecretsMode;
pub(crate) use stack::Stack;

/// Global flags, environment and I/O. Project and stack are resolved once, when a command first
/// wants them.
pub(crate) struct Context {
    /// Output, questions and standard input.
    pub screen: Screen,
    /// Snapshot of the process environment; nothing else reads it.
    pub environment: Environment,
    /// `--cwd`, else `.`.
    pub folder: PathBuf,
    /// Credentials and requests for KMS, and credentials for S3.
    pub aws: Aws,
    pub clock: Arc<dyn Clock>,
    pub rng: Arc<dyn Rng>,
    /// Told of every step of a command that writes.
    pub fail_points: Arc<dyn FailPoints>,
    flags: GlobalFlags,
    stack: OnceCell<Stack>,
    /// The key derivation takes a quarter of a second: once per process.
    crypter: Mutex<Option<(Encryption, Arc<Crypter>)>>,
}

/// Flags that every command has.
#[derive(Debug, clap::Args)]
pub(crate) struct GlobalFlags {
    /// The stack to use instead of the selected one
    #[arg(short, long, global = true)]
    stack: Option<String>,
    /// The stack file, instead of Pulumi.<stack>.yaml
    #[arg(long, global = true, value_name = "FILE")]
    config_file: Option<PathBuf>,
    /// Run as if started in this folder
    #[arg(short = 'C', long, global = true, value_name = "FOLDER")]
    cwd: Option<PathBuf>,
    /// Disable interactive prompts
    #[arg(long, global = true)]
    pub non_interactive: bool,
    /// When to use colours
    #[arg(long, global = true, value_enum, default_value_t = ColorMode::Auto)]
    pub color: ColorMode,
}

impl Context {
    pub(crate) fn new(
        screen: Screen,
        environment: Environment,
        flags: GlobalFlags,
        aws: Aws,
        clock: Arc<dyn Clock>,
        rng: Arc<dyn Rng>,
        fail_points: Arc<dyn FailPoints>,
    ) -> Self {
        Self {
            screen,
            environment,
            folder: flags.cwd.clone().unwrap_or_else(|| PathBuf::from(".")),
            aws,
            clock,
            rng,
            fail_points,
            flags,
            stack: OnceCell::new(),
            crypter: Mutex::new(None),
        }
    }

    /// What tells a Job of one run from those of others: 8 hexadecimal digits.
    pub(crate) fn run_name(&self) -> String {
        let mut run = [0; 4];
        self.rng.fill(&mut run);
        format!("{:08x}", u32::from_be_bytes(run))
    }

    /// The project of the folder or the nearest folder above it.
    pub(crate) fn project(&self) -> Result<Project, ContextError> {
        Ok(Project::find(&self.folder)?)
    }

    pub(crate) fn workspace(&self) -> Result<Workspace, ContextError> {
        Ok(Workspace::new(&self.environment)?)
    }

    /// `PULUMI_BACKEND_URL`, else the project's, else the login.
    pub(crate) fn backend_url(&self, project: Option<&Project>) -> Result<String, ContextError> {
        let url = self.workspace()?.backend_url(project)?.map(|(url, _)| url);
        url.ok_or(ContextError::NotLoggedIn)
    }

    pub(crate) fn stacks(&self, project: Option<&Project>) -> Result<Stacks, ContextError> {
        let url = self.backend_url(project)?;
        self.open_backend(&url, project)
    }

    /// The backend of `url`; sends nothing yet.
    pub(crate) fn open_backend(
        &self,
        url: &str,
        project: Option<&Project>,
    ) -> Result<Stacks, ContextError> {
        let relative_to = project
            .and_then(|project| project.file.parent())
            .unwrap_or(&self.folder);
        let backend = Backend::parse(url, relative_to, &self.environment)?;
        Ok(Stacks::open(
            &backend,
            &self.environment,
            &self.aws,
            Arc::clone(&self.clock),
            Arc::clone(&self.rng),
        ))
    }

    /// The stack that a command's own argument or `--stack` names, which may not contradict one
    /// another.
    pub(crate) fn named(
        &self,
        argument: Option<&str>,
        project: &Project,
    ) -> Result<Option<StackName>, ContextError> {
        let parse = |name: Option<&str>| {
            let stack = name.map(|name| StackName::of_reference(name, &project.name));
            stack.transpose().map_err(WorkspaceError::from)
        };
        match (parse(argument)?, parse(self.flags.stack.as_deref())?) {
            (Some(argument), Some(flag)) if argument != flag => {
                Err(ContextError::TwoStacks(argument, flag))
            }
            (argument, flag) => Ok(argument.or(flag)),
        }
    }

    /// The selected stack, which has a file or is known to the state backend.
    pub(crate) async fn stack(&self) -> Result<&Stack, ContextError> {
        self.stack.get_or_try_init(|| self.resolve_stack()).await
    }

    async fn resolve_stack(&self) -> Result<Stack, ContextError> {
        let project = self.project()?;
        let url = self
            .workspace()?
            .backend_url(Some(&project))?
            .map(|(url, _)| url);
        let flag = self.flags.stack.as_deref();
        if url.is_none() && flag.is_none() && self.environment.non_empty("PULUMI_STACK").is_none() {
            return Err(ContextError::NotLoggedIn);
        }
        let chosen = self
            .workspace()?
            .stack(flag, &project, url.as_deref().unwrap_or_default())?;
        let (name, _) = chosen.ok_or(ContextError::NoStack)?;
        self.require(&project, &name).await?;
        let file = match &self.flags.config_file {
            Some(path) => self.folder.join(path),
            None => project.stack_file(&name),
        };
        Ok(Stack {
            project,
            name,
            file,
        })
    }

    /// Fails unless the stack has a file or state.
    pub(crate) async fn require(
        &self,
        project: &Project,
        stack: &StackName,
    ) -> Result<(), ContextError> {
        if project.stack_file(stack).is_file() || self.flags.config_file.is_some() {
            return Ok(());
        }
        match self.stacks(Some(project)) {
            Ok(stacks) if stacks.names(&project.name).await?.contains(stack) => Ok(()),
            Ok(_) | Err(ContextError::NotLoggedIn) => {
                Err(ContextError::UnknownStack(stack.clone()))
            }
            Err(error) => Err(error),
        }
    }
}

/// A key, or with `path` a key and the way into its value.
pub(crate) fn config_path(
    project: &Project,
    text: &str,
    path: bool,
) -> Result<ConfigPath, ContextError> {
    let parse = if path {
        ConfigPath::parse
    } else {
        ConfigPath::key
    };
    Ok(parse(text, &project.name)?)
}
