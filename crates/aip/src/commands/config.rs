//! `aip config`: what the settings are, where each comes from, and whether they can be used.

use clap::Subcommand;
use serde::Serialize;

use crate::cli::Global;
use crate::environment::load;
use crate::failure::Failure;
use crate::output::{self, Row};

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Shows every setting, its value and where that comes from; secrets stay hidden
    Show,
    /// Reports everything that is wrong with the configuration
    Check,
    /// Prints the JSON Schema of the configuration file
    Schema,
}

#[derive(Serialize)]
struct Line {
    setting: String,
    value: String,
    source: String,
}

impl Row for Line {
    const COLUMNS: &'static [&'static str] = &["setting", "value", "source"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.setting.clone(),
            self.value.clone(),
            self.source.clone(),
        ]
    }
}

pub(crate) fn run(args: &Args, global: &Global) -> Result<(), Failure> {
    match args.action {
        Action::Show => show(global),
        Action::Check => check(global),
        Action::Schema => Ok(output::json(&aip_config::schema())?),
    }
}

fn show(global: &Global) -> Result<(), Failure> {
    let shown = load(global)?.shown().into_iter().map(|shown| Line {
        setting: shown.setting,
        value: shown.value,
        source: shown.place.to_string(),
    });
    let lines: Vec<Line> = shown.collect();
    Ok(global.output.list(&lines)?)
}

fn check(global: &Global) -> Result<(), Failure> {
    let loaded = load(global)?;
    output::say(&format!(
        "The configuration can be used. External base: {}",
        loaded.external_base
    ));
    Ok(())
}
