//! `stack export`: the state of a stack as one JSON document. Secrets in it are as encrypted as in
//! the stack file.

use serde_json::json;

use super::StackError;
use crate::cli_context::{CliContext, CliContextError};
use crate::store::StateStore as _;

pub(super) async fn run(cli: &CliContext) -> Result<(), StackError> {
    let project = cli.project()?;
    let stack = cli.stack(&project).await?;
    let state = cli.stacks(Some(&project))?.state(&project.name, &stack);
    let inventory = state.inventory().await.map_err(CliContextError::from)?;
    let lease = state.lease().await.map_err(CliContextError::from)?;
    let history = state
        .history(usize::MAX)
        .await
        .map_err(CliContextError::from)?;
    let document = json!({
        "version": 1,
        "project": project.name,
        "stack": stack.as_str(),
        "inventory": inventory,
        "lease": lease,
        "history": history,
    });
    cli.terminal.data(&format!("{document:#}"));
    Ok(())
}
