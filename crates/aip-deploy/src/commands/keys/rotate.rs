//! `keys rotate`: a new key, its activation, and the end of the old one. Between the steps everybody
//! who verifies must have learned of the key.

use aip_apply::store::HISTORY_LIMIT;
use aip_base::Timestamp;
use aip_stack::signing_keys::{Purpose, SigningKeysError};
use clap::{Args, ValueEnum};
use pulumi_files::StackFile;

use super::KeysError;
use crate::context::{Context, Stack};

/// How long a PDS may keep a copy of the keys.
const PDS_KEY_CACHE_SECONDS: u64 = 600;

#[derive(Debug, Args)]
#[command(after_help = examples![
    "keys rotate --purpose upstream",
    "keys rotate --activate",
    "keys rotate --remove 2026-05-01-upstream --yes",
])]
pub(super) struct RotateArgs {
    /// Activate the new key; KID is needed if several are waiting
    #[arg(long, value_name = "KID", num_args = 0..=1, default_missing_value = "", conflicts_with = "remove")]
    activate: Option<KeyToActivate>,
    /// Remove a key that is no longer active
    #[arg(long, value_name = "KID")]
    remove: Option<String>,
    /// Purpose of the key
    #[arg(long, value_enum, default_value_t = PurposeName::Upstream)]
    purpose: PurposeName,
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
}

impl From<PurposeName> for Purpose {
    fn from(name: PurposeName) -> Self {
        match name {
            PurposeName::Upstream => Self::Upstream,
            PurposeName::Oidc => Self::Oidc,
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
                KeyToActivate::Waiting => keys.waiting(self.purpose.into())?,
                KeyToActivate::Kid(kid) => kid,
            };
            if !keys.has(&kid) {
                return Err(SigningKeysError::Unknown(kid).into());
            }
            if !self.force {
                was_published(ctx, stack, &kid).await?;
            }
            keys.activate(&kid)?;
            let next = "`aip-deploy up` activates it; the previous key stays published because PDS sessions \
                        are bound to it. Once no session uses it: `aip-deploy keys rotate --remove KID`";
            (kid, "activated", next.to_owned())
        } else {
            let (clock, rng) = (ctx.clock.as_ref(), ctx.rng.as_ref());
            let kid = keys.add(self.purpose.into(), clock, rng)?;
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
    let Some(since) = published_since(ctx, stack, kid).await? else {
        return Err(KeysError::NotDeployed(kid.to_owned()));
    };
    let seconds = ctx.clock.now().since(since).as_secs();
    if seconds < PDS_KEY_CACHE_SECONDS {
        return Err(KeysError::TooSoon {
            kid: kid.to_owned(),
            seconds: PDS_KEY_CACHE_SECONDS - seconds,
        });
    }
    Ok(())
}

/// Since when every successful deployment up to the last one has had the key.
async fn published_since(
    ctx: &Context,
    stack: &Stack,
    kid: &str,
) -> Result<Option<Timestamp>, KeysError> {
    let history = stack.state(ctx)?.history(HISTORY_LIMIT).await?;
    let mut since = None;
    for (_, record) in history.into_iter().filter(|(_, record)| record.is_good()) {
        let path = stack.project.stack_file(&stack.name);
        // What cannot be read any more does not vouch for the key.
        let Ok(file) = StackFile::parse(&path, record.stack_file, &stack.project.name) else {
            break;
        };
        match super::read(ctx, stack, &file).await {
            Ok(keys) if keys.has(kid) => since = record.ended.parse::<jiff::Timestamp>().ok(),
            _ => break,
        }
    }
    Ok(since.map(|at| Timestamp::from_micros(at.as_microsecond())))
}
