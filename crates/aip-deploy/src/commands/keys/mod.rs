//! `keys`: what the stack signs with, and its rotation in three steps. Each step is an edit of the
//! stack file; `up` brings it to the Pods.

mod rotate;
mod status;

use clap::{Args, Subcommand};
use pulumi_files::yaml::Tree;
use pulumi_files::{ConfigPath, CrypterError, Project, StackFile, StackFileError};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;

use crate::config::key_ids;
use crate::exit::Exit;
use crate::selection::{Selection, SelectionError};
use crate::signing_keys::{SigningKeys, SigningKeysError};

const KEY_SET: &str = "aip_config.signing_keys_json_string";
const ACTIVE: &str = "ACTIVE_SIGNING_KEYS";
const SERVICE: &str = "SERVICE_AUTH_KEYS";

/// Show and rotate the keys that the stack signs with
#[derive(Debug, Args)]
pub struct KeysArgs {
    #[command(subcommand)]
    command: KeysCommand,
}

#[derive(Debug, Subcommand)]
enum KeysCommand {
    /// Show every key; never its private half
    Status(status::StatusArgs),
    /// Add a key; then, with --activate, let it sign; at last, with --remove, forget the old one
    Rotate(rotate::RotateArgs),
}

/// Why a `keys` command did nothing.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// There is no stack to work on.
    #[error(transparent)]
    Selection(#[from] SelectionError),
    /// The file does not take the change.
    #[error(transparent)]
    File(#[from] StackFileError),
    /// A secret does not open.
    #[error("{path}: {source}")]
    Crypter {
        /// The value.
        path: String,
        /// Why.
        source: CrypterError,
    },
    /// The stack has no keys.
    #[error("{KEY_SET} is missing: `aip-deploy config check` says how to set it")]
    NoKeys,
    /// A list of ids is none.
    #[error("{path} {reason}")]
    Ids {
        /// The value.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The keys.
    #[error("{KEY_SET}: {0}")]
    Keys(#[from] SigningKeysError),
    /// Nobody could verify what the key signs.
    #[error(
        "the key `{0}` is not deployed yet: `aip-deploy up` first (--force activates it all the same)"
    )]
    NotDeployed(String),
    /// Not everybody could verify what the key signs.
    #[error(
        "the key `{kid}` was published too short a time ago: PDSs keep a copy of the keys for up to ten minutes. \
         Try again in {seconds} s (--force activates it all the same)"
    )]
    TooSoon {
        /// The key.
        kid: String,
        /// How long to wait.
        seconds: u64,
    },
    /// The answer was not the id of the key.
    #[error("confirmation declined, not removing the key")]
    Declined,
    /// Nobody to ask.
    #[error("pass --yes to remove a key in non-interactive mode")]
    NeedsYes,
    /// The terminal.
    #[error("the answer could not be read: {0}")]
    Input(#[source] std::io::Error),
}

impl KeysError {
    /// The exit code.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Selection(error) => error.exit(),
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
    /// Runs the command.
    pub async fn run(self, selection: &Selection) -> Result<(), KeysError> {
        match self.command {
            KeysCommand::Status(args) => args.run(selection).await,
            KeysCommand::Rotate(args) => args.run(selection).await,
        }
    }
}

/// The keys as a stack file has them.
async fn read(
    selection: &Selection,
    project: &Project,
    file: &StackFile,
) -> Result<SigningKeys, KeysError> {
    let json = value(selection, project, file, KEY_SET).await?;
    let json = json.ok_or(KeysError::NoKeys)?;
    let active = ids(selection, project, file, ACTIVE).await?;
    let service = ids(selection, project, file, SERVICE).await?;
    Ok(SigningKeys::parse(json.expose_secret(), active, service)?)
}

/// Puts the keys into the stack file and saves it, whole or not at all. The key set is encrypted
/// even if it was not before.
async fn write(
    selection: &Selection,
    project: &Project,
    file: &mut StackFile,
    keys: &SigningKeys,
) -> Result<(), KeysError> {
    let crypter = selection.crypter_or_new(file).await?;
    let seal = |text: &str, path: &str| {
        let sealed = crypter.encrypt(text, selection.rng.as_ref());
        let in_value = |source| KeysError::Crypter {
            path: path.to_owned(),
            source,
        };
        sealed.map(Tree::secret).map_err(in_value)
    };
    if ids(selection, project, file, ACTIVE).await? != keys.active() {
        let path = variable(project, file, ACTIVE)?;
        let text = Value::from(keys.active().to_vec()).to_string();
        let at = Selection::config_path(project, &path, true)?;
        let plain = file.at(&at).is_some_and(|node| node.secret().is_none());
        let tree = if plain {
            Tree::Text(text)
        } else {
            seal(&text, &path)?
        };
        file.set(&at, tree)?;
    }
    let sealed = seal(keys.to_json().expose_secret(), KEY_SET)?;
    file.set(&Selection::config_path(project, KEY_SET, true)?, sealed)?;
    Ok(file.save()?)
}

/// The ids that a variable of the environment names.
async fn ids(
    selection: &Selection,
    project: &Project,
    file: &StackFile,
    name: &str,
) -> Result<Vec<String>, KeysError> {
    let path = variable(project, file, name)?;
    match value(selection, project, file, &path).await? {
        None => Ok(Vec::new()),
        Some(text) => {
            key_ids(text.expose_secret()).map_err(|reason| KeysError::Ids { path, reason })
        }
    }
}

/// Where the file has a variable of the required environment, which has two names.
fn variable(project: &Project, file: &StackFile, name: &str) -> Result<String, KeysError> {
    let other: ConfigPath = Selection::config_path(project, "aip_config.env_config", true)?;
    let map = match file.at(&other) {
        Some(_) => "env_config",
        None => "required_env",
    };
    Ok(format!("aip_config.{map}.{name}"))
}

/// A text of the file, opened; none if it is missing or empty.
async fn value(
    selection: &Selection,
    project: &Project,
    file: &StackFile,
    path: &str,
) -> Result<Option<SecretString>, KeysError> {
    let Some(node) = file.at(&Selection::config_path(project, path, true)?) else {
        return Ok(None);
    };
    let text = match node.secret() {
        Some(ciphertext) => {
            let crypter = selection.crypter(file).await?;
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
