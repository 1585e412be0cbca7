//! `config refresh`: the stack file of the last successful deployment, from the history.

use aip_apply::store::last_good;
use clap::Args;
use pulumi_files::{Encryption, StackFile};

use super::ConfigError;
use crate::context::Context;

#[derive(Debug, Args)]
#[command(after_help = examples!["config refresh", "config refresh --force"])]
pub(super) struct RefreshArgs {
    /// Do not keep a backup of the stack file in FILE.bak
    #[arg(short, long)]
    force: bool,
}

impl RefreshArgs {
    pub(super) async fn run(self, ctx: &Context) -> Result<(), ConfigError> {
        let stack = ctx.stack().await?;
        let state = stack.state(ctx)?;
        let last = last_good(&state).await?;
        let never = || ConfigError::NeverDeployed(stack.name.to_string());
        let (revision, record) = last.ok_or_else(never)?;
        let mut file = stack.load()?;
        if file.text() == record.stack_file {
            ctx.screen.status(format!(
                "stack '{}' already has the configuration of revision {}",
                stack.name, revision.0
            ));
            return Ok(());
        }
        let deployed =
            StackFile::parse(file.path(), record.stack_file.clone(), &stack.project.name)?;
        if let Err(reason) = check_decryptable(ctx, &deployed, &file.encryption()).await {
            return Err(ConfigError::Sealed {
                revision: revision.0,
                reason: reason.to_string(),
            });
        }
        let former = if self.force { None } else { file.back_up()? };
        file.replace_with(record.stack_file)?;
        file.save()?;
        if let Some(former) = former {
            ctx.screen.status(format!(
                "backed up existing configuration file to {}",
                former.display()
            ));
        }
        ctx.screen.status(format!(
            "refreshed configuration for stack '{}' from revision {}",
            stack.name, revision.0
        ));
        Ok(())
    }
}

/// That the values of that time can still be read, if they are under another key than today's: a
/// file that nobody can open must not take the place of one that somebody can.
async fn check_decryptable(
    ctx: &Context,
    deployed: &StackFile,
    today: &Encryption,
) -> Result<(), ConfigError> {
    let secrets = deployed.secrets();
    let same_key = deployed.encryption() == *today || *today == Encryption::default();
    if same_key || secrets.is_empty() {
        return Ok(());
    }
    let crypter = ctx.crypter(deployed).await?;
    for secret in secrets {
        crypter.decrypt(&secret.ciphertext)?;
    }
    Ok(())
}
