//! `stack change-secrets-provider`: every value under another key, or none of them.

use clap::Args;
use secrecy::SecretString;

use super::StackError;
use crate::context::{Context, ContextError};

#[derive(Debug, Args)]
#[command(after_help = examples![
    "stack change-secrets-provider passphrase",
    "stack change-secrets-provider 'awskms://alias/aip?region=eu-west-1'",
])]
pub(super) struct ProviderArgs {
    /// `passphrase` or awskms://…
    provider: String,
}

impl ProviderArgs {
    pub(super) async fn run(self, ctx: &Context) -> Result<(), StackError> {
        let stack = ctx.stack().await?;
        let mut file = stack.load()?;
        let passphrase = if self.provider == "passphrase" {
            Some(new_passphrase(ctx)?)
        } else {
            None
        };
        let path = file.path().to_owned();
        let in_file = |source| ContextError::Secrets { file: path, source };
        let changed = ctx
            .keyring()
            .change_provider(&mut file, &self.provider, passphrase)
            .await;
        let count = changed.map_err(in_file)?;
        file.save()?;
        ctx.screen.status(format!(
            "{count} values of stack '{}' are encrypted with the new key",
            stack.name
        ));
        Ok(())
    }
}

/// The *new* passphrase: the environment holds the old one. Without a terminal it is the first
/// line of standard input; an empty input is refused rather than taken for an empty passphrase.
fn new_passphrase(ctx: &Context) -> Result<SecretString, StackError> {
    let screen = &ctx.screen;
    if screen.can_ask() {
        let first = screen
            .read_secret("Enter your new passphrase to protect config/secrets")
            .map_err(StackError::Input)?;
        let again = screen
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
    let piped = screen
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
