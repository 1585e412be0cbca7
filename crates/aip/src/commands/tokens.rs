//! `aip tokens`: developer tokens, which people make for scripts (`/account`). AIP cannot sign in for a person,
//! so an operator who wants one for them gets a link: when the person has opened it and signed in at their
//! host, the token is good. It is made here, and never leaves this command but by its output.

use std::sync::Arc;
use std::time::Duration;

use aip_atproto::{AtIdentifier, Did, ScopeSet, for_upstream};
use aip_base::{Clock as _, RowId, SystemClock, Timestamp, without_credentials};
use aip_config::LoadedConfig;
use aip_oauth::AuthorizationServer;
use aip_oauth::developer_tokens::OrderedToken;
use aip_pds::{Freshness, Resolver, Trace};
use aip_storage::StorageError;
use aip_storage::delegation::DelegationPreset;
use aip_storage::developer_token::{
    DEVELOPER_TOKEN_ORDER_LIFE, DeveloperToken, DeveloperTokenName, MAX_DEVELOPER_TOKENS,
    developer_scope, developer_scope_of, developer_token_life,
};
use aip_storage::grant::{AccessToken, RevokeReason};
use anyhow::{Context as _, anyhow};
use clap::{Subcommand, ValueEnum};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::Global;
use crate::environment::load;
use crate::failure::Failure;
use crate::output::{self, Format, Row, human_duration};
use crate::runtime::{Network, Runtime, on_database, read_keys};
use crate::settings;

/// Where links lead to.
const ORDER_PAGE: &str = "/account/token";

/// Between two looks whether the token is made.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Prints a link by which a person lets this command make a token, waits for them and prints it once
    Create(Create),
    /// Lists the tokens that can be used, oldest first
    List(List),
    /// Revokes a token; the session at the host of its owner is ended, too
    Revoke(Revoke),
}

#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  aip tokens create --account alice.example --name backup --preset posts\n  aip tokens create --account alice.example --name 'CI of the blog' --scope repo:com.example.post --days 90 --output json"
)]
struct Create {
    /// Whose token it is: a handle or a DID. Only this account can make it
    #[arg(long, value_name = "HANDLE_OR_DID", value_parser = account)]
    account: AtIdentifier,
    /// What its owner sees it by
    #[arg(long)]
    name: DeveloperTokenName,
    /// What it may do, as on the account page
    #[arg(
        long,
        value_name = "NAME",
        required_unless_present = "scope",
        conflicts_with = "scope"
    )]
    preset: Option<Preset>,
    /// What it may do, as scopes; those of an app that is registered here, or of a preset
    #[arg(long, value_parser = ScopeSet::parse)]
    scope: Option<ScopeSet>,
    /// For how many days, 1 to 365
    #[arg(long, value_name = "NUMBER", default_value = "30", value_parser = life)]
    days: Duration,
}

#[derive(clap::Args)]
struct List {
    /// Only tokens of this account: a handle or a DID
    #[arg(long, value_name = "HANDLE_OR_DID", value_parser = account)]
    account: Option<AtIdentifier>,
    /// Only tokens after this one, the last of a list before
    #[arg(long, value_name = "TOKEN", value_parser = token_id)]
    after: Option<RowId>,
    /// How many at most
    #[arg(long, default_value_t = 100)]
    limit: u32,
}

#[derive(clap::Args)]
struct Revoke {
    /// The id of the token
    #[arg(value_parser = token_id)]
    id: RowId,
}

#[derive(Clone, Copy, ValueEnum)]
#[value(rename_all = "snake_case")]
enum Preset {
    Posts,
    PostsWithImages,
    PostsAndReactions,
    Everything,
}

impl From<Preset> for DelegationPreset {
    fn from(preset: Preset) -> Self {
        match preset {
            Preset::Posts => Self::Posts,
            Preset::PostsWithImages => Self::PostsWithImages,
            Preset::PostsAndReactions => Self::PostsAndReactions,
            Preset::Everything => Self::Everything,
        }
    }
}

fn account(text: &str) -> Result<AtIdentifier, String> {
    AtIdentifier::from_user_input(text).map_err(|error| error.to_string())
}

