//! Takes the fields over from Pulumi for good: after everything was applied under our name, its
//! entries are removed from `metadata.managedFields`.

use serde_json::{Value, json};

use crate::plan::{Deleting, Plan};

use super::{ApplyContext, ApplyError};

/// What the field managers of Pulumi's Kubernetes provider begin with: `pulumi-kubernetes` made
/// the object, `pulumi-kubernetes-<8 hex>` updated it.
const MANAGER_PREFIX: &str = "pulumi-kubernetes";

/// Controllers write status all the time; each try reads again.
const MAX_PATCH_ATTEMPTS: usize = 5;

/// Removes Pulumi's entries from every object of the plan.
pub(super) async fn release_pulumi_ownership(
    ctx: &ApplyContext<'_>,
    plan: &Plan,
) -> Result<(), ApplyError> {
    for step in plan.steps.iter().filter(|step| step.desired.is_some()) {
        for attempt in 1.. {
            let Some(live) = ctx.cluster.read(&step.object).await? else {
                break;
            };
            if Deleting::of(&live).is_some() {
                break;
            }
            let Some(others) = without_pulumi(&live) else {
                break;
            };
            ctx.lease.check()?;
            let version: &Value = &live["metadata"]["resourceVersion"];
            let operations = json!([
                {"op": "test", "path": "/metadata/resourceVersion", "value": version},
                {"op": "replace", "path": "/metadata/managedFields", "value": others},
            ]);
            match ctx.cluster.json_patch(&step.object, operations).await {
                Ok(_) => break,
                // The object changed between read and patch.
                Err(error) if attempt < MAX_PATCH_ATTEMPTS && error.status().is_some() => {}
                Err(error) => return Err(ApplyError::at(&step.object)(error)),
            }
        }
    }
    Ok(())
}

/// Whether a field manager is one of Pulumi's.
pub fn is_pulumi(manager: &str) -> bool {
    manager.starts_with(MANAGER_PREFIX)
}

/// The managed fields of an object without Pulumi's, if there are any of Pulumi's. A field that
/// only Pulumi still claims would never go away again.
fn without_pulumi(live: &Value) -> Option<Vec<Value>> {
    let entries = live["metadata"]["managedFields"].as_array()?;
    let others: Vec<Value> = entries
        .iter()
        .filter(|entry| !entry["manager"].as_str().is_some_and(is_pulumi))
        .cloned()
        .collect();
    (others.len() < entries.len()).then_some(others)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_pulumis_managers_are_taken_out_and_nobody_elses() {
        let live = json!({"metadata": {"managedFields": [
            {"manager": "pulumi-kubernetes"}, {"manager": "pulumi-kubernetes-1410ffbe"},
            {"manager": "kube-controller-manager"}, {"manager": "aip-deploy"}]}});
        let left = without_pulumi(&live).unwrap();
        assert_eq!(
            left,
            [
                json!({"manager": "kube-controller-manager"}),
                json!({"manager": "aip-deploy"})
            ]
        );
        assert_eq!(
            without_pulumi(&json!({"metadata": {"managedFields": left}})),
            None
        );
    }
}
