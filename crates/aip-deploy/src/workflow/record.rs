//! What the history keeps of an operation.

use aip_apply::store::{Counts, Outcome, RevisionRecord};
use aip_apply::time::rfc3339;
use aip_base::Timestamp;
use aip_stack::Target;

use super::Operation;
use crate::context::OpenStack;

/// What came of an operation.
pub(super) struct Summary {
    /// When it began, after the question.
    pub(super) started: Timestamp,
    pub(super) counts: Counts,
    pub(super) outcome: Outcome,
}

pub(super) async fn record(
    stack: &OpenStack<'_>,
    target: &Target,
    operation: Operation<'_>,
    summary: Summary,
) -> RevisionRecord {
    let holder = stack.holder(operation.labels().command, None);
    let deploys = !matches!(operation, Operation::Destroy);
    RevisionRecord {
        command: holder.command,
        user: holder.user,
        host: holder.host,
        started: rfc3339(summary.started),
        ended: rfc3339(stack.ctx.clock.now()),
        git_commit: if deploys {
            git_commit(stack).await
        } else {
            None
        },
        image: deploys.then(|| target.image.clone()),
        counts: summary.counts,
        outcome: summary.outcome,
        stack_file: target.stack_file.clone(),
    }
}

/// The commit of the working tree that the stack file is in; it may not be in one.
async fn git_commit(stack: &OpenStack<'_>) -> Option<String> {
    let folder = stack.stack.project.file.parent()?;
    let output = tokio::process::Command::new("git")
        .args(["rev-parse", "HEAD"])
        .current_dir(folder)
        .output()
        .await
        .ok()?;
    let commit = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| commit.trim().to_owned())
}
