//! `keys status`: every key, as it may be shown.

use aip_stack::signing_keys::{KeyView, Purpose};
use clap::Args;

use super::KeysError;
use crate::context::Context;
use crate::ui::table::columns;

#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    /// Print JSON
    #[arg(short, long)]
    json: bool,
}

impl StatusArgs {
    pub(super) async fn run(self, ctx: &Context) -> Result<(), KeysError> {
        let stack = ctx.stack().await?;
        let file = stack.load()?;
        let keys = super::read(ctx, stack, &file).await?.list();
        if self.json {
            // A list of strings and truth values is always serialisable.
            let list = serde_json::to_value(&keys).unwrap_or_default();
            ctx.screen.line(format!("{list:#}"));
            return Ok(());
        }
        let header = ["KID", "ALG", "STATE", "SIGNS"].map(str::to_owned);
        let mut rows = vec![header.to_vec()];
        rows.extend(keys.iter().map(row));
        for line in columns(&rows, &[]) {
            ctx.screen.line(&line);
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
