//! `aip sessions`: the sessions at PDSs, how they are, and what can be done about them. A token is
//! never shown.

use std::sync::Arc;

use aip_atproto::Did;
use aip_base::{Clock as _, RowId, SystemClock, Timestamp};
use aip_config::LoadedConfig;
use aip_sessions::{Keeper, KeeperError};
use aip_storage::StorageError;
use aip_storage::client::ClientId;
use aip_storage::upstream::{Credential, SessionFilter, StateName, UpstreamSession, UpstreamState};
use anyhow::anyhow;
use clap::{Subcommand, ValueEnum};
use serde::Serialize;
use serde_json::json;

use crate::cli::Global;
use crate::environment::load;
use crate::failure::Failure;
use crate::output::{self, Format, Row, human_duration};
use crate::runtime::{Runtime, UpstreamMaterials, on_database};

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Lists sessions, oldest first
    List(List),
    /// Shows one session
    Show(SessionArg),
    /// Refreshes a session now
    Refresh(SessionArg),
    /// Ends a session and what apps hold of it; its PDS is told, too
    Revoke(SessionArg),
}

#[derive(clap::Args)]
struct SessionArg {
    /// The id of the session
    #[arg(value_parser = session_id)]
    id: RowId,
}

#[derive(clap::Args)]
struct List {
    /// Only sessions in this state
    #[arg(long)]
    state: Option<State>,
    /// Only sessions of this account
    #[arg(long)]
    did: Option<Did>,
    /// Only sessions for this app
    #[arg(long, value_name = "ID")]
    client: Option<ClientId>,
    /// Only sessions after this one, the last of a list before
    #[arg(long, value_name = "SESSION", value_parser = session_id)]
    after: Option<RowId>,
    /// How many at most
    #[arg(long, default_value_t = 100)]
    limit: u32,
}

fn session_id(text: &str) -> Result<RowId, &'static str> {
    let refused = "not the id of a session; `aip sessions list` shows them";
    text.parse().map_err(|_| refused)
}

#[derive(Clone, Copy, ValueEnum)]
#[value(rename_all = "snake_case")]
enum State {
    Active,
    Uncertain,
    NeedsReauth,
    Ended,
}

impl From<State> for StateName {
    fn from(state: State) -> Self {
        match state {
            State::Active => Self::Active,
            State::Uncertain => Self::Uncertain,
            State::NeedsReauth => Self::NeedsReauth,
            State::Ended => Self::Ended,
        }
    }
}

/// A session as it is printed.
#[derive(Serialize)]
struct PrintedSession {
    id: String,
    state: &'static str,
    /// Why it is in that state, where there is a reason.
    reason: Option<&'static str>,
    kind: &'static str,
    client_id: String,
    did: String,
    pds: String,
    issuer: Option<String>,
    /// As which client AIP is known there.
    upstream_client_id: Option<String>,
    scope: String,
    created_at: String,
    refreshed_at: String,
    /// Not for a session that has ended.
    next_refresh_at: Option<String>,
    access_expires_at: String,
    refreshing_until: Option<String>,
    generation: i64,
    failures: u32,
    last_error: Option<String>,
    #[serde(skip)]
    times: Times,
}

/// The times of a line, as seen from now.
struct Times {
    age: String,
    refreshed: String,
    next: String,
}

impl Row for PrintedSession {
    const COLUMNS: &'static [&'static str] = &[
        "session",
        "state",
        "client",
        "account",
        "pds",
        "age",
        "last refresh",
        "next refresh",
        "last error",
    ];
    const NONE: &'static str = "There is no such session.";

    fn cells(&self) -> Vec<String> {
        let state = match self.reason {
            Some(reason) => format!("{} ({reason})", self.state),
            None => self.state.to_owned(),
        };
        vec![
            self.id.clone(),
            state,
            self.client_id.clone(),
            self.did.clone(),
            self.pds.clone(),
            self.times.age.clone(),
            self.times.refreshed.clone(),
            self.times.next.clone(),
            self.last_error.clone().unwrap_or_else(|| "-".to_owned()),
        ]
    }
}

pub(crate) fn run(args: Args, global: &Global) -> Result<(), Failure> {
    let loaded = load(global)?;
    on_database(&loaded, async |runtime| match args.action {
        Action::List(wanted) => list(wanted, runtime, global.output).await,
        Action::Show(SessionArg { id }) => show(id, runtime, global.output).await,
        Action::Refresh(SessionArg { id }) => refresh(id, runtime, &loaded, global.output).await,
        Action::Revoke(SessionArg { id }) => revoke(id, runtime, &loaded, global.output).await,
    })
}

/// A session that cannot be read is told, and the others are listed all the same.
async fn list(wanted: List, runtime: &Runtime, format: Format) -> Result<(), Failure> {
    let filter = SessionFilter {
        state: wanted.state.map(Into::into),
        did: wanted.did,
        client_id: wanted.client,
    };
    let found = runtime
        .storage
        .list_upstream_sessions(&filter, wanted.after, wanted.limit)
        .await?;
    let full = found.len() == usize::try_from(wanted.limit).unwrap_or(usize::MAX);
    let now = SystemClock.now();
    let (mut rows, mut damaged) = (Vec::new(), 0);
    for session in found {
        match session {
            Ok(session) => rows.push(printed_session(&session, now)),
            Err(error @ StorageError::Inconsistent { .. }) => {
                damaged += 1;
                output::print_status(&error.to_string());
            }
            Err(error) => return Err(error.into()),
        }
    }
    format.list(&rows)?;
    if let Some(last) = rows.last().filter(|_| full) {
        output::print_status(&format!("There may be more: --after {}", last.id));
    }
    if damaged == 0 {
        Ok(())
    } else {
        Err(anyhow!("{damaged} session(s) cannot be read; they are not used").into())
    }
}

