//! What other programs may want to know of a stack. Nothing here is secret.

use aip_apply::cluster::{ApiError, GuardedCluster};
use aip_stack::desired::{Desired, ObjectRef};
use serde_json::Value;

/// Where the load balancer of a stack is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Address {
    /// The provider has not said yet; that takes minutes.
    Pending,
    /// A host name or an IP address.
    Known(String),
}

impl Address {
    pub(crate) const NAME: &'static str = "address";

    pub(crate) fn known(&self) -> Option<&str> {
        match self {
            Self::Pending => None,
            Self::Known(address) => Some(address),
        }
    }

    /// Reads `status.loadBalancer` of the Service.
    pub(crate) async fn of(
        cluster: &GuardedCluster,
        service: &ObjectRef,
    ) -> Result<Self, ApiError> {
        let live = cluster.read(service).await?;
        Ok(live.as_ref().map_or(Self::Pending, Self::of_service))
    }

    fn of_service(live: &Value) -> Self {
        let first = &live["status"]["loadBalancer"]["ingress"][0];
        let address = first["hostname"].as_str().or(first["ip"].as_str());
        address.map_or(Self::Pending, |address| Self::Known(address.to_owned()))
    }
}

/// The Service with a load balancer, if the stack has one.
pub(crate) fn load_balancer(desired: &[Desired]) -> Option<ObjectRef> {
    let service = desired.iter().find(|desired| {
        desired.object().kind == "Service" && desired.manifest()["spec"]["type"] == "LoadBalancer"
    });
    service.map(|service| service.object().clone())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_load_balancer_has_a_name_or_an_address_or_neither_yet() {
        let of = |ingress: Value| {
            Address::of_service(&json!({"status": {"loadBalancer": {"ingress": ingress}}}))
        };
        assert_eq!(
            of(json!([{"hostname": "lb.example.com"}])),
            Address::Known("lb.example.com".to_owned())
        );
        assert_eq!(
            of(json!([{"ip": "192.0.2.1"}])),
            Address::Known("192.0.2.1".to_owned())
        );
        assert_eq!(of(json!([])), Address::Pending);
        assert_eq!(Address::of_service(&json!({})), Address::Pending);
    }
}
