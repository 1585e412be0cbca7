//! Takes the fields over from Pulumi for good: after everything was applied under our name, its
//! entries are removed from `metadata.managedFields`.

use serde_json::{Value, json};

use crate::adoption::without_pulumi;
use crate::plan::{Deleting, Plan};

use super::{ApplyContext, ApplyError};

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
                Err(source) => {
                    return Err(ApplyError::Object {
                        object: step.object.clone(),
                        source,
                    });
                }
            }
        }
    }
    Ok(())
}
