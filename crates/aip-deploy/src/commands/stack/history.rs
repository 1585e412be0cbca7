//! `stack history`.

use clap::Args;

use super::StackError;
use crate::cli_context::{CliContext, CliContextError};
use crate::store::{Outcome, StateStore as _};
use crate::ui::style::{CREATE, DELETE, UPDATE, paint};
use crate::ui::time::{ago, took};

#[derive(Debug, Args)]
pub(super) struct HistoryArgs {
    /// Print JSON
    #[arg(short, long)]
    json: bool,
    /// Entries per page
    #[arg(long, default_value_t = 10)]
    page_size: usize,
    /// Page number, starting at 1
    #[arg(long, default_value_t = 1)]
    page: usize,
    /// Show full timestamps
    #[arg(long)]
    full_dates: bool,
}

impl HistoryArgs {
    pub(super) async fn run(self, cli: &CliContext) -> Result<(), StackError> {
        let project = cli.project()?;
        let stack = cli.stack(&project).await?;
        let state = cli.stacks(Some(&project))?.state(&project.name, &stack);
        let skip = self.page.saturating_sub(1).saturating_mul(self.page_size);
        let entries = state
            .history(skip.saturating_add(self.page_size))
            .await
            .map_err(CliContextError::from)?;
        let entries: Vec<_> = entries.into_iter().skip(skip).collect();
        if self.json {
            let list = entries.iter().map(|(revision, record)| {
                let mut value = serde_json::to_value(record).unwrap_or_default();
                value["version"] = revision.0.into();
                if let Some(map) = value.as_object_mut() {
                    // It may hold values that nobody encrypted; `config refresh` brings it back.
                    map.remove("stack_file");
                }
                value
            });
            cli.terminal
                .data(&format!("{:#}", list.collect::<serde_json::Value>()));
            return Ok(());
        }
        if entries.is_empty() {
            cli.terminal
                .status(&format!("Stack '{stack}' has never been updated"));
        }
        for (revision, record) in entries {
            let counts = record.counts;
            let status = match record.outcome {
                Outcome::Succeeded => paint(CREATE, "succeeded"),
                Outcome::Failed => paint(DELETE, "failed"),
                Outcome::RolledBack => paint(UPDATE, "rolled back"),
            };
            let when = if self.full_dates {
                record.ended.clone()
            } else {
                ago(&record.ended, cli.clock.now())
            };
            let mut lines = vec![
                format!("Version: {}", revision.0),
                format!("UpdateKind: {}", record.command),
                format!("Status: {status}"),
                format!(
                    "{}{}{} {} Updated {when} took {}",
                    paint(CREATE, format!("+{}", counts.create + counts.replace)),
                    paint(DELETE, format!("-{}", counts.delete + counts.replace)),
                    paint(UPDATE, format!("~{}", counts.update)),
                    counts.same,
                    took(&record.started, &record.ended),
                ),
                format!("    by: {}@{}", record.user, record.host),
            ];
            lines.extend(record.image.map(|image| format!("    image: {image}")));
            lines.extend(
                record
                    .git_commit
                    .map(|commit| format!("    git.head: {commit}")),
            );
            lines.push(String::new());
            for line in lines {
                cli.terminal.data(&line);
            }
        }
        Ok(())
    }
}
