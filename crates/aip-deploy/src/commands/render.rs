//! `render`: the objects as YAML, for `GitOps` and Tilt. Standard output holds nothing else.

use clap::{Args, ValueEnum};
use yaml_lossless::Tree;

use crate::context::{Context, ContextError, SecretsMode};

/// Print the objects of the stack as YAML
#[derive(Debug, Args)]
#[command(after_help = examples![
    "render > aip.yaml",
    "render --secrets include | kubectl diff -f -",
    "render --secrets skip",
])]
pub(crate) struct RenderArgs {
    /// How Secrets are printed
    #[arg(long, value_enum, default_value_t = RenderSecrets::Stub)]
    secrets: RenderSecrets,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum RenderSecrets {
    /// With placeholders; needs no passphrase
    Stub,
    /// With their values
    Include,
    /// Left out
    Skip,
}

impl RenderArgs {
    /// Prints the objects in the order of an apply.
    pub(crate) async fn run(self, ctx: &Context) -> Result<(), ContextError> {
        // Names follow from the values, so without Secrets the values are needed all the same.
        let reveal = if self.secrets == RenderSecrets::Stub {
            SecretsMode::Placeholder
        } else {
            SecretsMode::Decrypted
        };
        let target = ctx.stack().await?.target(ctx, reveal).await?;
        for notice in &target.notices {
            ctx.screen.status(format!("note: {notice}"));
        }
        if self.secrets == RenderSecrets::Stub {
            ctx.screen.status(
                "note: Secrets contain placeholders, and their names are derived from them; `--secrets \
                 include` prints the values",
            );
        }
        let kept = target
            .desired
            .iter()
            .filter(|o| self.secrets != RenderSecrets::Skip || o.object().kind != "Secret");
        let documents: Vec<String> = kept
            .map(|object| Tree::from(object.manifest().clone()).to_yaml())
            .collect();
        ctx.screen.line(documents.join("---\n").trim_end());
        Ok(())
    }
}
