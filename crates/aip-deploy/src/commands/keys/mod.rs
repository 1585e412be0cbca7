//! `keys`: what the stack signs with, and its rotation. By hand it has three steps, each an edit of the
//! stack file that `up` brings to the Pods; `--auto` makes the steps that are due and deploys them.

mod auto;
mod deployed;
mod master;
mod rotate;
mod status;

use aip_apply::store::{RevisionRecord, StoreError};
use aip_stack::config::fields::{ROTATE_EVERY, SIGNING_KEYS};
use aip_stack::config::key_ids;
use aip_stack::master_keys::MasterKeysError;
use aip_stack::signing_keys::{OutdatedBy, SigningKeys, SigningKeysError};
use clap::{Args, Subcommand};
use pulumi_files::{ConfigPath, CrypterError, StackFile, StackFileError};
use secrecy::ExposeSecret as _;
use serde_json::Value;
use yaml_lossless::Tree;

use super::failure::CommandError;
use crate::context::{Context, ContextError, Stack, from_context_errors};
use crate::exit::Exit;
use crate::ui::PromptError;

const KEY_SET: &str = SIGNING_KEYS.path();
const ACTIVE: &str = "ACTIVE_SIGNING_KEYS";
const SERVICE: &str = "SERVICE_AUTH_KEYS";

/// Show the signing keys of the stack, and rotate them and the master keys
#[derive(Debug, Args)]
#[command(after_help = examples!["keys status", "keys rotate", "keys rotate --auto"])]
pub(crate) struct KeysArgs {
    #[command(subcommand)]
    command: KeysCommand,
}

#[derive(Debug, Subcommand)]
enum KeysCommand {
    /// List the keys, without their private parts
    Status(status::StatusArgs),
    /// Add a key; then activate it with --activate; finally remove the old key with --remove. Or do and
    /// deploy what is due with --auto
    Rotate(rotate::RotateArgs),
}

/// A failed `keys` command. The stack file is unchanged, unless `--auto` fails in the deployment: then it has
/// the new keys, and the next run deploys them.
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
    Field { path: String, reason: String },
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
    /// `--auto` without a period.
    #[error(
        "no period is set: run `aip-deploy config set --path {} 90d`, or pass --every 90d", ROTATE_EVERY.path()
    )]
    NoPeriod,
    /// `--auto` deploys changes of keys, not a stack.
    #[error("the stack is not deployed, or was destroyed: run `aip-deploy up` first")]
    NothingDeployed,
    /// `--auto` would deploy what nobody asked it to.
    #[error(
        "the stack file and what is deployed differ in more than the keys: run `aip-deploy preview` and \
         `aip-deploy up` first"
    )]
    UndeployedChanges,
    /// Another copy of the stack file was deployed meanwhile.
    #[error("{}", overtaken(by, place))]
    Overtaken {
        by: OutdatedBy,
        /// Where the newer keys are: a revision, or the Secret of the Pods.
        place: String,
    },
    #[error("{secret} of the cluster: {reason}; run `aip-deploy up`")]
    Live { secret: String, reason: String },
    /// The keys that protect the database are not in the stack file.
    #[error(
        "AIP_MASTER_KEYS is neither in aip_config.extra_env nor in aip_config.required_env, so its keys cannot be \
         rotated here: run `aip-deploy config set --path --secret aip_config.extra_env.AIP_MASTER_KEYS < \
         master-keys.json`"
    )]
    NoMasterKeys,
    #[error("{path} {source}")]
    MasterKeys {
        path: String,
        source: MasterKeysError,
    },
    /// The Pods of the other profile cannot do the work.
    #[error(
        "master keys are rotated in the profile `restricted` alone: run `aip-deploy config set --path \
         aip_config.profile restricted`, or `aip keys` by hand"
    )]
    MasterProfile,
    #[error("master keys have no rotation by hand here: pass --auto")]
    MasterByHand,
    /// Values would be sealed that Pods cannot open.
    #[error(
        "the master key `{0}` seals in the stack file, and the Pods do not know it yet: make another one the \
         primary key, run `aip-deploy up`, and activate it afterwards"
    )]
    UnknownToPods(String),
    /// Values may be sealed with them still.
    #[error(
        "the stack file has another primary master key than what is deployed, and lacks {}: put them back, and run \
         `aip-deploy up`; the command removes them when everything is sealed again", .0.join(", ")
    )]
    RemovedTooEarly(Vec<String>),
    /// It may seal or open with keys of before.
    #[error(
        "Pod {pod} still runs with master keys of an earlier deployment ({secret}): run the command again when it is \
         gone (`aip-deploy rollout` shows the Pods of the stack; end one that you have started yourself)"
    )]
    OlderPod { pod: String, secret: String },
    #[error(transparent)]
    Command(Box<CommandError>),
    #[error("confirmation declined, not removing the key")]
    Declined,
    #[error("pass --yes to remove a key in non-interactive mode")]
    NeedsYes,
    #[error("the answer could not be read: {0}")]
    Input(#[source] std::io::Error),
}

