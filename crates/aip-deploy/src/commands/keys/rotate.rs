//! `keys rotate`: a new key, its activation, and the end of the old one. Between the steps everybody
//! who verifies must have learned of the key.

use std::time::Duration;

use aip_stack::config::rotate_every;
use aip_stack::signing_keys::{Alg, MIN_PUBLISHED, Purpose, SigningKeysError};
use clap::{Args, ValueEnum};
use pulumi_files::StackFile;

use super::KeysError;
use super::auto::AutoRotation;
use super::deployed::History;
use super::master::MasterRotation;
use crate::context::{Context, Stack};

#[derive(Debug, Args)]
#[command(after_help = examples![
    "keys rotate --activate",
    "keys rotate --auto --every 90d",
    "keys rotate --auto --purpose master",
])]
pub(super) struct RotateArgs {
    /// Activate the new key; KID is needed if several are waiting
    #[arg(long, value_name = "KID", num_args = 0..=1, default_missing_value = "", conflicts_with = "remove")]
    activate: Option<KeyToActivate>,
    /// Remove a key that is no longer active
    #[arg(long, value_name = "KID")]
    remove: Option<String>,
    /// Do what is due and deploy it, as `up --yes` does; exits with 0 if nothing is due
    #[arg(long, conflicts_with_all = ["activate", "remove", "force"])]
    auto: bool,
    /// With --auto: how long a key signs (90d, 12w), instead of `aip_config.keys.rotate_every`
    #[arg(long, value_name = "PERIOD", requires = "auto", value_parser = rotate_every)]
    every: Option<Duration>,
    /// Purpose of the key: upstream if not given; with --auto, every purpose of signing keys
    #[arg(long, value_enum)]
    purpose: Option<PurposeName>,
    /// Activate a key even if verifiers may not have fetched it yet
    #[arg(short, long)]
    force: bool,
    /// Skip the confirmation prompt
    #[arg(short, long)]
    yes: bool,
}

/// What a key signs, as `--purpose` names it.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum PurposeName {
    /// Signs requests to PDSs
    Upstream,
    /// Signs tokens for apps
    Oidc,
    /// Signs as a service: the key of AIP's own DID document
    #[value(name = "service_auth")]
    ServiceAuth,
    /// Encrypts what the database holds; with --auto alone
    Master,
}

impl PurposeName {
    /// What a signing key signs; none of a master key.
    fn of_signing_key(self) -> Option<Purpose> {
        match self {
            Self::Upstream => Some(Purpose::Upstream),
            Self::Oidc => Some(Purpose::Oidc),
            Self::ServiceAuth => Some(Purpose::ServiceAuth),
            Self::Master => None,
        }
    }
}

/// The key to activate.
#[derive(Debug, Clone)]
enum KeyToActivate {
    /// The only published key that was never active.
    Waiting,
    /// The key with this id.
    Kid(String),
}

impl From<&str> for KeyToActivate {
    fn from(text: &str) -> Self {
        if text.is_empty() {
            Self::Waiting
        } else {
            Self::Kid(text.to_owned())
        }
    }
}

impl RotateArgs {
    pub(super) async fn run(self, ctx: &Context) -> Result<(), KeysError> {
        let every = self.every;
        let purpose = match self.purpose.map(PurposeName::of_signing_key) {
            Some(None) if self.auto => return MasterRotation { every }.run(ctx).await,
            Some(None) => return Err(KeysError::MasterByHand),
            Some(purpose) => purpose,
            None => None,
        };
        if self.auto {
            return AutoRotation { every, purpose }.run(ctx).await;
        }
        let purpose = purpose.unwrap_or(Purpose::Upstream);
        let stack = ctx.stack().await?;
        let mut file = stack.load()?;
        let mut keys = super::read(ctx, stack, &file).await?;
        let (kid, done, next) = if let Some(kid) = self.remove {
            keys.remove(&kid)?;
            if !self.yes {
                let consequence = "This ends every PDS session that started with this key.";
                let label = "Type the key id to confirm";
                if !ctx.screen.confirm_by_typing(consequence, label, &kid)? {
                    return Err(KeysError::Declined);
                }
            }
            let next = "`aip-deploy up` removes it from the Pods".to_owned();
            (kid, "removed", next)
        } else if let Some(chosen) = self.activate {
            let kid = match chosen {
                KeyToActivate::Waiting => keys.waiting(purpose)?,
                KeyToActivate::Kid(kid) => kid,
            };
            if !keys.has(&kid) {
                return Err(SigningKeysError::Unknown(kid).into());
            }
            if !self.force {
                was_published(ctx, stack, &kid).await?;
            }
            keys.activate(&kid, ctx.clock.now())?;
            let next = "`aip-deploy up` activates it; the previous key stays published because PDS sessions \
                        are bound to it. Once no session uses it: `aip-deploy keys rotate --remove KID`";
            (kid, "activated", next.to_owned())
        } else {
            let (clock, rng) = (ctx.clock.as_ref(), ctx.rng.as_ref());
            let kid = keys.add(purpose, Alg::Es256, clock, rng)?;
            let next = format!(
                "`aip-deploy up` publishes it; ten minutes later: `aip-deploy keys rotate --activate {kid}`"
            );
            (kid, "added, not active yet", next)
        };
        super::write(ctx, stack, &mut file, &keys).await?;
        ctx.screen.line(&kid);
        ctx.screen
            .status(format!("the key {kid} was {done}\nnext: {next}"));
        Ok(())
    }
}

/// That whoever verifies has had the time to learn of the key. What the Pods have is in the history.
async fn was_published(ctx: &Context, stack: &Stack, kid: &str) -> Result<(), KeysError> {
    let read = async |file: &StackFile| super::read(ctx, stack, file).await;
    let history = History::of(ctx, stack, read).await?;
    let Some(since) = history.deployed.published_since(kid) else {
        return Err(KeysError::NotDeployed(kid.to_owned()));
    };
    let published = ctx.clock.now().since(since);
    match MIN_PUBLISHED.checked_sub(published) {
        None | Some(Duration::ZERO) => Ok(()),
        Some(left) => Err(KeysError::TooSoon {
            kid: kid.to_owned(),
            seconds: left.as_secs().max(1),
        }),
    }
}
