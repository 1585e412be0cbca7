//! The context of a command line: what flags, environment and files select: project, stack, state backend, secrets.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use aip_base::{Clock, Http, Rng};
use async_trait::async_trait;
use pulumi_files::{
    Backend, BackendError, ConfigPath, Crypter, Encryption, Environment, KeyError, Keyring,
    Project, ProjectError, SecretsError, StackFile, StackFileError, StackName, Workspace,
    WorkspaceError,
};
use tokio::sync::Mutex;

use crate::config::{ConfigInput, Problems, SecretsAccess, read};
use crate::desired::{NameKey, objects};
use crate::exit::Exit;
use crate::store::{LoginError, Stacks, StoreError};
use crate::target::{Target, TargetError, Targets};
use crate::ui::terminal::{PassphrasePrompt, Terminal};

/// Global flags, environment and I/O that every command starts from; resolves project, stack and
/// backend.
pub struct CliContext {
    /// Input, data output (stdout) and status output (stderr).
    pub terminal: Arc<dyn Terminal>,
    /// Snapshot of the process environment; nothing else reads it.
    pub environment: Environment,
    /// `--cwd`, else `.`.
    pub folder: PathBuf,
    /// `--stack`.
    pub stack_flag: Option<String>,
    /// `--config-file`.
    pub config_file: Option<PathBuf>,
    /// HTTP client for S3, KMS and AWS credentials.
    pub http: Arc<dyn Http>,
    /// This machine's clock.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub rng: Arc<dyn Rng>,
    /// The key derivation takes a quarter of a second: once per process.
    crypter: Mutex<Option<(Encryption, Arc<Crypter>)>>,
}

