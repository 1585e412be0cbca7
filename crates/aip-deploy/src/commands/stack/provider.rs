//! `stack change-secrets-provider`: every value under another key, or none of them.

use clap::Args;
use secrecy::SecretString;

use super::StackError;
use crate::cli_context::{CliContext, CliContextError};

#[derive(Debug, Args)]
pub(super) struct ProviderArgs {
    /// `passphrase` or awskms://…
    provider: String,
}

impl ProviderArgs {
    pub(super) async fn run(self, cli: &CliContext) -> Result<(), StackError> {
        let project = cli.project()?;
        let stack = cli.stack(&project).await?;
        let mut file = cli.stack_file(&project, &stack)?;
        let passphrase = if self.provider == "passphrase" {
            Some(new_passphrase(cli)?)
        } else {
            None
        };
        let path = file.path().to_owned();
        let in_file = |source| CliContextError::Secrets { file: path, source };
        let changed = cli
            .keyring()
            .change_provider(&mut file, &self.provider, passphrase)
            .await;
        let count = changed.map_err(in_file)?;
        file.save().map_err(CliContextError::from)?;
        cli.terminal.status(&format!(
            "{count} values of stack '{stack}' are encrypted with the new key"
        ));
        Ok(())
    }
}

/// The *new* passphrase: the environment holds the old one. Without a terminal it is the first
/// line of standard input; an empty input is refused rather than taken for an empty passphrase.
fn new_passphrase(cli: &CliContext) -> Result<SecretString, StackError> {
    let terminal = &cli.terminal;
    if terminal.is_interactive() {
        let first = terminal
            .read_secret("Enter your new passphrase to protect config/secrets")
            .map_err(StackError::Input)?;
        let again = terminal
            .read_secret("Re-enter your new passphrase to confirm")
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
        .read_stdin()
        .map_err(StackError::Input)?
        .unwrap_or_default();
    match piped.lines().next().map(str::trim) {
        Some(line) if !line.is_empty() => Ok(SecretString::from(line.to_owned())),
        _ => Err(StackError::Input(std::io::Error::new(
            std::io::ErrorKind::UnexpectedEof,
            "no new passphrase on standard input: pipe it in",
        ))),
    }
}
