//! `config refresh`: the stack file of the last successful deployment, from the history.

use clap::Args;
use pulumi_files::{Encryption, StackFile};

use super::ConfigError;
use crate::cli_context::{CliContext, CliContextError};
use crate::store::last_good;

#[derive(Debug, Args)]
pub(super) struct RefreshArgs {
    /// Do not keep a backup of the stack file in FILE.bak
    #[arg(short, long)]
    force: bool,
}

impl RefreshArgs {
    pub(super) async fn run(self, cli: &CliContext) -> Result<(), ConfigError> {
        let project = cli.project()?;
        let stack = cli.stack(&project).await?;
        let state = cli.stacks(Some(&project))?.state(&project.name, &stack);
        let last = last_good(&state).await.map_err(CliContextError::from)?;
        let never = || ConfigError::NeverDeployed(stack.to_string());
        let (revision, record) = last.ok_or_else(never)?;
        let mut file = cli.stack_file(&project, &stack)?;
        if file.text() == record.stack_file {
            cli.terminal.status(&format!(
                "stack '{stack}' already has the configuration of revision {}",
                revision.0
            ));
            return Ok(());
        }
        let deployed = StackFile::parse(file.path(), record.stack_file.clone(), &project.name)?;
        if let Err(reason) = check_decryptable(cli, &deployed, &file.encryption()).await {
            return Err(ConfigError::Sealed {
                revision: revision.0,
                reason: reason.to_string(),
            });
        }
        let former = if self.force { None } else { file.back_up()? };
        file.replace_with(record.stack_file)?;
        file.save()?;
        if let Some(former) = former {
            cli.terminal.status(&format!(
                "backed up existing configuration file to {}",
                former.display()
            ));
        }
        cli.terminal.status(&format!(
            "refreshed configuration for stack '{stack}' from revision {}",
            revision.0
        ));
        Ok(())
    }
}

/// That the values of that time can still be read, if they are under another key than today's: a
/// file that nobody can open must not take the place of one that somebody can.
async fn check_decryptable(
    cli: &CliContext,
    deployed: &StackFile,
    today: &Encryption,
) -> Result<(), ConfigError> {
    let secrets = deployed.secrets();
    let same_key = deployed.encryption() == *today || *today == Encryption::default();
    if same_key || secrets.is_empty() {
        return Ok(());
    }
    let crypter = cli.crypter(deployed).await?;
    for secret in secrets {
        crypter.decrypt(&secret.ciphertext)?;
    }
    Ok(())
}
