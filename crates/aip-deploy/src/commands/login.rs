//! `login`, `logout`, `whoami`: which state store this machine works with.

use clap::Args;
use pulumi_files::Origin;

use crate::selection::{Selection, SelectionError};

/// Choose the store of state: `s3://BUCKET/PREFIX` or `file://FOLDER`
#[derive(Debug, Args)]
pub struct LoginArgs {
    /// The store; without one, what is logged in to is shown
    url: Option<String>,
    /// Keep state in the home folder: file://~
    #[arg(short, long, conflicts_with = "url")]
    local: bool,
    /// The same as the argument
    #[arg(short, long, conflicts_with_all = ["url", "local"])]
    cloud_url: Option<String>,
}

impl LoginArgs {
    /// Tries the store, then remembers it.
    pub async fn run(self, selection: &Selection) -> Result<(), SelectionError> {
        let local = self.local.then(|| "file://~".to_owned());
        let Some(url) = self.url.or(self.cloud_url).or(local) else {
            return WhoamiArgs { verbose: true }.run(selection);
        };
        let store = selection.open(&url, None)?;
        store.probe().await?;
        let workspace = selection.workspace()?;
        workspace.set_backend_url(Some(&url))?;
        let terminal = &selection.terminal;
        terminal.talk(&format!(
            "Logged in to {} as {} ({url})",
            host(selection),
            user(selection)
        ));
        let project = selection.project().ok();
        if let Some((effective, origin)) = workspace.backend_url(project.as_ref())?
            && effective != url
        {
            let by = match origin {
                Origin::Variable => "PULUMI_BACKEND_URL",
                _ => "`backend.url` in the project file",
            };
            terminal.talk(&format!(
                "warning: {by} says {effective}, which counts more than this login"
            ));
        }
        Ok(())
    }
}

/// Forget the store of state
#[derive(Debug, Args)]
pub struct LogoutArgs {}

impl LogoutArgs {
    /// Forgets the login; the state stays where it is.
    pub fn run(self, selection: &Selection) -> Result<(), SelectionError> {
        let workspace = selection.workspace()?;
        match workspace.backend_url(None)? {
            Some((url, Origin::Chosen)) => {
                workspace.set_backend_url(None)?;
                selection.terminal.talk(&format!("Logged out of {url}"));
                Ok(())
            }
            _ => Err(SelectionError::NotLoggedIn),
        }
    }
}

/// Show who works with which store
#[derive(Debug, Args)]
pub struct WhoamiArgs {
    /// Also show the machine and the store
    #[arg(short, long)]
    verbose: bool,
}

impl WhoamiArgs {
    /// Prints the user.
    pub fn run(self, selection: &Selection) -> Result<(), SelectionError> {
        let project = selection.project().ok();
        let url = selection.backend_url(project.as_ref())?;
        if self.verbose {
            selection
                .terminal
                .data(&format!("User: {}", user(selection)));
            selection
                .terminal
                .data(&format!("Host: {}", host(selection)));
            selection.terminal.data(&format!("Backend URL: {url}"));
        } else {
            selection.terminal.data(&user(selection));
        }
        Ok(())
    }
}

/// Who works here, as history and leases name them: the shell's word, else the system's.
pub fn user(selection: &Selection) -> String {
    let environment = &selection.environment;
    let named = ["USER", "LOGNAME", "USERNAME"]
        .into_iter()
        .find_map(|name| environment.non_empty(name));
    named
        .map(str::to_owned)
        .or_else(|| known(whoami::username()))
        .unwrap_or_else(|| "unknown".to_owned())
}

/// The machine, as history and leases name it: the shell's word, else the system's.
pub fn host(selection: &Selection) -> String {
    let named = selection.environment.non_empty("HOSTNAME");
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
