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
            selection.terminal.data(user(selection));
        }
        Ok(())
    }
}

/// Who works here, as history and leases name them.
pub fn user(selection: &Selection) -> &str {
    let environment = &selection.environment;
    let named = ["USER", "LOGNAME", "USERNAME"]
        .into_iter()
        .find_map(|name| environment.non_empty(name));
    named.unwrap_or("unknown")
}

/// The machine, as history and leases name it.
pub fn host(selection: &Selection) -> String {
    let from_kernel = || std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let name = selection
        .environment
        .non_empty("HOSTNAME")
        .map(str::to_owned)
        .or_else(from_kernel);
    name.map_or_else(|| "unknown".to_owned(), |name| name.trim().to_owned())
}
