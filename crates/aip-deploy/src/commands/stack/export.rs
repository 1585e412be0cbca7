//! `stack export`: the state of a stack as one JSON document. Secrets in it are as encrypted as in
//! the stack file.

use serde_json::json;

use super::StackError;
use crate::selection::{Selection, SelectionError};
use crate::store::StateStore as _;

pub(super) async fn run(selection: &Selection) -> Result<(), StackError> {
    let project = selection.project()?;
    let stack = selection.stack(&project).await?;
    let state = selection
        .stacks(Some(&project))?
        .state(&project.name, &stack);
    let inventory = state.inventory().await.map_err(SelectionError::from)?;
    let lease = state.lease().await.map_err(SelectionError::from)?;
    let history = state
        .history(usize::MAX)
        .await
        .map_err(SelectionError::from)?;
    let document = json!({
        "version": 1,
        "project": project.name,
        "stack": stack.as_str(),
        "inventory": inventory,
        "lease": lease,
        "history": history,
    });
    selection.terminal.data(&format!("{document:#}"));
    Ok(())
}
