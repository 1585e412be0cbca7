//! `stack ls`.

use std::collections::BTreeSet;

use clap::Args;
use pulumi_files::{Project, StackName};
use serde_json::json;

use super::StackError;
use crate::context::Context;
use crate::ui::style::{HEADLINE, paint};
use crate::ui::time::ago;

#[derive(Debug, Args)]
#[command(after_help = examples!["stack ls", "stack ls --all --json"])]
pub(super) struct ListArgs {
    /// List the stacks of every project in the store
    #[arg(short, long)]
    all: bool,
    /// Print JSON
    #[arg(short, long)]
    json: bool,
}

struct Row {
    name: String,
    current: bool,
    updated: Option<String>,
    objects: Option<usize>,
}

impl ListArgs {
    pub(super) async fn run(self, ctx: &Context) -> Result<(), StackError> {
        let project = ctx.project()?;
        let stacks = ctx.stacks(Some(&project))?;
        let url = ctx.backend_url(Some(&project))?;
        let current = ctx.workspace()?.stack(None, &project, &url)?;
        let mut named: Vec<(String, StackName)> = Vec::new();
        for name in existing_stacks(ctx, &project).await? {
            named.push((project.name.clone(), name));
        }
        if self.all {
            for other in stacks.projects().await? {
                if other != project.name {
                    let theirs = stacks.names(&other).await?;
                    named.extend(theirs.into_iter().map(|name| (other.clone(), name)));
                }
            }
            named.sort();
        }
        let mut rows = Vec::new();
        for (of, name) in named {
            let state = stacks.state(&of, &name);
            let history = state.history(1).await?;
            let inventory = state.inventory().await?;
            let updated = history.into_iter().next().map(|(_, record)| record.ended);
            let is_current = current
                .as_ref()
                .is_some_and(|(current, _)| *current == name && of == project.name);
            let objects = inventory.pin.is_some().then_some(inventory.owned.len());
            rows.push(Row {
                // As a reference that every command takes.
                name: if self.all {
                    format!("organization/{of}/{name}")
                } else {
                    name.to_string()
                },
                current: is_current,
                updated,
                objects,
            });
        }
        if self.json {
            let list = rows.iter().map(|row| {
                json!({
                    "name": row.name,
                    "current": row.current,
                    "lastUpdate": row.updated,
                    "resourceCount": row.objects,
                })
            });
            ctx.screen.json(&list.collect());
            return Ok(());
        }
        let now = ctx.clock.now();
        let table = rows.into_iter().map(|row| {
            let name = if row.current {
                paint(HEADLINE, format!("{}*", row.name))
            } else {
                row.name
            };
            let not_yet = || "n/a".to_owned();
            let updated = row.updated.map_or_else(not_yet, |at| ago(&at, now));
            let objects = row.objects.map_or_else(not_yet, |count| count.to_string());
            [name, updated, objects]
        });
        ctx.screen
            .table(["NAME", "LAST UPDATE", "RESOURCE COUNT"], table);
        Ok(())
    }
}

/// The stacks that have a file or state.
pub(super) async fn existing_stacks(
    ctx: &Context,
    project: &Project,
) -> Result<BTreeSet<StackName>, StackError> {
    let stacks = ctx.stacks(Some(project))?;
    let mut names = stacks.names(&project.name).await?;
    names.extend(project.stacks_with_files());
    Ok(names)
}
