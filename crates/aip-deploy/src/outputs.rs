//! What other programs may want to know of a stack. Nothing here is secret.

use aip_apply::cluster::{ApiError, GuardedCluster};
use aip_stack::desired::{Desired, ObjectRef};
use serde_json::Value;

/// Where the edge of a stack is reached.
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

    /// Reads the status of the Service, Ingress or Gateway.
    pub(crate) async fn of(cluster: &GuardedCluster, edge: &ObjectRef) -> Result<Self, ApiError> {
        let live = cluster.read(edge).await?;
        Ok(live.as_ref().map_or(Self::Pending, Self::of_live))
    }

    fn of_live(live: &Value) -> Self {
        let status = &live["status"];
        let first = &status["loadBalancer"]["ingress"][0];
        let address = first["hostname"].as_str().or(first["ip"].as_str());
        let address = address.or(status["addresses"][0]["value"].as_str());
        address.map_or(Self::Pending, |address| Self::Known(address.to_owned()))
    }
}

/// What has the address of the stack: the Service with a load balancer, the Ingress, or the Gateway that
/// its routes refer to.
pub(crate) fn edge(desired: &[Desired]) -> Option<ObjectRef> {
    desired
        .iter()
        .find_map(|desired| match desired.object().kind.as_str() {
            "Service" if desired.manifest()["spec"]["type"] == "LoadBalancer" => {
                Some(desired.object().clone())
            }
            "Ingress" => Some(desired.object().clone()),
            "HTTPRoute" => desired
                .requires()
                .first()
                .map(|gateway| gateway.object.clone()),
            _ => None,
        })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_edge_has_a_name_or_an_address_or_neither_yet() {
        let of = |ingress: Value| {
            Address::of_live(&json!({"status": {"loadBalancer": {"ingress": ingress}}}))
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
        assert_eq!(Address::of_live(&json!({})), Address::Pending);
        let gateway =
            json!({"status": {"addresses": [{"type": "IPAddress", "value": "192.0.2.2"}]}});
        assert_eq!(
            Address::of_live(&gateway),
            Address::Known("192.0.2.2".to_owned())
        );
    }
}
