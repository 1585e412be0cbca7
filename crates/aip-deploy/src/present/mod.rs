//! The look of plans, results and rollouts, which is Pulumi's: rows, colours, words and counts.

pub(crate) mod details;
pub(crate) mod json;
pub(crate) mod print;
pub(crate) mod progress;
pub(crate) mod rollout;
pub(crate) mod summary;
pub(crate) mod tree;

#[cfg(test)]
mod tests;

use aip_apply::store::Counts;
use aip_stack::desired::ObjectRef;

/// Rows above the objects, which Pulumi counts among the resources: the stack, the connection to
/// the cluster, and the component that holds the objects.
const PULUMI_ROWS: usize = 3;

/// The resource counts as Pulumi prints them: its own rows are created and deleted with the stack,
/// and unchanged otherwise.
pub(crate) fn resource_counts(counts: Counts) -> Counts {
    let mut counts = counts;
    let others = counts.same + counts.update + counts.replace + counts.prune;
    match (counts.create, counts.delete, others) {
        (1.., 0, 0) => counts.create += PULUMI_ROWS,
        (0, 1.., 0) => counts.delete += PULUMI_ROWS,
        _ => counts.same += PULUMI_ROWS,
    }
    counts
}

/// The type of an object as Pulumi writes it: `kubernetes:apps/v1:Deployment`,
/// `kubernetes:core/v1:Secret`.
pub(crate) fn type_token(object: &ObjectRef) -> String {
    let core = if object.group().is_empty() {
        "core/"
    } else {
        ""
    };
    format!("kubernetes:{core}{}:{}", object.api_version, object.kind)
}
