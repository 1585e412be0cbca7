//! `login`, `logout`, `whoami`: which state backend this machine works with.

use clap::Args;
use pulumi_files::Origin;

use crate::cli_context::{CliContext, CliContextError};

/// Log in to a state backend: `s3://BUCKET/PREFIX` or `file://FOLDER`
#[derive(Debug, Args)]
pub struct LoginArgs {
    /// The backend URL; without it, the current login is shown
    url: Option<String>,
    /// Use the home folder as the state backend: file://~
    #[arg(short, long, conflicts_with = "url")]
    local: bool,
    /// Same as the URL argument
    #[arg(short, long, conflicts_with_all = ["url", "local"])]
    cloud_url: Option<String>,
}

impl LoginArgs {
    /// Tries the store, then remembers it.
    pub async fn run(self, cli: &CliContext) -> Result<(), CliContextError> {
        let local = self.local.then(|| "file://~".to_owned());
        let Some(url) = self.url.or(self.cloud_url).or(local) else {
            return WhoamiArgs { verbose: true }.run(cli);
        };
        let store = cli.open(&url, None)?;
        store.probe().await?;
        let workspace = cli.workspace()?;
        workspace.set_backend_url(Some(&url))?;
        let terminal = &cli.terminal;
        terminal.status(&format!(
            "Logged in to {} as {} ({url})",
            host(cli),
            user(cli)
        ));
        let project = cli.project().ok();
        if let Some((effective, origin)) = workspace.backend_url(project.as_ref())?
            && effective != url
        {
            let by = match origin {
                Origin::Variable => "PULUMI_BACKEND_URL",
                _ => "`backend.url` in the project file",
            };
            terminal.status(&format!(
                "warning: {by} is set to {effective}, which takes precedence over this login"
            ));
        }
        Ok(())
    }
}

/// Log out
#[derive(Debug, Args)]
pub struct LogoutArgs {}

impl LogoutArgs {
    /// Forgets the login; the state stays where it is.
    pub fn run(self, cli: &CliContext) -> Result<(), CliContextError> {
        let workspace = cli.workspace()?;
        match workspace.backend_url(None)? {
            Some((url, Origin::Chosen)) => {
                workspace.set_backend_url(None)?;
                cli.terminal.status(&format!("Logged out of {url}"));
                Ok(())
            }
            _ => Err(CliContextError::NotLoggedIn),
        }
    }
}

/// Show the current user and state backend
#[derive(Debug, Args)]
pub struct WhoamiArgs {
    /// Also show the host and the backend URL
    #[arg(short, long)]
    verbose: bool,
}

impl WhoamiArgs {
    /// Prints the user.
    pub fn run(self, cli: &CliContext) -> Result<(), CliContextError> {
        let project = cli.project().ok();
        let url = cli.backend_url(project.as_ref())?;
        if self.verbose {
            cli.terminal.data(&format!("User: {}", user(cli)));
            cli.terminal.data(&format!("Host: {}", host(cli)));
            cli.terminal.data(&format!("Backend URL: {url}"));
        } else {
            cli.terminal.data(&user(cli));
        }
        Ok(())
    }
}

/// Who works here, as history and leases name them: the shell's word, else the system's.
pub fn user(cli: &CliContext) -> String {
    let environment = &cli.environment;
    let named = ["USER", "LOGNAME", "USERNAME"]
        .into_iter()
        .find_map(|name| environment.non_empty(name));
    named
        .map(str::to_owned)
        .or_else(|| known(whoami::username()))
        .unwrap_or_else(|| "unknown".to_owned())
}

/// The machine, as history and leases name it: the shell's word, else the system's.
pub fn host(cli: &CliContext) -> String {
    let named = cli.environment.non_empty("HOSTNAME");
    named
        .map(|name| name.trim().to_owned())
        .or_else(|| known(whoami::hostname()))
        .unwrap_or_else(|| "unknown".to_owned())
}

/// What the system says, if it says anything. Every system has a call for it; `/proc` is Linux's.
fn known(said: whoami::Result<String>) -> Option<String> {
    said.ok()
        .map(|name| name.trim().to_owned())
        .filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_names_the_user_and_the_machine_without_a_shell() {
        assert!(known(whoami::username()).is_some());
        assert!(known(whoami::hostname()).is_some());
        assert_eq!(known(Ok(" \n".to_owned())), None);
    }
}
