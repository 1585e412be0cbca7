//! `keys rotate`: a new key, its activation, and the end of the old one. Between the steps everybody
//! who verifies must have learned of the key.

use aip_base::Timestamp;
use clap::Args;
use pulumi_files::{Project, StackFile, StackName};

use super::KeysError;
use crate::selection::{Selection, SelectionError};
use crate::signing_keys::{Purpose, SigningKeysError};
use crate::store::{HISTORY, StateStore as _};

/// How long a PDS may keep a copy of the keys.
const CACHED_SECS: u64 = 600;

#[derive(Debug, Args)]
pub(super) struct RotateArgs {
    /// Let the new key sign; KID where several wait for it
    #[arg(long, value_name = "KID", num_args = 0..=1, default_missing_value = "", conflicts_with = "remove")]
    activate: Option<Chosen>,
    /// Forget a key that does not sign any more
    #[arg(long, value_name = "KID")]
    remove: Option<String>,
    /// What the key signs: towards PDSs, or towards apps
    #[arg(long, value_enum, default_value_t = Purpose::Upstream)]
    purpose: Purpose,
    /// Activate a key although not everybody may have learned of it
    #[arg(short, long)]
    force: bool,
    /// Remove without a question
    #[arg(short, long)]
    yes: bool,
}

/// The key to activate.
#[derive(Debug, Clone)]
enum Chosen {
    /// The one that waits for it.
    Waiting,
    /// This one.
    Kid(String),
}

impl From<&str> for Chosen {
    fn from(text: &str) -> Self {
        if text.is_empty() {
            Self::Waiting
        } else {
            Self::Kid(text.to_owned())
        }
    }
}

impl RotateArgs {
    pub(super) async fn run(self, selection: &Selection) -> Result<(), KeysError> {
        let project = selection.project()?;
        let stack = selection.stack(&project).await?;
        let mut file = selection.stack_file(&project, &stack)?;
        let mut keys = super::read(selection, &project, &file).await?;
        let (kid, done, next) = if let Some(kid) = self.remove {
            keys.remove(&kid)?;
            if !self.yes {
                confirm(selection, &kid)?;
            }
            let next = "`aip-deploy up` takes it away from the Pods".to_owned();
            (kid, "removed", next)
        } else if let Some(chosen) = self.activate {
            let kid = match chosen {
                Chosen::Waiting => keys.waiting(self.purpose)?,
                Chosen::Kid(kid) => kid,
            };
            if !keys.has(&kid) {
                return Err(SigningKeysError::Unknown(kid).into());
            }
            if !self.force {
                was_published(selection, &project, &stack, &kid).await?;
            }
            keys.activate(&kid)?;
            let next = "`aip-deploy up` lets it sign; the key before it stays published, since sessions at PDSs are \
                        bound to it. Once none is: `aip-deploy keys rotate --remove KID`";
            (kid, "activated", next.to_owned())
        } else {
            let (clock, rng) = (selection.clock.as_ref(), selection.rng.as_ref());
            let kid = keys.add(self.purpose, clock, rng)?;
            let next = format!(
                "`aip-deploy up` publishes it; ten minutes later: `aip-deploy keys rotate --activate {kid}`"
            );
            (kid, "added, not active yet", next)
        };
        super::write(selection, &project, &mut file, &keys).await?;
        selection.terminal.data(&kid);
        selection
            .terminal
            .talk(&format!("the key {kid} was {done}\nnext: {next}"));
        Ok(())
    }
}

/// That whoever verifies has had the time to learn of the key. What the Pods have is in the history.
async fn was_published(
    selection: &Selection,
    project: &Project,
    stack: &StackName,
    kid: &str,
) -> Result<(), KeysError> {
    let Some(since) = published_since(selection, project, stack, kid).await? else {
        return Err(KeysError::NotDeployed(kid.to_owned()));
    };
    let seconds = selection.clock.now().since(since).as_secs();
    if seconds < CACHED_SECS {
        return Err(KeysError::TooSoon {
            kid: kid.to_owned(),
            seconds: CACHED_SECS - seconds,
        });
    }
    Ok(())
}

/// Since when every successful deployment up to the last one has had the key.
async fn published_since(
    selection: &Selection,
    project: &Project,
    stack: &StackName,
    kid: &str,
) -> Result<Option<Timestamp>, KeysError> {
    let state = selection.stacks(Some(project))?.state(&project.name, stack);
    let history = state.history(HISTORY).await.map_err(SelectionError::from)?;
    let mut since = None;
    for (_, record) in history.into_iter().filter(|(_, record)| record.is_good()) {
        let path = project.stack_file(stack);
        // What cannot be read any more does not vouch for the key.
        let Ok(file) = StackFile::parse(&path, record.stack_file, &project.name) else {
            break;
        };
        match super::read(selection, project, &file).await {
            Ok(keys) if keys.has(kid) => since = record.ended.parse::<jiff::Timestamp>().ok(),
            _ => break,
        }
    }
    Ok(since.map(|at| Timestamp::from_micros(at.as_microsecond())))
}

fn confirm(selection: &Selection, kid: &str) -> Result<(), KeysError> {
    let terminal = &selection.terminal;
    if !terminal.interactive() {
        return Err(KeysError::NeedsYes);
    }
    terminal.talk("This ends every session at a PDS that began with the key.");
    let answer = terminal
        .line("Please confirm with the key's id")
        .map_err(KeysError::Input)?;
    if answer.trim() == kid {
        Ok(())
    } else {
        Err(KeysError::Declined)
    }
}
