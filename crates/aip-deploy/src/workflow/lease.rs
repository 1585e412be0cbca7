//! The lease around the work of one command.

use std::sync::Arc;

use aip_apply::apply::FailPoint;
use aip_apply::apply::lease::{LEASE_DURATION, LeaseRenewer};

use super::Operation;
use crate::commands::failure::CommandError;
use crate::context::OpenStack;
use crate::signals::interrupted;

/// Takes the lease, works until the end or an interrupt, and gives the lease back.
pub(crate) async fn with_lease<E: From<CommandError>>(
    stack: &OpenStack<'_>,
    operation: Operation<'_>,
    work: impl AsyncFnOnce(&LeaseRenewer) -> Result<(), E>,
) -> Result<(), E> {
    let holder = stack.holder(operation.labels().command, Some(LEASE_DURATION));
    let lease = LeaseRenewer::acquire(Arc::clone(&stack.store), &holder).await;
    let lease = lease.map_err(CommandError::from)?;
    let work = async {
        stack
            .ctx
            .fail_points
            .reached(FailPoint::LeaseAcquired)
            .await;
        work(&lease).await
    };
    let result = tokio::select! {
        result = work => result,
        () = interrupted() => Err(CommandError::Cancelled.into()),
    };
    stack.ctx.screen.clear_region();
    let released = lease.release().await;
    result?;
    Ok(released.map_err(CommandError::from)?)
}
