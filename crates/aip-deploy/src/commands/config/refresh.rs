//! `config refresh`: the stack file of the last successful deployment, from the history.

use clap::Args;
use pulumi_files::{Encryption, StackFile};

use super::ConfigError;
use crate::selection::{Selection, SelectionError};
use crate::store::last_good;

#[derive(Debug, Args)]
pub(super) struct RefreshArgs {
    /// Do not keep the present file as FILE.bak
    #[arg(short, long)]
    force: bool,
}

impl RefreshArgs {
    pub(super) async fn run(self, selection: &Selection) -> Result<(), ConfigError> {
        let project = selection.project()?;
        let stack = selection.stack(&project).await?;
        let state = selection
            .stacks(Some(&project))?
            .state(&project.name, &stack);
        let last = last_good(&state).await.map_err(SelectionError::from)?;
        let never = || ConfigError::NeverDeployed(stack.to_string());
        let (revision, record) = last.ok_or_else(never)?;
        let mut file = selection.stack_file(&project, &stack)?;
        if file.text() == record.stack_file {
            selection.terminal.talk(&format!(
                "the configuration of stack '{stack}' is that of revision {} already",
                revision.0
            ));
            return Ok(());
        }
        let deployed = StackFile::parse(file.path(), record.stack_file.clone(), &project.name)?;
        if let Err(reason) = opens(selection, &deployed, &file.encryption()).await {
            return Err(ConfigError::Sealed {
                revision: revision.0,
                reason: reason.to_string(),
            });
        }
        let former = if self.force { None } else { file.back_up()? };
        file.replace_with(record.stack_file)?;
        file.save()?;
        if let Some(former) = former {
            selection.terminal.talk(&format!(
                "backed up existing configuration file to {}",
                former.display()
            ));
        }
        selection.terminal.talk(&format!(
            "refreshed configuration for stack '{stack}' from revision {}",
            revision.0
        ));
        Ok(())
    }
}

/// That the values of that time can still be read, if they are under another key than today's: a
/// file that nobody can open must not take the place of one that somebody can.
async fn opens(
    selection: &Selection,
    deployed: &StackFile,
    today: &Encryption,
) -> Result<(), ConfigError> {
    let secrets = deployed.secrets();
    let same_key = deployed.encryption() == *today || *today == Encryption::default();
    if same_key || secrets.is_empty() {
        return Ok(());
    }
    let crypter = selection.crypter(deployed).await?;
    for secret in secrets {
        crypter.decrypt(&secret.ciphertext)?;
    }
    Ok(())
}
