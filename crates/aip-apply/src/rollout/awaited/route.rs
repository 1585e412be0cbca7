//! An `HTTPRoute` is done when each of its Gateways has accepted its newest generation and found what it
//! refers to (<https://gateway-api.sigs.k8s.io/reference/spec/#routeconditiontype>).

use kube::core::ApiResource;
use serde_json::Value;

use super::reported::Reported;
use crate::rollout::status::AwaitedCondition;

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
        }
        conditions
    }
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
                .map(|condition| condition.state == crate::rollout::status::ConditionState::True)
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
}
