//! An Ingress is done when its controller has written an address into its status. Ingresses have no
//! conditions: a controller that refuses one does so in its own log.

use k8s_openapi::api::networking::v1::Ingress as IngressObject;
use kube::core::ApiResource;
use serde_json::Value;

use super::reported::Reported;
use crate::rollout::status::{AwaitedCondition, ConditionState};

#[derive(Default)]
pub(super) struct Ingress;

impl Reported for Ingress {
    const KIND: &'static str = "Ingress";

    fn resource() -> ApiResource {
        ApiResource::erase::<IngressObject>(&())
    }

    fn conditions(ingress: &Value) -> Vec<AwaitedCondition> {
        let addresses = ingress["status"]["loadBalancer"]["ingress"].as_array();
        let state = if addresses.is_some_and(|addresses| !addresses.is_empty()) {
            ConditionState::True
        } else {
            let class = ingress["spec"]["ingressClassName"].as_str();
            ConditionState::Unreported(format!(
                "the controller of the class {}",
                class.unwrap_or_default()
            ))
        };
        vec![AwaitedCondition {
            about: String::new(),
            name: "Address",
            state,
        }]
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_ingress_has_an_address_or_its_class_is_named() {
        let state = |status: Value| {
            let ingress = json!({"spec": {"ingressClassName": "traefik"}, "status": status});
            Ingress::conditions(&ingress).remove(0).state
        };
        let unreported =
            ConditionState::Unreported("the controller of the class traefik".to_owned());
        assert_eq!(state(json!({})), unreported);
        assert_eq!(state(json!({"loadBalancer": {"ingress": []}})), unreported);
        let address = json!({"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}});
        assert_eq!(state(address), ConditionState::True);
    }
}
