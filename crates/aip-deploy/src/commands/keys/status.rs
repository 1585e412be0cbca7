//! `keys status`: every key, as it may be shown.

use clap::Args;

use super::KeysError;
use crate::cli_context::CliContext;
use crate::signing_keys::{KeyView, Purpose};
use crate::ui::table::columns;

#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    /// Print JSON
    #[arg(short, long)]
    json: bool,
}

impl StatusArgs {
    pub(super) async fn run(self, cli: &CliContext) -> Result<(), KeysError> {
        let project = cli.project()?;
        let stack = cli.stack(&project).await?;
        let file = cli.stack_file(&project, &stack)?;
        let keys = super::read(cli, &project, &file).await?.list();
        if self.json {
            // A list of strings and truth values is always serialisable.
            let list = serde_json::to_value(&keys).unwrap_or_default();
            cli.terminal.data(&format!("{list:#}"));
            return Ok(());
        }
        let header = ["KID", "ALG", "STATE", "SIGNS"].map(str::to_owned);
        let mut rows = vec![header.to_vec()];
        rows.extend(keys.iter().map(row));
        for line in columns(&rows, &[]) {
            cli.terminal.data(&line);
        }
        Ok(())
    }
}

fn row(key: &KeyView) -> Vec<String> {
    let mut signs = match key.purpose {
        Purpose::Upstream => "for PDSs".to_owned(),
        Purpose::Oidc => "for apps".to_owned(),
    };
    if key.service_auth {
        signs.push_str(", service authentication");
    }
    let alg = key.alg.unwrap_or("unknown").to_owned();
    vec![key.kid.clone(), alg, key.state.to_owned(), signs]
}