fn token_id(text: &str) -> Result<RowId, &'static str> {
    let refused = "not the id of a token; `aip tokens list` shows them, and no token";
    text.parse().map_err(|_| refused)
}

fn life(text: &str) -> Result<Duration, &'static str> {
    let life = text.parse().ok().and_then(developer_token_life);
    life.ok_or("a number of days from 1 to 365")
}

/// A token as it is printed in a list.
#[derive(Serialize)]
struct TokenRow {
    id: String,
    account: String,
    name: String,
    scope: String,
    created_at: String,
    expires_at: String,
    /// The beginning of the hour of its last use.
    last_used_at: Option<String>,
}

impl TokenRow {
    fn of(token: &DeveloperToken) -> Self {
        Self {
            id: token.id.to_string(),
            account: token.account.to_string(),
            name: token.name.to_string(),
            scope: token.scope.to_string(),
            created_at: output::instant(token.created_at),
            expires_at: output::instant(token.expires_at),
            last_used_at: token.last_used_at.map(output::instant),
        }
    }
}

impl Row for TokenRow {
    const COLUMNS: &'static [&'static str] =
        &["id", "account", "name", "created", "expires", "last used"];
    const NONE: &'static str = "There is no token.";

    fn cells(&self) -> Vec<String> {
        vec![
            self.id.clone(),
            self.account.clone(),
            self.name.clone(),
            self.created_at.clone(),
            self.expires_at.clone(),
            self.last_used_at.clone().unwrap_or_else(|| "-".to_owned()),
        ]
    }
}

/// A token that was made, with the token itself.
#[derive(Serialize)]
struct CreatedToken {
    id: String,
    token: String,
    account: String,
    name: String,
    scope: String,
    expires_at: String,
}

pub(crate) fn run(args: Args, global: &Global) -> Result<(), Failure> {
    let loaded = load(global)?;
    on_database(&loaded, async |runtime| match args.action {
        Action::Create(wanted) => create(wanted, runtime, &loaded, global.output).await,
        Action::List(wanted) => list(wanted, runtime, &loaded, global.output).await,
        Action::Revoke(Revoke { id }) => revoke(id, runtime, &loaded, global.output).await,
    })
}

async fn create(
    wanted: Create,
    runtime: &Runtime,
    loaded: &LoadedConfig,
    format: Format,
) -> Result<(), Failure> {
    let scope = match (&wanted.scope, wanted.preset) {
        (Some(scope), _) => developer_scope(scope).map_err(Failure::usage)?,
        (None, Some(preset)) => developer_scope_of(preset.into()),
        (None, None) => return Err(Failure::usage(anyhow!("--preset or --scope is missing"))),
    };
    let server = runtime
        .authorization_server(loaded, &read_keys(loaded)?)
        .await?;
    check_scope(&scope, &server, loaded).await?;
    let did = find(&wanted.account, loaded).await?;
    check_room(&did, &server).await?;
    // Before there is anything to withdraw.
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    let ordered = server
        .order_developer_token(&did, wanted.name.clone(), scope, wanted.days)
        .await?;
    let link = ordered.link.expose_secret();
    let page = server.issuer.url(ORDER_PAGE);
    let left = human_duration(DEVELOPER_TOKEN_ORDER_LIFE);
    output::print_status(&format!(
        "Let {} open this link within {left}. It is good once, and for {did} alone:\n{page}?order={link}",
        wanted.account
    ));
    let outcome = tokio::select! {
        made = wait(&ordered, &server) => made,
        _ = interrupt.recv() => Err(anyhow!("interrupted").into()),
        _ = terminate.recv() => Err(anyhow!("terminated").into()),
        _ = hang_up.recv() => Err(anyhow!("the terminal was closed").into()),
    };
    let made = match outcome {
        Ok(made) => made,
        Err(failure) => match withdraw(&ordered, &server).await {
            Ok(made) => made.ok_or(failure)?,
            Err(error) => return Err(anyhow!("{failure}; {error}").into()),
        },
    };
    let printed = print_token(&ordered.token, &made, &wanted.name, format);
    match printed {
        Ok(()) => Ok(()),
        Err(error) => Err(revoke_unseen(&made, &error, &server).await),
    }
}

