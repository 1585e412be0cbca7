//! A refusal as the plan shows it, with the way out where there is one.

use aip_stack::desired::ObjectRef;

use crate::cluster::ApiError;

/// What the API server says of a field that keeps its first value
/// (`k8s.io/apimachinery/pkg/api/validation`, `pkg/apis/core/validation`).
const IMMUTABLE_FIELD_PHRASES: [&str; 6] = [
    "field is immutable",
    "is immutable",
    "may not change once set",
    "may not be changed",
    "can not be changed",
    "can not be unset",
];

/// The refusal, and what to do about a field that cannot be changed in place.
pub(super) fn explain_refusal(error: &ApiError, object: &ObjectRef, context: &str) -> String {
    let said = error.describe_for(object);
    let message = error.status().map_or("", |status| status.message.as_str());
    if !IMMUTABLE_FIELD_PHRASES
        .iter()
        .any(|words| message.contains(words))
    {
        return said;
    }
    let consequence = match object.kind.as_str() {
        "Deployment" => "its Pods are down until the new ones are ready",
        "Service" => "its addresses change, including a load balancer's",
        _ => "it does not exist until then",
    };
    let namespace = object
        .namespace
        .as_ref()
        .map_or(String::new(), |namespace| {
            format!(" --namespace {namespace}")
        });
    format!(
        "{said}. The field is immutable: revert the change, or delete the object and run `up` again \
         ({consequence}): kubectl --context {context}{namespace} delete {} {}",
        object.kind.to_lowercase(),
        object.name
    )
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    fn refused(kind: &str, message: &str) -> String {
        let status = Status::failure(message, "Invalid").with_code(422);
        let object = ObjectRef {
            api_version: "v1".to_owned(),
            kind: kind.to_owned(),
            plural: String::new(),
            namespace: Some("aip-main".to_owned()),
            name: "aip".to_owned(),
            logical_name: "aip".to_owned(),
        };
        explain_refusal(&ApiError::Status(status.boxed()), &object, "prod")
    }

    #[test]
    fn a_field_that_cannot_be_changed_is_refused_with_the_way_out() {
        for (kind, message, command) in [
            (
                "Service",
                "Service \"aip\" is invalid: spec.loadBalancerClass: Invalid value: \"b\": may not change once set",
                "kubectl --context prod --namespace aip-main delete service aip",
            ),
            (
                "Service",
                "Service \"aip\" is invalid: spec.clusterIPs[0]: Invalid value: []string{\"None\"}: may not change once set",
                "delete service aip",
            ),
            (
                "Deployment",
                "Deployment.apps \"aip\" is invalid: spec.selector: Invalid value: {}: field is immutable",
                "delete deployment aip",
            ),
        ] {
            let shown = refused(kind, message);
            assert!(
                shown.starts_with(message) && shown.ends_with(command),
                "{shown}"
            );
        }
        let other = "Deployment.apps \"aip\" is invalid: spec.replicas: Invalid value: -1";
        assert_eq!(refused("Deployment", other), other);
    }
}
