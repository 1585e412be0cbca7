//! `aip migrate`: brings the database up to this program, or says how far it is.

use aip_storage_sql::{Database, SchemaError, Status};
use serde::Serialize;

use crate::cli::Global;
use crate::data_dir::DataDir;
use crate::environment::load;
use crate::failure::Failure;
use crate::output::{self, Format, Row};
use crate::runtime::connect;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only show which migrations are applied; fails if the database is behind this program
    #[arg(long, conflicts_with = "dry_run")]
    status: bool,
    /// Only show which migrations would be applied
    #[arg(long)]
    dry_run: bool,
}

#[derive(Serialize)]
struct Step {
    version: i64,
    name: String,
    applied: bool,
}

impl Row for Step {
    const COLUMNS: &'static [&'static str] = &["version", "name", "applied"];
    const NONE: &'static str = "The database is up to date.";

    fn cells(&self) -> Vec<String> {
        let applied = if self.applied { "yes" } else { "no" };
        vec![
            self.version.to_string(),
            self.name.clone(),
            applied.to_owned(),
        ]
    }
}

pub(crate) fn run(args: &Args, global: &Global) -> Result<(), Failure> {
    let loaded = load(global)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        DataDir::open(&loaded.config.server.data_dir)?;
        let database = connect(&loaded).await?;
        let done = run_action(args, &database, global).await;
        database.close().await;
        done
    })
}

async fn run_action(args: &Args, database: &Database, global: &Global) -> Result<(), Failure> {
    if args.status || args.dry_run {
        let status = database.status().await?;
        let pending = status.pending();
        let wanted = |step: &Step| args.status || !step.applied;
        let rows: Vec<Step> = steps(status).filter(wanted).collect();
        global.output.list(&rows)?;
        if args.status && !pending.is_empty() {
            return Err(SchemaError::Behind { pending }.into());
        }
        return Ok(());
    }
    let applied = database.migrate().await?;
    if global.output == Format::Json {
        let rows = steps(database.status().await?).filter(|step| applied.contains(&step.version));
        return Ok(output::json(&rows.collect::<Vec<_>>())?);
    }
    output::print_status(&match applied.len() {
        0 => Step::NONE.to_owned(),
        number => format!("Applied {number} migration(s)."),
    });
    Ok(())
}

fn steps(status: Status) -> impl Iterator<Item = Step> {
    status.steps.into_iter().map(|step| Step {
        version: step.version,
        name: step.name,
        applied: step.applied,
    })
}