async fn show(id: RowId, runtime: &Runtime, format: Format) -> Result<(), Failure> {
    let shown = printed_session(&find(id, runtime).await?, SystemClock.now());
    match format {
        Format::Json => output::json(&shown)?,
        Format::Table | Format::Wide => output::members(&members(&shown))?,
    }
    Ok(())
}

fn members(shown: &PrintedSession) -> Vec<(&'static str, String)> {
    let text = |text: Option<&str>| text.unwrap_or("-").to_owned();
    vec![
        ("id", shown.id.clone()),
        ("state", shown.state.to_owned()),
        ("reason", text(shown.reason)),
        ("kind", shown.kind.to_owned()),
        ("client_id", shown.client_id.clone()),
        ("did", shown.did.clone()),
        ("pds", shown.pds.clone()),
        ("issuer", text(shown.issuer.as_deref())),
        (
            "upstream_client_id",
            text(shown.upstream_client_id.as_deref()),
        ),
        ("scope", shown.scope.clone()),
        ("created_at", shown.created_at.clone()),
        ("refreshed_at", shown.refreshed_at.clone()),
        ("next_refresh_at", text(shown.next_refresh_at.as_deref())),
        ("access_expires_at", shown.access_expires_at.clone()),
        ("refreshing_until", text(shown.refreshing_until.as_deref())),
        ("generation", shown.generation.to_string()),
        ("failures", shown.failures.to_string()),
        ("last_error", text(shown.last_error.as_deref())),
    ]
}

async fn find(id: RowId, runtime: &Runtime) -> Result<UpstreamSession, Failure> {
    let found = runtime.storage.upstream_session(id).await?;
    found.ok_or_else(|| anyhow!("there is no session {id}").into())
}

async fn refresh(
    id: RowId,
    runtime: &Runtime,
    loaded: &LoadedConfig,
    format: Format,
) -> Result<(), Failure> {
    let keeper = keeper(runtime, loaded).await?;
    match keeper.refresh_now(id).await {
        Ok(_) => show(id, runtime, format).await,
        Err(error @ KeeperError::Later(_)) => {
            let last = find(id, runtime).await?.last_error.unwrap_or_default();
            Err(anyhow!(error).context(last).into())
        }
        Err(error) => Err(error.into()),
    }
}

async fn revoke(
    id: RowId,
    runtime: &Runtime,
    loaded: &LoadedConfig,
    format: Format,
) -> Result<(), Failure> {
    let keeper = keeper(runtime, loaded).await?;
    let ended = keeper.revoke(id).await?;
    let words = if ended {
        format!(
            "Ended {id}, and all that apps hold of it. Its PDS is told by the server in the next \
             minutes."
        )
    } else {
        format!("{id} had ended before.")
    };
    Ok(format.done(&json!({"id": id.to_string(), "ended_now": ended}), &words)?)
}

async fn keeper(runtime: &Runtime, loaded: &LoadedConfig) -> anyhow::Result<Arc<Keeper>> {
    runtime
        .keeper(loaded, UpstreamMaterials::read(loaded)?)
        .await
}

fn printed_session(session: &UpstreamSession, now: Timestamp) -> PrintedSession {
    let (reason, until) = match &session.state {
        UpstreamState::Active | UpstreamState::Uncertain => (None, None),
        UpstreamState::Refreshing(lease) => (None, Some(lease.until)),
        UpstreamState::NeedsReauth(reason) => (Some(reason.as_str()), None),
        UpstreamState::Ended(reason) => (Some(reason.as_str()), None),
    };
    let state = session.state.name();
    let live = state.serves_calls();
    let next = live.then_some(session.next_refresh_at);
    let ago = |at| format!("{} ago", human_duration(now.since(at)));
    PrintedSession {
        id: session.id.to_string(),
        state: match until {
            Some(_) => "refreshing",
            None => state.as_str(),
        },
        reason,
        kind: session.credential.kind().as_str(),
        client_id: session.client_id.to_string(),
        did: session.did.to_string(),
        pds: session.pds.to_string(),
        issuer: session.issuer().map(ToString::to_string),
        upstream_client_id: match &session.credential {
            Credential::OAuth(oauth) => Some(oauth.upstream_client_id.clone()),
            Credential::AppPassword(_) => None,
        },
        scope: session.scope.to_string(),
        created_at: output::instant(session.created_at),
        refreshed_at: output::instant(session.refreshed_at),
        next_refresh_at: next.map(output::instant),
        access_expires_at: output::instant(session.tokens.access_expires_at),
        refreshing_until: until.map(output::instant),
        generation: session.generation,
        failures: session.failures,
        last_error: session.last_error.clone(),
        times: Times {
            age: human_duration(now.since(session.created_at)),
            refreshed: ago(session.refreshed_at),
            next: match next {
                None => "-".to_owned(),
                Some(at) if at <= now => "due".to_owned(),
                Some(at) => format!("in {}", human_duration(at.since(now))),
            },
        },
    }
}
