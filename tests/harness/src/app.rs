//! A confidential app, registered with AIP's command line.

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use tokio::process::Command;

use crate::process;

/// What the app asks for: who it is, and to write in the person's name.
pub const SCOPE: &str = "openid atproto transition:generic";
/// Where the app wants people back. Nobody goes there: the code is read from the URL.
pub const REDIRECT_URI: &str = "https://app.example/callback";

/// A confidential app.
#[derive(Debug, Clone)]
pub struct App {
    /// Its name towards AIP.
    pub client_id: String,
    /// Its `Authorization` field, a line of a request.
    pub authorization: String,
}

/// What `aip clients create` prints.
#[derive(Deserialize)]
struct Credentials {
    client_id: String,
    client_secret: String,
}

impl App {
    /// Registers one; `aip` is the program with its folder and settings, without arguments.
    pub async fn register(mut aip: Command, name: &str) -> Result<Self> {
        aip.args(["clients", "create", "--output", "json", "--name", name]);
        aip.args(["--redirect-uri", REDIRECT_URI, "--scope", SCOPE]);
        aip.args(["--auth-method", "client_secret_basic"]);
        for grant in ["authorization_code", "refresh_token", "client_credentials"] {
            aip.args(["--grant-type", grant]);
        }
        let json = process::output(&mut aip).await?;
        let credentials: Credentials =
            serde_json::from_str(&json).context("`aip clients create` printed something else")?;
        let basic = format!("{}:{}", credentials.client_id, credentials.client_secret);
        Ok(Self {
            authorization: format!("authorization: Basic {}\r\n", STANDARD.encode(basic)),
            client_id: credentials.client_id,
        })
    }

    /// Changes the registration of the app, with flags of `aip clients update`.
    pub async fn change(&self, mut aip: Command, flags: &[&str]) -> Result<()> {
        aip.args(["clients", "update", &self.client_id]).args(flags);
        process::output(&mut aip).await.map(drop)
    }
}
