//! `login`, `logout`, `whoami`: which state backend this machine works with.

use clap::Args;
use pulumi_files::Origin;

use crate::context::{Context, ContextError};
use crate::operator::{host, user};

/// Log in to a state backend: `s3://BUCKET/PREFIX` or `file://FOLDER`
#[derive(Debug, Args)]
#[command(after_help = examples!["login s3://my-bucket/aip", "login file://~", "login --local"])]
pub(crate) struct LoginArgs {
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
    pub(crate) async fn run(self, ctx: &Context) -> Result<(), ContextError> {
        let local = self.local.then(|| "file://~".to_owned());
        let Some(url) = self.url.or(self.cloud_url).or(local) else {
            return WhoamiArgs { verbose: true }.run(ctx);
        };
        let store = ctx.open_backend(&url, None)?;
        store.probe().await?;
        let workspace = ctx.workspace()?;
        workspace.set_backend_url(Some(&url))?;
        let screen = &ctx.screen;
        screen.status(format!(
            "Logged in to {} as {} ({url})",
            host(&ctx.environment),
            user(&ctx.environment)
        ));
        let project = ctx.project().ok();
        if let Some((effective, origin)) = workspace.backend_url(project.as_ref())?
            && effective != url
        {
            let by = match origin {
                Origin::Variable => "PULUMI_BACKEND_URL",
                _ => "`backend.url` in the project file",
            };
            screen.status(format!(
                "warning: {by} is set to {effective}, which takes precedence over this login"
            ));
        }
        Ok(())
    }
}

/// Log out
#[derive(Debug, Args)]
#[command(after_help = examples!["logout"])]
pub(crate) struct LogoutArgs {}

impl LogoutArgs {
    /// Forgets the login; the state stays where it is.
    #[allow(clippy::unused_self, reason = "the form of every command")]
    pub(crate) fn run(self, ctx: &Context) -> Result<(), ContextError> {
        let workspace = ctx.workspace()?;
        match workspace.backend_url(None)? {
            Some((url, Origin::Chosen)) => {
                workspace.set_backend_url(None)?;
                ctx.screen.status(format!("Logged out of {url}"));
                Ok(())
            }
            _ => Err(ContextError::NotLoggedIn),
        }
    }
}

/// Show the current user and state backend
#[derive(Debug, Args)]
#[command(after_help = examples!["whoami", "whoami --verbose"])]
pub(crate) struct WhoamiArgs {
    /// Also show the host and the backend URL
    #[arg(short, long)]
    verbose: bool,
}

impl WhoamiArgs {
    pub(crate) fn run(self, ctx: &Context) -> Result<(), ContextError> {
        let project = ctx.project().ok();
        let url = ctx.backend_url(project.as_ref())?;
        if self.verbose {
            ctx.screen.line(format!("User: {}", user(&ctx.environment)));
            ctx.screen.line(format!("Host: {}", host(&ctx.environment)));
            ctx.screen.line(format!("Backend URL: {url}"));
        } else {
            ctx.screen.line(user(&ctx.environment));
        }
        Ok(())
    }
}