/// Revokes a token that was made and could not be printed: nobody has it, and its owner would see it among
/// theirs. Why the command failed.
async fn revoke_unseen(
    made: &AccessToken,
    error: &anyhow::Error,
    server: &AuthorizationServer,
) -> Failure {
    let (id, reason) = (made.grant.id, RevokeReason::ByOperator);
    let revoked = server.revoke_developer_token(id, None, reason).await;
    let unseen = format!("the token was made, and could not be printed: {error}");
    match revoked {
        Ok(_) => anyhow!("{unseen}. It was revoked; run the command again for another link"),
        Err(why) => {
            anyhow!("{unseen}. It could not be revoked either: {why}. Revoke it: `aip tokens revoke {id}`")
        }
    }
    .into()
}

/// Withdraws the link: otherwise the person could make a token that nobody has. The token, if they have made it
/// at this very moment.
async fn withdraw(
    ordered: &OrderedToken,
    server: &AuthorizationServer,
) -> Result<Option<AccessToken>, Failure> {
    let storage = &server.storage;
    let dropped = storage.drop_developer_token_order(ordered.id).await;
    dropped.context(
        "the link could not be withdrawn, and is good until it expires. Revoke the token if \
         `aip tokens list` shows it later",
    )?;
    let now = server.clock.now();
    Ok(storage.access_token(&ordered.token_hash, now).await?)
}

