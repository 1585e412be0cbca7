//! What an object builds on has to be there before anything is changed: a Gateway that does not exist
//! would be found out by a rollout that waits for it in vain.

use aip_stack::desired::{Desired, Requirement};
use serde_json::Value;

use crate::cluster::{ApiError, GuardedCluster};
use crate::plan::{Observed, Proposed};

/// Refuses an object whose requirements are not met, and warns of those that may not be read. What the
/// API server refuses itself stays refused for that reason.
pub(super) async fn check(
    cluster: &GuardedCluster,
    desired: &Desired,
    observed: &mut Observed,
) -> Result<(), ApiError> {
    for requirement in desired.requires() {
        if matches!(observed.proposed, Proposed::Refused(_)) {
            return Ok(());
        }
        match cluster.read(&requirement.object).await {
            Ok(live) => {
                if let Some(why) = unmet(requirement, live.as_ref()) {
                    observed.proposed = Proposed::Refused(why);
                }
            }
            Err(error) if error.lacks_right() => observed.warnings.push(format!(
                "no permission to read {}: whether it exists is not known",
                requirement.object
            )),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// What is missing, and the command that names another object.
fn unmet(requirement: &Requirement, live: Option<&Value>) -> Option<String> {
    let object = &requirement.object;
    let Some(live) = live else {
        return Some(format!(
            "refers to {object}, which does not exist: create it, or name another one: aip-deploy config set \
             --path {}",
            requirement.field
        ));
    };
    let entry = requirement.entry.as_ref()?;
    let list = live.pointer(entry.list).and_then(Value::as_array);
    let names: Vec<&str> = list
        .into_iter()
        .flatten()
        .filter_map(|element| element["name"].as_str())
        .collect();
    if names.contains(&entry.name.as_str()) {
        return None;
    }
    let known = match names[..] {
        [] => "it has none".to_owned(),
        _ => format!("it has {}", names.join(", ")),
    };
    Some(format!(
        "refers to the {} `{}` of {object}, which does not exist ({known}): aip-deploy config set --path {}",
        entry.element_kind, entry.name, entry.field
    ))
}

#[cfg(test)]
mod tests {
    use aip_stack::desired::{ListEntry, ObjectRef};
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_missing_is_named_with_the_command_that_names_another() {
        let gateway = Requirement {
            object: ObjectRef {
                api_version: "gateway.networking.k8s.io/v1".to_owned(),
                kind: "Gateway".to_owned(),
                plural: "gateways".to_owned(),
                namespace: Some("infra".to_owned()),
                name: "public".to_owned(),
                logical_name: "public".to_owned(),
            },
            field: "a.name",
            entry: Some(ListEntry {
                list: "/spec/listeners",
                element_kind: "listener",
                name: "https".to_owned(),
                field: "a.section",
            }),
        };
        let live = |names: &[&str]| {
            let listeners: Vec<Value> = names.iter().map(|name| json!({"name": name})).collect();
            json!({"spec": {"listeners": listeners}})
        };
        assert_eq!(unmet(&gateway, Some(&live(&["http", "https"]))), None);
        assert_eq!(
            unmet(&gateway, None).unwrap(),
            "refers to Gateway infra/public, which does not exist: create it, or name another one: aip-deploy \
             config set --path a.name"
        );
        assert_eq!(
            unmet(&gateway, Some(&live(&["http", "web"]))).unwrap(),
            "refers to the listener `https` of Gateway infra/public, which does not exist (it has http, web): \
             aip-deploy config set --path a.section"
        );
        assert!(
            unmet(&gateway, Some(&json!({})))
                .unwrap()
                .contains("it has none")
        );
    }
}
