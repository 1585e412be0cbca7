//! `stack export`: the state of a stack as one JSON document. Secrets in it are as encrypted as in
//! the stack file.

use serde_json::json;

use super::StackError;
use crate::context::Context;

pub(super) async fn run(ctx: &Context) -> Result<(), StackError> {
    let stack = ctx.stack().await?;
    let state = stack.state(ctx)?;
    let inventory = state.inventory().await?;
    let lease = state.lease().await?;
    let history = state.history(usize::MAX).await?;
    let document = json!({
        "version": 1,
        "project": stack.project.name,
        "stack": stack.name.as_str(),
        "inventory": inventory,
        "lease": lease,
        "history": history,
    });
    ctx.screen.json(&document);
    Ok(())
}
