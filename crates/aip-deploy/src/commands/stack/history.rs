//! `stack history`.

use aip_apply::store::Outcome;
use clap::Args;
use serde_json::json;

use super::StackError;
use crate::context::Context;
use crate::present::resource_counts;
use crate::ui::style::{CREATE, DELETE, UPDATE, paint};
use crate::ui::time::{ago, duration_text};

#[derive(Debug, Args)]
#[command(after_help = examples![
    "stack history",
    "stack history --page-size 50 --full-dates",
    "stack history --json",
])]
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
    pub(super) async fn run(self, ctx: &Context) -> Result<(), StackError> {
        let stack = ctx.stack().await?;
        let state = stack.state(ctx)?;
        let skip = self.page.saturating_sub(1).saturating_mul(self.page_size);
        let entries = state.history(skip.saturating_add(self.page_size)).await?;
        let entries: Vec<_> = entries.into_iter().skip(skip).collect();
        if self.json {
            let list = entries.iter().map(|(revision, record)| {
                let mut value = serde_json::to_value(record).unwrap_or_default();
                value["version"] = revision.0.into();
                value["counts"] = json!(resource_counts(record.counts));
                if let Some(map) = value.as_object_mut() {
                    // It may hold values that nobody encrypted; `config refresh` brings it back.
                    map.remove("stack_file");
                }
                value
            });
            ctx.screen.json(&list.collect());
            return Ok(());
        }
        if entries.is_empty() {
            ctx.screen
                .status(format!("Stack '{}' has never been updated", stack.name));
        }
        for (revision, record) in entries {
            let counts = resource_counts(record.counts);
            let status = match record.outcome {
                Outcome::Succeeded => paint(CREATE, "succeeded"),
                Outcome::Failed => paint(DELETE, "failed"),
                Outcome::RolledBack => paint(UPDATE, "rolled back"),
            };
            let when = if self.full_dates {
                record.ended.clone()
            } else {
                ago(&record.ended, ctx.clock.now())
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
                    duration_text(&record.started, &record.ended),
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
                ctx.screen.line(&line);
            }
        }
        Ok(())
    }
}
