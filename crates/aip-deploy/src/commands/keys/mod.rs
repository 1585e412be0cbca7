//! `keys`: what the stack signs with, and its rotation in three steps. Each step is an edit of the
//! stack file; `up` brings it to the Pods.

mod rotate;
mod status;

use aip_apply::store::StoreError;
use aip_stack::config::key_ids;
use aip_stack::signing_keys::{SigningKeys, SigningKeysError};
use clap::{Args, Subcommand};
use pulumi_files::{ConfigPath, CrypterError, StackFile, StackFileError};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use yaml_lossless::Tree;

use crate::context::{Context, ContextError, Stack, from_context_errors};
use crate::exit::Exit;
use crate::ui::PromptError;

const KEY_SET: &str = "aip_config.signing_keys_json_string";
const ACTIVE: &str = "ACTIVE_SIGNING_KEYS";
const SERVICE: &str = "SERVICE_AUTH_KEYS";

/// Show and rotate the signing keys of the stack
#[derive(Debug, Args)]
#[command(after_help = examples!["keys status", "keys rotate"])]
pub(crate) struct KeysArgs {
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
pub(crate) enum KeysError {
    #[error(transparent)]
    Context(#[from] ContextError),
    #[error(transparent)]
    File(#[from] StackFileError),
    #[error("{path}: {source}")]
    Crypter { path: String, source: CrypterError },
    #[error("{KEY_SET} is missing: run `aip-deploy config check`")]
    NoKeys,
    #[error("{path} {reason}")]
    Ids { path: String, reason: String },
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
    TooSoon { kid: String, seconds: u64 },
    #[error("confirmation declined, not removing the key")]
    Declined,
    #[error("pass --yes to remove a key in non-interactive mode")]
    NeedsYes,
    #[error("the answer could not be read: {0}")]
    Input(#[source] std::io::Error),
}

from_context_errors!(KeysError: StoreError);

impl From<PromptError> for KeysError {
    fn from(error: PromptError) -> Self {
        match error {
            PromptError::Terminal(error) => Self::Input(error),
            PromptError::NotInteractive | PromptError::Cancelled => Self::NeedsYes,
        }
    }
}

impl KeysError {
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Context(error) => error.exit(),
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
    pub(crate) async fn run(self, ctx: &Context) -> Result<(), KeysError> {
        match self.command {
            KeysCommand::Status(args) => args.run(ctx).await,
            KeysCommand::Rotate(args) => args.run(ctx).await,
        }
    }
}

/// The keys as a stack file has them.
async fn read(ctx: &Context, stack: &Stack, file: &StackFile) -> Result<SigningKeys, KeysError> {
    let json = value(ctx, stack, file, KEY_SET).await?;
    let json = json.ok_or(KeysError::NoKeys)?;
    let active = ids(ctx, stack, file, ACTIVE).await?;
    let service = ids(ctx, stack, file, SERVICE).await?;
    Ok(SigningKeys::parse(json.expose_secret(), active, service)?)
}

/// Puts the keys into the stack file and saves it, whole or not at all. The key set is encrypted
/// even if it was not before.
async fn write(
    ctx: &Context,
    stack: &Stack,
    file: &mut StackFile,
    keys: &SigningKeys,
) -> Result<(), KeysError> {
    let crypter = ctx.crypter_or_new(file).await?;
    let seal = |text: &str, path: &str| {
        let sealed = crypter.encrypt(text, ctx.rng.as_ref());
        let in_value = |source| KeysError::Crypter {
            path: path.to_owned(),
            source,
        };
        sealed.map(Tree::secret).map_err(in_value)
    };
    if ids(ctx, stack, file, ACTIVE).await? != keys.active() {
        let path = variable(stack, file, ACTIVE)?;
        let text = Value::from(keys.active().to_vec()).to_string();
        let at = stack.config_path(&path, true)?;
        let plain = file.at(&at).is_some_and(|node| node.secret().is_none());
        let tree = if plain {
            Tree::String(text)
        } else {
            seal(&text, &path)?
        };
        file.set(&at, tree)?;
    }
    let sealed = seal(keys.to_json().expose_secret(), KEY_SET)?;
    file.set(&stack.config_path(KEY_SET, true)?, sealed)?;
    Ok(file.save()?)
}

/// The ids that a variable of the environment names.
async fn ids(
    ctx: &Context,
    stack: &Stack,
    file: &StackFile,
    name: &str,
) -> Result<Vec<String>, KeysError> {
    let path = variable(stack, file, name)?;
    match value(ctx, stack, file, &path).await? {
        None => Ok(Vec::new()),
        Some(text) => {
            key_ids(text.expose_secret()).map_err(|reason| KeysError::Ids { path, reason })
        }
    }
}

/// Where the file has a variable of the required environment, which has two names.
fn variable(stack: &Stack, file: &StackFile, name: &str) -> Result<String, KeysError> {
    let other: ConfigPath = stack.config_path("aip_config.env_config", true)?;
    let map = match file.at(&other) {
        Some(_) => "env_config",
        None => "required_env",
    };
    Ok(format!("aip_config.{map}.{name}"))
}

/// A text of the file, opened; none if it is missing or empty.
async fn value(
    ctx: &Context,
    stack: &Stack,
    file: &StackFile,
    path: &str,
) -> Result<Option<SecretString>, KeysError> {
    let Some(node) = file.at(&stack.config_path(path, true)?) else {
        return Ok(None);
    };
    let text = match node.secret() {
        Some(ciphertext) => {
            let crypter = ctx.crypter(file).await?;
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
