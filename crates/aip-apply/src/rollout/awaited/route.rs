//! An `HTTPRoute` is done when each of its Gateways has accepted its newest generation and found what it
//! refers to (<https://gateway-api.sigs.k8s.io/reference/spec/#routeconditiontype>).

use kube::core::ApiResource;
use serde_json::Value;

use super::reported::Reported;
use crate::rollout::status::{AwaitedCondition, ConditionState};

/// A controller that says this has not decided yet.
const WORKING: [&str; 1] = ["Pending"];

#[derive(Default)]
pub(super) struct Route;

impl Reported for Route {
    const KIND: &'static str = "HTTPRoute";

    fn resource() -> ApiResource {
        ApiResource {
            group: "gateway.networking.k8s.io".to_owned(),
            version: "v1".to_owned(),
            api_version: "gateway.networking.k8s.io/v1".to_owned(),
            kind: Self::KIND.to_owned(),
            plural: "httproutes".to_owned(),
        }
    }

    fn conditions(route: &Value) -> Vec<AwaitedCondition> {
        let metadata = &route["metadata"];
        let generation = metadata["generation"].as_i64().unwrap_or_default();
        // What a parent reference does not say is that of the route.
        let parent = |reference: &Value| {
            let own = metadata["namespace"].as_str().unwrap_or_default();
            let namespace = reference["namespace"].as_str().unwrap_or(own);
            let name = reference["name"].as_str().unwrap_or_default();
            let section = reference["sectionName"].as_str();
            let section = section.map_or(String::new(), |name| format!(", listener {name}"));
            format!("Gateway {namespace}/{name}{section}")
        };
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let reports = list(&route["status"]["parents"]);
        let mut conditions = Vec::new();
        for reference in list(&route["spec"]["parentRefs"]) {
            let about = parent(&reference);
            let report = reports
                .iter()
                .find(|report| parent(&report["parentRef"]) == about);
            let reported = report.map_or(&Value::Null, |report| &report["conditions"]);
            for name in ["Accepted", "ResolvedRefs"] {
                conditions.push(AwaitedCondition::read(
                    about.clone(),
                    name,
                    reported,
                    generation,
                    "the controller of the Gateway",
                    &WORKING,
                ));
            }
            conditions.extend(dropped_rules(&about, reported, generation));
        }
        conditions
    }
}

/// A Gateway may accept a route and leave rules out, which it says in a condition that is true
/// (<https://gateway-api.sigs.k8s.io/reference/spec/#routeconditiontype>, `PartiallyInvalid`).
fn dropped_rules(about: &str, reported: &Value, generation: i64) -> Option<AwaitedCondition> {
    let all = reported.as_array().into_iter().flatten();
    let mut dropped = all.filter(|it| it["type"] == "PartiallyInvalid" && it["status"] == "True");
    let condition = dropped.find(|it| {
        let observed = it["observedGeneration"].as_i64();
        observed.is_none_or(|observed| observed >= generation)
    })?;
    let text = |name: &str| condition[name].as_str().unwrap_or_default().to_owned();
    Some(AwaitedCondition {
        about: about.to_owned(),
        name: "EveryRuleAccepted",
        state: ConditionState::NotTrue {
            reason: text("reason"),
            message: text("message"),
            since: text("lastTransitionTime").parse().ok(),
            refused: true,
        },
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn reports_are_matched_by_gateway_namespace_and_listener() {
        let parent =
            |section: &str| json!({"name": "public", "namespace": "infra", "sectionName": section});
        let route = |reported: &Value| {
            json!({
                "metadata": {"name": "aip", "namespace": "aip-main", "generation": 1},
                "spec": {"parentRefs": [parent("https")]},
                "status": {"parents": [{"parentRef": reported, "conditions": [
                    {"type": "Accepted", "status": "True", "observedGeneration": 1},
                    {"type": "ResolvedRefs", "status": "True", "observedGeneration": 1},
                ]}]},
            })
        };
        let is_true = |reported: &Value| -> Vec<bool> {
            Route::conditions(&route(reported))
                .iter()
                .map(|condition| condition.state == ConditionState::True)
                .collect()
        };
        assert_eq!(is_true(&parent("https")), [true, true]);
        assert_eq!(is_true(&parent("http")), [false, false]);
        // Without a namespace it is that of the route.
        assert_eq!(
            is_true(&json!({"name": "public", "sectionName": "https"})),
            [false, false]
        );
        let conditions = Route::conditions(&route(&Value::Null));
        assert_eq!(conditions[0].about, "Gateway infra/public, listener https");
    }

    #[test]
    fn a_gateway_that_leaves_rules_out_has_refused_them() {
        let with = |more: Value| {
            let accepted =
                |name: &str| json!({"type": name, "status": "True", "observedGeneration": 2});
            let parent = json!({"name": "public"});
            let conditions = json!([accepted("Accepted"), accepted("ResolvedRefs"), more]);
            Route::conditions(&json!({
                "metadata": {"name": "aip", "namespace": "aip-main", "generation": 2},
                "spec": {"parentRefs": [parent]},
                "status": {"parents": [{"parentRef": parent, "conditions": conditions}]},
            }))
        };
        let partly = |status: &str, observed: u8| json!({"type": "PartiallyInvalid", "status": status, "reason": "UnsupportedValue", "message": "Dropped Rule 3", "observedGeneration": observed});
        let refused = with(partly("True", 2));
        let [_, _, rules] = refused.as_slice() else {
            panic!("{refused:?}")
        };
        assert!(
            matches!(&rules.state, ConditionState::NotTrue { message, refused: true, .. } if message == "Dropped Rule 3"),
            "{rules:?}"
        );
        // Of an earlier generation, or not so.
        for fine in [partly("True", 1), partly("False", 2), Value::Null] {
            let conditions = with(fine);
            assert_eq!(conditions.len(), 2, "{conditions:?}");
        }
    }
}
