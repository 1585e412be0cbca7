//! `render`: the objects as YAML, for `GitOps` and Tilt. Standard output holds nothing else.

use clap::{Args, ValueEnum};
use pulumi_files::yaml::Tree;

use crate::cli_context::{CliContext, CliContextError, SecretsMode};

/// Print the objects of the stack as YAML
#[derive(Debug, Args)]
pub struct RenderArgs {
    /// How Secrets are printed
    #[arg(long, value_enum, default_value_t = RenderSecrets::Stub)]
    secrets: RenderSecrets,
}

/// What `render` does with Secrets.
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
    pub async fn run(self, cli: &CliContext) -> Result<(), CliContextError> {
        // Names follow from the values, so without Secrets the values are needed all the same.
        let reveal = if self.secrets == RenderSecrets::Stub {
            SecretsMode::Placeholder
        } else {
            SecretsMode::Decrypted
        };
        let target = cli.target(reveal).await?;
        for notice in &target.notices {
            cli.terminal.status(&format!("note: {notice}"));
        }
        if self.secrets == RenderSecrets::Stub {
            cli.terminal.status(
                "note: Secrets contain placeholders, and their names are derived from them; `--secrets \
                 include` prints the values",
            );
        }
        let kept = target
            .desired
            .iter()
            .filter(|o| self.secrets != RenderSecrets::Skip || o.kind.kind != "Secret");
        let documents: Vec<String> = kept
            .map(|object| Tree::from(object.value()).to_yaml())
            .collect();
        cli.terminal.data(documents.join("---\n").trim_end());
        Ok(())
    }
}
