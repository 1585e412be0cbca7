//! `aip config`: what the settings are, where each comes from, and whether they can be used.

use aip_config::Problem;
use clap::Subcommand;
use serde::Serialize;
use serde_json::{Value, json};

use crate::cli::Global;
use crate::environment::load;
use crate::failure::Failure;
use crate::output::{self, Format, Row};

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
    const NONE: &'static str = "There is no setting.";

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
    let shown = load(global)?.display_rows().into_iter().map(|shown| Line {
        setting: shown.setting,
        value: shown.value,
        source: shown.source.to_string(),
    });
    let lines: Vec<Line> = shown.collect();
    Ok(global.output.list(&lines)?)
}

fn check(global: &Global) -> Result<(), Failure> {
    let json = global.output == Format::Json;
    let loaded = match load(global) {
        Ok(loaded) => loaded,
        Err(failure) => {
            if let Some(error) = failure.configuration().filter(|_| json) {
                let problems = error.problems.iter().map(problem_json).collect::<Vec<_>>();
                output::json(&json!({"usable": false, "problems": problems}))?;
            }
            return Err(failure);
        }
    };
    if json {
        let warnings: Vec<Value> = loaded.warnings.iter().map(problem_json).collect();
        let base = loaded.external_base.as_str();
        let found = json!({"usable": true, "external_base": base, "warnings": warnings});
        return Ok(output::json(&found)?);
    }
    for warning in &loaded.warnings {
        output::print_status(&format!("warning: {warning}"));
    }
    output::print_status(&format!(
        "The configuration can be used. External base: {}",
        loaded.external_base
    ));
    Ok(())
}

fn problem_json(problem: &Problem) -> Value {
    json!({
        "setting": problem.setting,
        "source": problem.source.to_string(),
        "message": problem.message,
    })
}
