//! `aip migrate`: brings the database up to this program, or says how far it is.

use aip_storage_sql::Database;
use serde::Serialize;

use crate::cli::Global;
use crate::data_dir::DataDir;
use crate::environment::load;
use crate::failure::Failure;
use crate::opened::connect;
use crate::output::{self, Row};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only show which migrations are applied
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
        let done = act(args, &database, global).await;
        database.close().await;
        done
    })
}

async fn act(args: &Args, database: &Database, global: &Global) -> Result<(), Failure> {
    if args.status || args.dry_run {
        let steps = database.status().await?.steps.into_iter();
        let steps = steps.filter(|step| args.status || !step.applied);
        let rows: Vec<Step> = steps
            .map(|step| Step {
                version: step.version,
                name: step.name,
                applied: step.applied,
            })
            .collect();
        return Ok(global.output.list(&rows)?);
    }
    let applied = database.migrate().await?;
    output::say(&match applied.len() {
        0 => "The database is up to date.".to_owned(),
        number => format!("Applied {number} migration(s)."),
    });
    Ok(())
}
