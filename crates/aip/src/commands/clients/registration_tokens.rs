//! `aip clients registration-token`: tokens with which apps register themselves (RFC 7591 §1.2).

use std::time::Duration;

use aip_base::RowId;
use aip_config::{ClientRegistration, LoadedConfig};
use aip_oauth::AuthorizationServer;
use aip_storage::client_registration::InitialAccessToken;
use anyhow::anyhow;
use clap::Subcommand;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use serde_json::json;

use crate::failure::Failure;
use crate::output::{self, Format, Row};

#[derive(clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Makes a token. It is shown once
    Create(Create),
    /// Lists the tokens that have not expired
    List,
    /// Takes a token back; apps that were registered with it stay
    Delete(TokenArg),
}

#[derive(clap::Args)]
struct Create {
    /// How many apps it registers
    #[arg(long, value_name = "NUMBER", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    uses: u32,
    /// After how many days it expires
    #[arg(long, value_name = "DAYS", default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=365))]
    expires: u32,
}

#[derive(clap::Args)]
struct TokenArg {
    /// The id of the token
    #[arg(value_parser = token_id)]
    id: RowId,
}

fn token_id(text: &str) -> Result<RowId, &'static str> {
    let refused =
        "not the id of a token; `aip clients registration-token list` shows them, and no token";
    text.parse().map_err(|_| refused)
}

/// A token as it is printed.
#[derive(Serialize)]
struct PrintedToken {
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    initial_access_token: Option<String>,
    uses_left: u32,
    created_at: String,
    expires_at: String,
}

impl PrintedToken {
    fn of(token: &InitialAccessToken, secret: Option<&SecretString>) -> Self {
        Self {
            id: token.id.to_string(),
            initial_access_token: secret.map(|it| it.expose_secret().to_owned()),
            uses_left: token.uses_left,
            created_at: output::instant(token.created_at),
            expires_at: output::instant(token.expires_at),
        }
    }
}

impl Row for PrintedToken {
    const COLUMNS: &'static [&'static str] = &["id", "uses left", "created", "expires"];
    const NONE: &'static str =
        "There is no token; `aip clients registration-token create` makes one.";

    fn cells(&self) -> Vec<String> {
        vec![
            self.id.clone(),
            self.uses_left.to_string(),
            self.created_at.clone(),
            self.expires_at.clone(),
        ]
    }
}

pub(super) async fn run_action(
    args: Args,
    server: &AuthorizationServer,
    loaded: &LoadedConfig,
    format: Format,
) -> Result<(), Failure> {
    match args.action {
        Action::Create(Create { uses, expires }) => {
            let lives = Duration::from_hours(24) * expires;
            let (token, secret) = server.create_initial_token(uses, lives).await?;
            let Err(error) = print_once(&PrintedToken::of(&token, Some(&secret)), format) else {
                next_steps(loaded);
                return Ok(());
            };
            // Nobody has it.
            let deleted = server.storage.delete_initial_token(token.id).await;
            let rest = deleted.map_or_else(
                |why| format!("It is good until it expires, as it could not be deleted: {why}"),
                |_| "It was deleted; run the command again".to_owned(),
            );
            Err(anyhow!("the token was made, and could not be printed: {error}. {rest}").into())
        }
        Action::List => {
            let now = server.clock.now();
            let tokens = server.storage.initial_tokens().await?;
            let live = tokens.iter().filter(|it| it.expires_at > now);
            let rows: Vec<PrintedToken> = live.map(|it| PrintedToken::of(it, None)).collect();
            Ok(format.list(&rows)?)
        }
        Action::Delete(TokenArg { id }) => {
            if !server.storage.delete_initial_token(id).await? {
                let words = format!(
                    "there is no token with the id {id}; `aip clients registration-token list` \
                     shows them"
                );
                return Err(anyhow!(words).into());
            }
            let result = json!({"id": id.to_string(), "deleted": true});
            Ok(format.done(&result, &format!("Deleted {id}."))?)
        }
    }
}

fn print_once(shown: &PrintedToken, format: Format) -> anyhow::Result<()> {
    let members = [
        ("id", shown.id.clone()),
        (
            "initial_access_token",
            shown.initial_access_token.clone().unwrap_or_default(),
        ),
        ("uses_left", shown.uses_left.to_string()),
        ("expires_at", shown.expires_at.clone()),
    ];
    output::print_secret(format, shown, &members)
}

fn next_steps(loaded: &LoadedConfig) {
    output::print_status("The token is shown this once; AIP keeps only a hash of it.");
    if loaded.config.clients.registration == ClientRegistration::Off {
        output::print_status(
            "No app can use it yet: clients.registration is `off`. Start the server with \
             AIP_CLIENT_REGISTRATION=token.",
        );
    }
}