/// Why a command has nothing to start from.
#[derive(Debug, thiserror::Error)]
pub enum CliContextError {
    /// `Pulumi.yaml` is missing or invalid.
    #[error(transparent)]
    Project(#[from] ProjectError),
    /// The choices in `~/.pulumi`.
    #[error(transparent)]
    Workspace(#[from] WorkspaceError),
    /// The backend URL is invalid or unsupported.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// A configuration key or property path is malformed.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The stack file cannot be read or is invalid.
    #[error(transparent)]
    File(#[from] StackFileError),
    /// The configuration has problems; each with line and fix.
    #[error(transparent)]
    Configuration(#[from] Problems),
    /// The key of the encrypted values is not available.
    #[error("{}: {source}", file.display())]
    Secrets {
        /// The stack file cannot be read or is invalid.
        file: PathBuf,
        /// The underlying error.
        source: SecretsError,
    },
    /// The state backend failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The backend cannot be used for a login.
    #[error(transparent)]
    Login(#[from] LoginError),
    /// No backend URL in environment, project or workspace.
    #[error("not logged in: run `aip-deploy login s3://BUCKET` (or file://FOLDER)")]
    NotLoggedIn,
    /// No `--stack`, no `PULUMI_STACK`, none selected.
    #[error("no stack selected; please use `aip-deploy stack select` or pass --stack")]
    NoStack,
    /// The named stack has neither a file nor state.
    #[error("no stack named '{0}' found")]
    UnknownStack(StackName),
    /// Argument and `--stack` contradict each other.
    #[error("conflicting stacks: the argument names `{0}`, --stack names `{1}`")]
    TwoStacks(StackName, StackName),
}

impl CliContextError {
    /// Exit code of a command that fails with this error.
    pub fn exit(&self) -> Exit {
        match self {
            Self::NotLoggedIn => Exit::Authentication,
            Self::Store(error) | Self::Login(LoginError::Store(error)) => error.exit(),
            Self::Secrets { source, .. } => secrets_exit(source),
            Self::Project(ProjectError::NotFound { .. })
            | Self::Login(LoginError::Unconditional { .. })
            | Self::File(StackFileError::Io { .. }) => Exit::Failed,
            Self::NoStack | Self::UnknownStack(_) => Exit::Stack,
            Self::Project(_)
            | Self::Workspace(_)
            | Self::Backend(_)
            | Self::Key(_)
            | Self::File(_)
            | Self::Configuration(_)
            | Self::TwoStacks(..) => Exit::Usage,
        }
    }
}

/// Where secrets cannot be opened: the key service refuses, is not reached, or the file is wrong.
pub fn secrets_exit(error: &SecretsError) -> Exit {
    match error {
        SecretsError::Kms(error) if error.is_denied() => Exit::Authentication,
        SecretsError::Kms(error) if error.is_misconfigured() => Exit::Usage,
        SecretsError::Kms(_) => Exit::Failed,
        SecretsError::Passphrase(_)
        | SecretsError::Unsupported { .. }
        | SecretsError::NoKey { .. }
        | SecretsError::BadKey
        | SecretsError::NotInitialised
        | SecretsError::Value { .. }
        | SecretsError::Crypter(_)
        | SecretsError::File(_) => Exit::Usage,
    }
}

impl CliContext {
    /// A context without `--stack` and `--config-file`.
    pub fn new(
        terminal: Arc<dyn Terminal>,
        environment: Environment,
        folder: PathBuf,
        http: Arc<dyn Http>,
        clock: Arc<dyn Clock>,
        rng: Arc<dyn Rng>,
    ) -> Self {
        Self {
            terminal,
            environment,
            folder,
            stack_flag: None,
            config_file: None,
            http,
            clock,
            rng,
            crypter: Mutex::new(None),
        }
    }

    /// The flags that led to this stack file, for a command that is to find it again.
    fn flags(&self) -> Vec<String> {
        let mut flags = Vec::new();
        if self.folder != Path::new(".") {
            flags.push(format!("--cwd={}", self.folder.display()));
        }
        if let Some(stack) = &self.stack_flag {
            flags.push(format!("--stack={stack}"));
        }
        if let Some(file) = &self.config_file {
            flags.push(format!("--config-file={}", file.display()));
        }
        flags
    }

    /// The project of the folder or the nearest folder above it.
    pub fn project(&self) -> Result<Project, CliContextError> {
        Ok(Project::find(&self.folder)?)
    }

    /// The choices in `~/.pulumi`.
    pub fn workspace(&self) -> Result<Workspace, CliContextError> {
        Ok(Workspace::new(&self.environment)?)
    }

    /// `PULUMI_BACKEND_URL`, else the project's, else the login.
    pub fn backend_url(&self, project: Option<&Project>) -> Result<String, CliContextError> {
        let url = self.workspace()?.backend_url(project)?.map(|(url, _)| url);
        url.ok_or(CliContextError::NotLoggedIn)
    }

    /// The state backend failed.
    pub fn stacks(&self, project: Option<&Project>) -> Result<Stacks, CliContextError> {
        let url = self.backend_url(project)?;
        self.open(&url, project)
    }

    /// Opens the backend of `url`; sends nothing yet.
    pub fn open(&self, url: &str, project: Option<&Project>) -> Result<Stacks, CliContextError> {
        let relative_to = project
            .and_then(|project| project.file.parent())
            .unwrap_or(&self.folder);
        let backend = Backend::parse(url, relative_to, &self.environment)?;
        let http = Arc::clone(&self.http);
        Ok(Stacks::open(
            &backend,
            &self.environment,
            http,
            Arc::clone(&self.clock),
            Arc::clone(&self.rng),
        )?)
    }

    /// The stack that a command's own argument or `--stack` names, which may not contradict one
    /// another.
    pub fn named(
        &self,
        argument: Option<&str>,
        project: &Project,
    ) -> Result<Option<StackName>, CliContextError> {
        let parse = |name: Option<&str>| {
            let stack = name.map(|name| StackName::of_reference(name, &project.name));
            stack.transpose().map_err(WorkspaceError::from)
        };
        match (parse(argument)?, parse(self.stack_flag.as_deref())?) {
            (Some(argument), Some(flag)) if argument != flag => {
                Err(CliContextError::TwoStacks(argument, flag))
            }
            (argument, flag) => Ok(argument.or(flag)),
        }
    }

    /// The stack, which has a file or is known to the state backend.
    pub async fn stack(&self, project: &Project) -> Result<StackName, CliContextError> {
        let url = self
            .workspace()?
            .backend_url(Some(project))?
            .map(|(url, _)| url);
        let flag = self.stack_flag.as_deref();
        if url.is_none() && flag.is_none() && self.environment.non_empty("PULUMI_STACK").is_none() {
            return Err(CliContextError::NotLoggedIn);
        }
        let chosen = self
            .workspace()?
            .stack(flag, project, url.as_deref().unwrap_or_default())?;
        let (stack, _) = chosen.ok_or(CliContextError::NoStack)?;
        self.require(project, &stack).await?;
        Ok(stack)
    }

    /// Fails unless the stack has a file or state.
    pub async fn require(
        &self,
        project: &Project,
        stack: &StackName,
    ) -> Result<(), CliContextError> {
        if project.stack_file(stack).is_file() || self.config_file.is_some() {
            return Ok(());
        }
        match self.stacks(Some(project)) {
            Ok(stacks) if stacks.names(&project.name).await?.contains(stack) => Ok(()),
            Ok(_) | Err(CliContextError::NotLoggedIn) => {
                Err(CliContextError::UnknownStack(stack.clone()))
            }
            Err(error) => Err(error),
        }
    }

    /// `--config-file`, else `Pulumi.<stack>.yaml`; a missing file is empty.
    pub fn stack_file(
        &self,
        project: &Project,
        stack: &StackName,
    ) -> Result<StackFile, CliContextError> {
        let path = match &self.config_file {
            Some(path) => self.folder.join(path),
            None => project.stack_file(stack),
        };
        Ok(StackFile::load(&path, &project.name)?)
    }

    /// A key, or with `path` a key and the way into its value.
    pub fn config_path(
        project: &Project,
        text: &str,
        path: bool,
    ) -> Result<ConfigPath, CliContextError> {
        let parse = if path {
            ConfigPath::parse
        } else {
            ConfigPath::key
        };
        Ok(parse(text, &project.name)?)
    }

    /// Opens passphrase and KMS crypters, prompting if interactive.
    pub fn keyring(&self) -> Keyring {
        Keyring {
            environment: self.environment.clone(),
            prompt: Arc::new(PassphrasePrompt(Arc::clone(&self.terminal))),
            http: Arc::clone(&self.http),
            clock: Arc::clone(&self.clock),
            rng: Arc::clone(&self.rng),
        }
    }

    /// Opens the crypter of a file that has encryption settings; cached.
    pub async fn crypter(&self, file: &StackFile) -> Result<Arc<Crypter>, CliContextError> {
        let encryption = file.encryption();
        let mut cached = self.crypter.lock().await;
        if let Some((of, crypter)) = cached.as_ref()
            && *of == encryption
        {
            return Ok(Arc::clone(crypter));
        }
        let crypter = self
            .keyring()
            .open(&encryption)
            .await
            .map_err(|e| in_file(file, e))?;
        let crypter = Arc::new(crypter);
        *cached = Some((encryption, Arc::clone(&crypter)));
        Ok(crypter)
    }

    /// The crypter of a file, which gets one if it has none.
    pub async fn crypter_or_new(
        &self,
        file: &mut StackFile,
    ) -> Result<Arc<Crypter>, CliContextError> {
        let encryption = file.encryption();
        if encryption.salt.is_some() || encryption.encrypted_key.is_some() {
            return self.crypter(file).await;
        }
        let crypter = self.keyring().open_or_create(file).await;
        let crypter = Arc::new(crypter.map_err(|e| in_file(file, e))?);
        *self.crypter.lock().await = Some((file.encryption(), Arc::clone(&crypter)));
        Ok(crypter)
    }

    /// The selected stack with its objects.
    pub async fn target(&self, mode: SecretsMode) -> Result<Target, CliContextError> {
        let project = self.project()?;
        let stack = self.stack(&project).await?;
        let file = self.stack_file(&project, &stack)?;
        self.target_of(&project, &stack, &file, mode).await
    }

    async fn target_of(
        &self,
        project: &Project,
        stack: &StackName,
        file: &StackFile,
        mode: SecretsMode,
    ) -> Result<Target, CliContextError> {
        let crypter = match mode {
            SecretsMode::Decrypted if !file.secrets().is_empty() => Some(self.crypter(file).await?),
            SecretsMode::Decrypted | SecretsMode::Placeholder => None,
        };
        let (secrets, names) = match &crypter {
            Some(crypter) => (SecretsAccess::Decrypt(crypter), NameKey::of(crypter)),
            None => (SecretsAccess::Placeholder, NameKey::public()),
        };
        let config = read(ConfigInput {
            file,
            project,
            stack,
            secrets,
        })
        .map_err(|problems| problems.scoped(&self.flags()))?;
        Ok(Target {
            project: project.name.clone(),
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

/// How the encrypted values of a target are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecretsMode {
    /// Decrypted with the stack's key.
    Decrypted,
    /// [`crate::config::PLACEHOLDER`] in their place; needs no key.
    Placeholder,
}

fn in_file(file: &StackFile, source: SecretsError) -> CliContextError {
    CliContextError::Secrets {
        file: file.path().to_owned(),
        source,
    }
}

impl From<CliContextError> for TargetError {
    fn from(error: CliContextError) -> Self {
        match error {
            CliContextError::Configuration(problems) => {
                Self::Configuration(problems.0.iter().map(ToString::to_string).collect())
            }
            error => Self::Other {
                message: error.to_string(),
                exit: error.exit(),
            },
        }
    }
}

#[async_trait]
impl Targets for CliContext {
    async fn current(&self) -> Result<Target, TargetError> {
        Ok(self.target(SecretsMode::Decrypted).await?)
    }

    async fn with_stack_file(&self, text: &str) -> Result<Target, TargetError> {
        let project = self.project()?;
        let stack = self.stack(&project).await?;
        let path = project.stack_file(&stack);
        let file = StackFile::parse(&path, text.to_owned(), &project.name)
            .map_err(CliContextError::from)?;
        let target = self
            .target_of(&project, &stack, &file, SecretsMode::Decrypted)
            .await;
        Ok(target.map_err(|error| match error {
            // What is wrong is in the history, where no command fixes it.
            CliContextError::Configuration(problems) => problems.without_fixes().into(),
            error => error,
        })?)
    }
}