/// Waits until the person has made the token, also while the database is away: they are at their host
/// meanwhile, and would make a token that nobody has.
async fn wait(
    ordered: &OrderedToken,
    server: &AuthorizationServer,
) -> Result<AccessToken, Failure> {
    let shows_time = output::stderr_is_a_terminal();
    if !shows_time {
        output::print_status("Waiting for them.");
    }
    let mut told_of_outage = false;
    loop {
        let now = server.clock.now();
        let (waits, made) = match look(ordered, server, now).await {
            Err(error @ StorageError::Unavailable(_)) if now < ordered.expires_at => {
                if !told_of_outage {
                    told_of_outage = true;
                    let words = format!("{error}. Still waiting for them.");
                    let line_end = if shows_time { "\n" } else { "" };
                    output::print_status(&format!("{line_end}{}", without_credentials(&words)));
                }
                (true, None)
            }
            looked => looked?,
        };
        if shows_time {
            let left = human_duration(ordered.expires_at.since(now));
            output::rewrite_status(&format!("Waiting for them, {left} left."));
        }
        if made.is_some() || !waits {
            if shows_time {
                output::print_status("");
            }
            return made.ok_or_else(|| not_made(ordered, now));
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// Whether the link can be used still, and the token, if it is made.
async fn look(
    ordered: &OrderedToken,
    server: &AuthorizationServer,
    now: Timestamp,
) -> Result<(bool, Option<AccessToken>), StorageError> {
    let storage = &server.storage;
    // In this order: the order is spent in the transaction that makes the token.
    let order = storage.developer_token_order(&ordered.link_hash, now);
    let waits = order.await?.is_some();
    let made = storage.access_token(&ordered.token_hash, now).await?;
    Ok((waits, made))
}

fn not_made(ordered: &OrderedToken, now: Timestamp) -> Failure {
    let why = if now < ordered.expires_at {
        "no token was made: the person said no"
    } else {
        "no token was made: nobody signed in by the link in time. Run the command again for another link"
    };
    anyhow!(why).into()
}

fn print_token(
    token: &SecretString,
    made: &AccessToken,
    name: &DeveloperTokenName,
    format: Format,
) -> anyhow::Result<()> {
    let shown = CreatedToken {
        id: made.grant.id.to_string(),
        token: token.expose_secret().to_owned(),
        account: made.grant.subject.to_string(),
        name: name.to_string(),
        scope: made.scope.to_string(),
        expires_at: output::instant(made.expires_at),
    };
    let members = [
        ("id", shown.id.clone()),
        ("token", shown.token.clone()),
        ("account", shown.account.clone()),
        ("name", shown.name.clone()),
        ("scope", shown.scope.clone()),
        ("expires_at", shown.expires_at.clone()),
    ];
    output::print_secret(format, &shown, &members)?;
    output::print_status("The token is shown this once; AIP keeps only a hash of it.");
    Ok(())
}

/// Refuses a scope that PDSs would refuse: all that AIP asks for stands in its client document there, word
/// for word. One on a loopback address has none, and may ask for anything.
async fn check_scope(
    scope: &ScopeSet,
    server: &AuthorizationServer,
    loaded: &LoadedConfig,
) -> Result<(), Failure> {
    if server.issuer.is_loopback() {
        return Ok(());
    }
    let always = settings::app(loaded)?.client_document.always();
    let known = server.upstream_scopes(&always).await?;
    let wanted = for_upstream(scope);
    match wanted.iter().find(|it| !known.contains(it)) {
        None => Ok(()),
        Some(missing) => Err(Failure::usage(anyhow!(
            "no PDS would grant `{missing}`: it is not in AIP's client document, which has the scopes of \
             the presets, of client_document.scope and of the apps that `aip clients list` shows"
        ))),
    }
}

/// Refuses an account that has as many tokens as one may: nothing would come of its sign-in.
async fn check_room(account: &Did, server: &AuthorizationServer) -> Result<(), Failure> {
    let (limit, now) = (MAX_DEVELOPER_TOKENS, server.clock.now());
    let live = server
        .storage
        .developer_tokens(Some(account), None, limit, now)
        .await?;
    if live.len() < limit as usize {
        return Ok(());
    }
    Err(anyhow!(
        "{account} has {limit} tokens, as many as an account may. Revoke one first: \
         `aip tokens list --account {account}` shows them"
    )
    .into())
}

/// The account of that name, asked for anew.
async fn find(name: &AtIdentifier, loaded: &LoadedConfig) -> Result<Did, Failure> {
    let network = Network::new(loaded)?;
    let resolver = Resolver::new(
        network.http as Arc<_>,
        network.dns as Arc<_>,
        Arc::new(SystemClock),
        settings::resolver(&loaded.config.upstream),
    );
    let mut trace = Trace::default();
    let found = resolver
        .resolve(name, Freshness::Uncached, &mut trace)
        .await?;
    // A handle that its document does not claim is not the account's.
    match (name, &found.handle) {
        (AtIdentifier::Handle(asked), handle) if handle.as_ref() != Some(asked) => Err(anyhow!(
            "{asked} leads to {}, which does not confirm it. If that is the account: --account {}",
            found.did,
            found.did
        )
        .into()),
        _ => Ok(found.did),
    }
}

/// Of a handle, the account is looked up; a DID is taken as it is.
async fn list(
    wanted: List,
    runtime: &Runtime,
    loaded: &LoadedConfig,
    format: Format,
) -> Result<(), Failure> {
    let account = match wanted.account {
        None => None,
        Some(AtIdentifier::Did(did)) => Some(did),
        Some(handle) => Some(find(&handle, loaded).await?),
    };
    let now = SystemClock.now();
    let tokens = runtime
        .storage
        .developer_tokens(account.as_ref(), wanted.after, wanted.limit, now)
        .await?;
    let full = tokens.len() == usize::try_from(wanted.limit).unwrap_or(usize::MAX);
    let rows: Vec<TokenRow> = tokens.iter().map(TokenRow::of).collect();
    format.list(&rows)?;
    if let Some(last) = rows.last().filter(|_| full) {
        output::print_status(&format!("There may be more: --after {}", last.id));
    }
    Ok(())
}

async fn revoke(
    id: RowId,
    runtime: &Runtime,
    loaded: &LoadedConfig,
    format: Format,
) -> Result<(), Failure> {
    let server = runtime
        .authorization_server(loaded, &read_keys(loaded)?)
        .await?;
    let reason = RevokeReason::ByOperator;
    if !server.revoke_developer_token(id, None, reason).await? {
        let words = format!(
            "there is no live token with the id {id}; `aip tokens list` shows those that there are"
        );
        return Err(anyhow!(words).into());
    }
    let words = format!(
        "Revoked {id}. Servers refuse it within a second, and end its session at the PDS in the next minutes."
    );
    Ok(format.done(&json!({"id": id.to_string(), "revoked": true}), &words)?)
}
