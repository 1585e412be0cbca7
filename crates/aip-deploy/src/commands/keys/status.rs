//! `keys status`: every key, as it may be shown.

use aip_apply::time::rfc3339;
use aip_stack::signing_keys::{KeyView, Purpose};
use clap::Args;

use super::KeysError;
use crate::context::Context;

#[derive(Debug, Args)]
#[command(after_help = examples!["keys status", "keys status --json"])]
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
            ctx.screen
                .json(&serde_json::to_value(&keys).unwrap_or_default());
        } else {
            let rows = keys.iter().map(row);
            ctx.screen
                .table(["KID", "ALG", "STATE", "SINCE", "SIGNS"], rows);
        }
        Ok(())
    }
}

fn row(key: &KeyView) -> [String; 5] {
    let mut signs = match key.purpose {
        Purpose::Upstream => "for PDSs".to_owned(),
        Purpose::Oidc => "for apps".to_owned(),
        Purpose::ServiceAuth => "as a service".to_owned(),
    };
    if key.service_auth {
        signs.push_str(", service authentication");
    }
    let alg = key.alg.unwrap_or("unknown").to_owned();
    let since = match key.state {
        "active" => key.times.activated,
        "retired" => key.times.retired,
        _ => key.times.superseded.or(key.times.published),
    };
    let since = since.map_or_else(|| "unknown".to_owned(), rfc3339);
    [key.kid.clone(), alg, key.state.to_owned(), since, signs]
}
