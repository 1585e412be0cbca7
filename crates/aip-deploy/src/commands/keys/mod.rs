//! `keys`: what the stack signs with, and its rotation in three steps. Each step is an edit of the
//! stack file; `up` brings it to the Pods.

mod rotate;
mod status;

use clap::{Args, Subcommand};
use pulumi_files::yaml::Tree;
use pulumi_files::{ConfigPath, CrypterError, Project, StackFile, StackFileError};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;

use crate::cli_context::{CliContext, CliContextError};
use crate::config::key_ids;
use crate::exit::Exit;
use crate::signing_keys::{SigningKeys, SigningKeysError};

const KEY_SET: &str = "aip_config.signing_keys_json_string";
const ACTIVE: &str = "ACTIVE_SIGNING_KEYS";
const SERVICE: &str = "SERVICE_AUTH_KEYS";

/// Show and rotate the signing keys of the stack
#[derive(Debug, Args)]
pub struct KeysArgs {
    #[command(subcommand)]
    command: KeysCommand,
}

#[derive(Debug, Subcommand)]
enum KeysCommand {
    /// List the keys, without their private parts
    Status(status::StatusArgs),
    /// Add a key; then activate it with --activate; finally remove the old key with --remove
    Rotate(rotate::RotateArgs),
}

/// A failed `keys` command; the stack file is unchanged.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// Project, stack, stack file or state backend could not be resolved.
    #[error(transparent)]
    CliContext(#[from] CliContextError),
    /// The stack file could not be read, edited or saved.
    #[error(transparent)]
    File(#[from] StackFileError),
    /// An encrypted value could not be decrypted.
    #[error("{path}: {source}")]
    Crypter {
        /// The value.
        path: String,
        /// The underlying error.
        source: CrypterError,
    },
    /// `signing_keys_json_string` is missing or empty.
    #[error("{KEY_SET} is missing: run `aip-deploy config check`")]
    NoKeys,
    /// `ACTIVE_SIGNING_KEYS` or `SERVICE_AUTH_KEYS` is malformed.
    #[error("{path} {reason}")]
    Ids {
        /// The value.
        path: String,
        /// What the parser or check reported; never a secret value.
        reason: String,
    },
    /// The keys.
    #[error("{KEY_SET}: {0}")]
    Keys(#[from] SigningKeysError),
    /// Nobody could verify what the key signs.
    #[error(
        "key `{0}` is not deployed yet: run `aip-deploy up` first (--force activates it anyway)"
    )]
    NotDeployed(String),
    /// Not everybody could verify what the key signs.
    #[error(
        "key `{kid}` was published too recently: PDSs cache the keys for up to ten minutes. Try again in \
         {seconds} s (--force activates it anyway)"
    )]
    TooSoon {
        /// The key.
        kid: String,
        /// Seconds until the key can be activated.
        seconds: u64,
    },
    /// The answer was not the id of the key.
    #[error("confirmation declined, not removing the key")]
    Declined,
    /// The terminal is not interactive and `--yes` was not given.
    #[error("pass --yes to remove a key in non-interactive mode")]
    NeedsYes,
    /// The terminal.
    #[error("the answer could not be read: {0}")]
    Input(#[source] std::io::Error),
}

impl KeysError {
    /// Exit code of a command that fails with this error.
    pub fn exit(&self) -> Exit {
        match self {
            Self::CliContext(error) => error.exit(),
            Self::NotDeployed(_)
            | Self::TooSoon { .. }
            | Self::Declined
            | Self::Input(_)
            | Self::File(StackFileError::Io { .. } | StackFileError::ChangedMeanwhile { .. }) => {
                Exit::Failed
            }
            Self::File(_)
            | Self::Crypter { .. }
            | Self::NoKeys
            | Self::Ids { .. }
            | Self::Keys(_)
            | Self::NeedsYes => Exit::Usage,
        }
    }
}

impl KeysArgs {
    /// Dispatches to the subcommand.
    pub async fn run(self, cli: &CliContext) -> Result<(), KeysError> {
        match self.command {
            KeysCommand::Status(args) => args.run(cli).await,
            KeysCommand::Rotate(args) => args.run(cli).await,
        }
    }
}

/// The keys as a stack file has them.
async fn read(
    cli: &CliContext,
    project: &Project,
    file: &StackFile,
) -> Result<SigningKeys, KeysError> {
    let json = value(cli, project, file, KEY_SET).await?;
    let json = json.ok_or(KeysError::NoKeys)?;
    let active = ids(cli, project, file, ACTIVE).await?;
    let service = ids(cli, project, file, SERVICE).await?;
    Ok(SigningKeys::parse(json.expose_secret(), active, service)?)
}

/// Puts the keys into the stack file and saves it, whole or not at all. The key set is encrypted
/// even if it was not before.
async fn write(
    cli: &CliContext,
    project: &Project,
    file: &mut StackFile,
    keys: &SigningKeys,
) -> Result<(), KeysError> {
    let crypter = cli.crypter_or_new(file).await?;
    let seal = |text: &str, path: &str| {
        let sealed = crypter.encrypt(text, cli.rng.as_ref());
        let in_value = |source| KeysError::Crypter {
            path: path.to_owned(),
            source,
        };
        sealed.map(Tree::secret).map_err(in_value)
    };
    if ids(cli, project, file, ACTIVE).await? != keys.active() {
        let path = variable(project, file, ACTIVE)?;
        let text = Value::from(keys.active().to_vec()).to_string();
        let at = CliContext::config_path(project, &path, true)?;
        let plain = file.at(&at).is_some_and(|node| node.secret().is_none());
        let tree = if plain {
            Tree::String(text)
        } else {
            seal(&text, &path)?
        };
        file.set(&at, tree)?;
    }
    let sealed = seal(keys.to_json().expose_secret(), KEY_SET)?;
    file.set(&CliContext::config_path(project, KEY_SET, true)?, sealed)?;
    Ok(file.save()?)
}

/// The ids that a variable of the environment names.
async fn ids(
    cli: &CliContext,
    project: &Project,
    file: &StackFile,
    name: &str,
) -> Result<Vec<String>, KeysError> {
    let path = variable(project, file, name)?;
    match value(cli, project, file, &path).await? {
        None => Ok(Vec::new()),
        Some(text) => {
            key_ids(text.expose_secret()).map_err(|reason| KeysError::Ids { path, reason })
        }
    }
}

/// Where the file has a variable of the required environment, which has two names.
fn variable(project: &Project, file: &StackFile, name: &str) -> Result<String, KeysError> {
    let other: ConfigPath = CliContext::config_path(project, "aip_config.env_config", true)?;
    let map = match file.at(&other) {
        Some(_) => "env_config",
        None => "required_env",
    };
    Ok(format!("aip_config.{map}.{name}"))
}

/// A text of the file, opened; none if it is missing or empty.
async fn value(
    cli: &CliContext,
    project: &Project,
    file: &StackFile,
    path: &str,
) -> Result<Option<SecretString>, KeysError> {
    let Some(node) = file.at(&CliContext::config_path(project, path, true)?) else {
        return Ok(None);
    };
    let text = match node.secret() {
        Some(ciphertext) => {
            let crypter = cli.crypter(file).await?;
            let opened = crypter.decrypt(ciphertext);
            opened.map_err(|source| KeysError::Crypter {
                path: path.to_owned(),
                source,
            })?
        }
        None => match node.scalar() {
            Some(scalar) => SecretString::from(scalar.text.clone()),
            None => return Ok(None),
        },
    };
    Ok(Some(text).filter(|text| !text.expose_secret().is_empty()))
}
