//! What the API server would change to bring a cluster to a target.

use aip_apply::cluster::{ApiError, GuardedCluster};
use aip_apply::observe::{self, ObservedNamespace};
use aip_apply::plan::{Namespace, Plan, build, not_desired};
use aip_apply::store::Inventory;
use aip_stack::Target;
use aip_stack::desired::ObjectRef;
use futures_util::future::try_join3;

use crate::commands::failure::CommandError;

pub(crate) async fn plan(
    cluster: &GuardedCluster,
    target: &Target,
    inventory: &Inventory,
) -> Result<Plan, CommandError> {
    let namespace = target.namespace.as_str();
    let created = match observe::namespace(cluster, namespace).await? {
        ObservedNamespace::Known(known) => known,
        ObservedNamespace::Deleting(deleting) => {
            return Err(CommandError::NamespaceDeleting {
                namespace: namespace.to_owned(),
                how: deleting.text(),
            });
        }
    };
    let exists = created == Namespace::Exists;
    let intents = inventory.intents.iter().flat_map(|intent| &intent.objects);
    let stale = not_desired(&inventory.owned, intents, &target.desired);
    let (observed, stale, replica_sets) = try_join3(
        observe::desired_objects(cluster, target.desired.clone(), inventory, exists),
        observe::stale_objects(cluster, stale.clone()),
        replica_sets(cluster, namespace, &stale),
    )
    .await?;
    Ok(build(observed, stale, &replica_sets, created))
}

/// Asked only if there is a Secret to prune: `ReplicaSet`s decide nothing else.
async fn replica_sets(
    cluster: &GuardedCluster,
    namespace: &str,
    stale: &[ObjectRef],
) -> Result<Vec<serde_json::Value>, ApiError> {
    if stale.iter().any(|object| object.kind == "Secret") {
        observe::replica_sets(cluster, namespace).await
    } else {
        Ok(Vec::new())
    }
}
