//! `stack change-secrets-provider`: every value under another key, or none of them.

use clap::Args;
use secrecy::SecretString;

use super::StackError;
use crate::selection::{Selection, SelectionError};

#[derive(Debug, Args)]
pub(super) struct ProviderArgs {
    /// `passphrase` or awskms://…
    provider: String,
}

impl ProviderArgs {
    pub(super) async fn run(self, selection: &Selection) -> Result<(), StackError> {
        let project = selection.project()?;
        let stack = selection.stack(&project).await?;
        let mut file = selection.stack_file(&project, &stack)?;
        let passphrase = if self.provider == "passphrase" {
            Some(new_passphrase(selection)?)
        } else {
            None
        };
        let path = file.path().to_owned();
        let in_file = |source| SelectionError::Secrets { file: path, source };
        let changed = selection
            .keyring()
            .change_provider(&mut file, &self.provider, passphrase)
            .await;
        let count = changed.map_err(in_file)?;
        file.save().map_err(SelectionError::from)?;
        selection.terminal.talk(&format!(
            "{count} values of stack '{stack}' are encrypted with the new key"
        ));
        Ok(())
    }
}

/// The *new* passphrase: the environment holds the old one. Without a terminal it is the first
/// line of standard input; an empty input is refused rather than taken for an empty passphrase.
fn new_passphrase(selection: &Selection) -> Result<SecretString, StackError> {
    let terminal = &selection.terminal;
    if terminal.interactive() {
        let first = terminal
            .secret("Enter your new passphrase to protect config/secrets")
            .map_err(StackError::Input)?;
        let again = terminal
            .secret("Re-enter your new passphrase to confirm")
            .map_err(StackError::Input)?;
        let same = secrecy::ExposeSecret::expose_secret(&first)
            == secrecy::ExposeSecret::expose_secret(&again);
        return if same {
            Ok(first)
        } else {
            Err(StackError::Declined)
        };
    }
    let piped = terminal
        .piped()
        .map_err(StackError::Input)?
        .unwrap_or_default();
    match piped.lines().next().map(str::trim) {
        Some(line) if !line.is_empty() => Ok(SecretString::from(line.to_owned())),
        _ => Err(StackError::Input(std::io::Error::new(
            std::io::ErrorKind::UnexpectedEof,
            "the new passphrase is expected on standard input",
        ))),
    }
}