from_context_errors!(KeysError: StoreError);

impl KeysError {
    /// The keys of a deployment are newer than those of the stack file.
    fn overtaken_by(by: OutdatedBy, deployment: &RevisionRecord) -> Self {
        let RevisionRecord {
            user, host, ended, ..
        } = deployment;
        Self::Overtaken {
            by,
            place: format!("the deployment by {user}@{host} at {ended}"),
        }
    }
}

fn overtaken(by: &OutdatedBy, place: &str) -> String {
    match by {
        OutdatedBy::Lacks(kid) => format!(
            "{place} has the key `{kid}`, which the stack file lacks: if another copy of the file was \
             deployed, `aip-deploy config refresh` fetches it; if the key was removed here, run \
             `aip-deploy up` first"
        ),
        OutdatedBy::Older => format!(
            "the keys of {place} were changed after those of the stack file: another copy of the file was \
             deployed; `aip-deploy config refresh` fetches it"
        ),
    }
}

impl From<CommandError> for KeysError {
    fn from(error: CommandError) -> Self {
        Self::Command(Box::new(error))
    }
}

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
            Self::Command(error) => error.exit(),
            Self::NotDeployed(_)
            | Self::TooSoon { .. }
            | Self::NothingDeployed
            | Self::UndeployedChanges
            | Self::Overtaken { .. }
            | Self::Live { .. }
            | Self::UnknownToPods(_)
            | Self::RemovedTooEarly(_)
            | Self::OlderPod { .. }
            | Self::Declined
            | Self::Input(_)
            | Self::File(StackFileError::Io { .. } | StackFileError::ChangedMeanwhile { .. }) => {
                Exit::Failed
            }
            Self::File(_)
            | Self::Crypter { .. }
            | Self::NoKeys
            | Self::NoPeriod
            | Self::NoMasterKeys
            | Self::MasterKeys { .. }
            | Self::MasterProfile
            | Self::MasterByHand
            | Self::Field { .. }
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
    let json = ctx.text(stack, file, KEY_SET).await?;
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
    if ids(ctx, stack, file, ACTIVE).await? != keys.active() {
        let path = variable(stack, file, ACTIVE)?;
        let text = Value::from(keys.active().to_vec()).to_string();
        let at = stack.config_path(&path, true)?;
        let plain = file.at(&at).is_some_and(|node| node.secret().is_none());
        let tree = if plain {
            Tree::String(text)
        } else {
            sealed(ctx, file, &text, &path).await?
        };
        file.set(&at, tree)?;
    }
    let set = sealed(ctx, file, keys.to_json().expose_secret(), KEY_SET).await?;
    file.set(&stack.config_path(KEY_SET, true)?, set)?;
    Ok(file.save()?)
}

/// A text, encrypted under the key of the file.
async fn sealed(
    ctx: &Context,
    file: &mut StackFile,
    text: &str,
    path: &str,
) -> Result<Tree, KeysError> {
    let crypter = ctx.crypter_or_new(file).await?;
    let ciphertext = crypter.encrypt(text, ctx.rng.as_ref());
    let in_value = |source| KeysError::Crypter {
        path: path.to_owned(),
        source,
    };
    ciphertext.map(Tree::secret).map_err(in_value)
}

/// The ids that a variable of the environment names.
async fn ids(
    ctx: &Context,
    stack: &Stack,
    file: &StackFile,
    name: &str,
) -> Result<Vec<String>, KeysError> {
    let path = variable(stack, file, name)?;
    match ctx.text(stack, file, &path).await? {
        None => Ok(Vec::new()),
        Some(text) => {
            key_ids(text.expose_secret()).map_err(|reason| KeysError::Field { path, reason })
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
