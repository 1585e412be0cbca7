//! `render`: the objects as YAML, for `GitOps` and Tilt. Standard output holds nothing else.

use clap::{Args, ValueEnum};
use pulumi_files::yaml::Tree;

use crate::selection::{Reveal, Selection, SelectionError};

/// Print the objects of the stack as YAML
#[derive(Debug, Args)]
pub struct RenderArgs {
    /// What becomes of Secrets
    #[arg(long, value_enum, default_value_t = SecretsMode::Stub)]
    secrets: SecretsMode,
}

/// What `render` does with Secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum SecretsMode {
    /// With placeholders; no passphrase is needed.
    Stub,
    /// With their values.
    Include,
    /// Not at all.
    Skip,
}

impl RenderArgs {
    /// Prints the objects in the order of an apply.
    pub async fn run(self, selection: &Selection) -> Result<(), SelectionError> {
        // Names follow from the values, so without Secrets the values are needed all the same.
        let reveal = if self.secrets == SecretsMode::Stub {
            Reveal::Stubs
        } else {
            Reveal::Values
        };
        let target = selection.target(reveal).await?;
        for notice in &target.notices {
            selection.terminal.talk(&format!("note: {notice}"));
        }
        if self.secrets == SecretsMode::Stub {
            selection.terminal.talk(
                "note: Secrets have placeholders, and names that follow from them; `--secrets include` prints their \
                 values",
            );
        }
        let kept = target
            .desired
            .iter()
            .filter(|o| self.secrets != SecretsMode::Skip || o.kind.kind != "Secret");
        let documents: Vec<String> = kept
            .map(|object| Tree::from(object.value()).to_yaml())
            .collect();
        selection.terminal.data(documents.join("---\n").trim_end());
        Ok(())
    }
}
