//! What the controller says of a route, in the form of the Gateway API.

use kube::api::DynamicObject;
use serde_json::{Value, json};

const CONTROLLER: &str = "cluster.test/nginx";

/// What was decided about a route.
pub(super) struct Decision {
    pub(super) is_accepted: bool,
    /// A Service that does not exist.
    pub(super) unresolved: Option<String>,
}

impl Decision {
    /// The new status of a route; none if it says this already.
    pub(super) fn status_of(&self, route: &DynamicObject) -> Option<Value> {
        let generation = route.metadata.generation.unwrap_or_default();
        let accepted = if self.is_accepted {
            ("True", "Accepted", String::new())
        } else {
            let message = "no host name of the route is one of the listener";
            ("False", "NoMatchingListenerHostname", message.to_owned())
        };
        let resolved = match &self.unresolved {
            None => ("True", "ResolvedRefs", String::new()),
            Some(service) => {
                let message = format!("there is no Service {service}");
                ("False", "BackendNotFound", message)
            }
        };
        let said = &route.data["status"]["parents"][0]["conditions"];
        let is_said = |index: usize, status: &str| {
            said[index]["status"] == status && said[index]["observedGeneration"] == generation
        };
        if is_said(0, accepted.0) && is_said(1, resolved.0) {
            return None;
        }
        let now = crate::kubelet::now();
        let condition = |name: &str, (status, reason, message): (&str, &str, String)| {
            json!({"type": name, "status": status, "reason": reason, "message": message,
                "observedGeneration": generation, "lastTransitionTime": now})
        };
        Some(json!({"status": {"parents": [{
            "parentRef": route.data["spec"]["parentRefs"][0],
            "controllerName": CONTROLLER,
            "conditions": [condition("Accepted", accepted), condition("ResolvedRefs", resolved)],
        }]}}))
    }
}
