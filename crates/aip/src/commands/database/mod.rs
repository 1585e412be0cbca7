//! `aip database move`: the PostgreSQL database goes to another server while servers use it.

mod plan;

use std::sync::Mutex;
use std::time::Duration;

use aip_base::{DatabaseUrl, SystemRng, lock};
use aip_config::LoadedConfig;
use aip_storage_sql::{
    DatabaseMove, MAX_PAUSE, MoveObserver, MovePoint, MoveState, MoveStatus, SwitchResult,
};
use anyhow::anyhow;
use async_trait::async_trait;
use secrecy::SecretString;
use serde_json::json;

use crate::cli::Global;
use crate::environment::load;
use crate::failure::Failure;
use crate::output::{Format, print_status};
use crate::progress::{Progress, Unit};

const NO_NEXT: &str = "AIP_DATABASE_NEXT_URL is not set: set it (or AIP_DATABASE_NEXT_URL_FILE) to the URL of an \
    empty PostgreSQL database, for this command and for every server";
const NOT_POSTGRES: &str = "moves go from PostgreSQL to PostgreSQL: AIP_DATABASE_URL or AIP_DATABASE_NEXT_URL leads \
    to SQLite";

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand)]
enum Action {
    /// Moves the database to another PostgreSQL server while AIP uses it
    Move {
        /// The longest time that writes are paused, in seconds
        #[arg(long, global = true, value_name = "SECONDS", default_value_t = MAX_PAUSE.as_secs(),
            value_parser = clap::value_parser!(u64).range(3..=MAX_PAUSE.as_secs()))]
        max_pause: u64,
        #[command(subcommand)]
        step: Step,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::Subcommand)]
enum Step {
    /// Shows each step, its check and its way back, and finds out whether both databases are fit; changes
    /// nothing
    Check,
    /// Copies all tables while servers go on to write; run again, it goes on where it was
    Copy,
    /// Pauses writes for at most 10 s, copies the rest, compares, and lets servers go on at the other database
    Switch,
    /// Checks all references at the other database, and removes what the move needed
    Finish,
    /// Copies, switches and finishes, whatever of it is not done yet
    Run,
    /// Gives the move up before it has switched: the database is as before, the other one empty
    Cancel,
    /// Shows how far it is
    Status,
}

pub(crate) fn run(args: &Args, global: &Global) -> Result<(), Failure> {
    let Action::Move { max_pause, step } = args.action;
    let loaded = load(global)?;
    let (from, to) = urls(&loaded)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let the_move = DatabaseMove::connect(&from, &to).await?;
        let the_move = the_move.pausing_at_most(Duration::from_secs(max_pause));
        run_action(step, &the_move, &loaded, global.output).await
    })
}

fn urls(loaded: &LoadedConfig) -> Result<(SecretString, SecretString), Failure> {
    let Some(next) = loaded.config.database.next_url.clone() else {
        return Err(Failure::usage(anyhow!(NO_NEXT)));
    };
    match (loaded.database_url(), next) {
        (DatabaseUrl::Postgres(from), DatabaseUrl::Postgres(to)) => Ok((from, to)),
        _ => Err(Failure::usage(anyhow!(NOT_POSTGRES))),
    }
}

async fn run_action(
    step: Step,
    the_move: &DatabaseMove,
    loaded: &LoadedConfig,
    format: Format,
) -> Result<(), Failure> {
    match step {
        Step::Check => {
            plan::show(format)?;
            the_move.check().await?;
            print_status("Both databases are fit for the move. Nothing was changed.");
        }
        Step::Status => show(format, the_move.status().await?)?,
        Step::Copy => {
            copy(the_move, loaded).await?;
            show(format, the_move.status().await?)?;
        }
        Step::Switch => {
            let moved = the_move
                .switch(&ReportedProgress::without_progress())
                .await?;
            switched(format, moved)?;
        }
        Step::Finish => {
            the_move
                .finish(&ReportedProgress::without_progress())
                .await?;
            show(format, the_move.status().await?)?;
        }
        Step::Run => {
            let state = the_move.status().await?.state;
            if !matches!(state, MoveState::Live | MoveState::Finished) {
                if state != MoveState::Closed {
                    copy(the_move, loaded).await?;
                }
                let moved = the_move
                    .switch(&ReportedProgress::without_progress())
                    .await?;
                switched(Format::Table, moved)?;
            }
            the_move
                .finish(&ReportedProgress::without_progress())
                .await?;
            show(format, the_move.status().await?)?;
        }
        Step::Cancel => {
            the_move.cancel().await?;
            show(format, the_move.status().await?)?;
        }
    }
    Ok(())
}

async fn copy(the_move: &DatabaseMove, loaded: &LoadedConfig) -> Result<(), Failure> {
    let bytes = the_move.status().await?.bytes;
    let told = ReportedProgress::of(Progress::begin("copying", Unit::Bytes, bytes, loaded));
    the_move.copy(&told, &SystemRng).await?;
    Ok(())
}

fn switched(format: Format, moved: SwitchResult) -> anyhow::Result<()> {
    let (millis, rows) = (moved.paused.as_millis(), moved.rows);
    let result = json!({"paused_ms": u64::try_from(millis).unwrap_or(u64::MAX), "rows": rows});
    let words = format!(
        "The database was moved: {rows} row(s). Writes were paused for {millis} ms. Servers with \
         AIP_DATABASE_NEXT_URL use the other database by now; the old one refuses writes."
    );
    format.done(&result, &words)
}

fn show(format: Format, status: MoveStatus) -> anyhow::Result<()> {
    let MoveStatus {
        copied,
        tables,
        behind,
        ..
    } = status;
    let (name, words) = match status.state {
        MoveState::None => ("none", "There is no move.".to_owned()),
        MoveState::Copying => (
            "copying",
            format!("{copied} of {tables} tables are copied: `aip database move copy` goes on."),
        ),
        MoveState::Copied => (
            "copied",
            format!(
                "All {tables} tables are copied; {behind} row(s) written since are to follow: \
                 `aip database move switch`, or `aip database move cancel`."
            ),
        ),
        MoveState::Closed => (
            "closed",
            "Nobody can write: run `aip database move switch` now, which opens the other database.".to_owned(),
        ),
        MoveState::Live => (
            "live",
            "The other database is in use: `aip database move finish`.".to_owned(),
        ),
        MoveState::Finished => (
            "finished",
            "The other database is in use, and the move is finished: make its URL AIP_DATABASE_URL, remove \
             AIP_DATABASE_NEXT_URL, and start every server again."
                .to_owned(),
        ),
    };
    let result =
        json!({"state": name, "tables_copied": copied, "tables": tables, "behind": behind});
    format.done(&result, &words)
}

/// Says how far it is.
struct ReportedProgress(Mutex<Option<Progress>>);

impl ReportedProgress {
    fn of(progress: Progress) -> Self {
        Self(Mutex::new(Some(progress)))
    }

    /// Of what takes no time.
    fn without_progress() -> Self {
        Self(Mutex::new(None))
    }
}

#[async_trait]
impl MoveObserver for ReportedProgress {
    async fn reached(&self, point: MovePoint) {
        match point {
            MovePoint::TableCopied | MovePoint::Followed => {}
            point => print_status(&format!("reached: {point}")),
        }
    }

    fn copied(&self, bytes: u64) {
        if let Some(progress) = &mut *lock(&self.0) {
            progress.update(bytes);
        }
    }
}
