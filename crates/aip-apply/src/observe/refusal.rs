//! A refusal as the plan shows it, with the way out where there is one.

use aip_stack::desired::ObjectRef;

use crate::cluster::ApiError;

/// What the API server says of a field that keeps its first value
/// (`k8s.io/apimachinery/pkg/api/validation`, `pkg/apis/core/validation`).
const IMMUTABLE_FIELD_PHRASES: [&str; 7] = [
    "field is immutable",
    "is immutable",
    "may not change once set",
    "may not be changed",
    "can not be changed",
    "can not be unset",
    "updates to statefulset spec for fields other than",
];

/// Who brings the kinds of an API group: group, name, and where it is described how to install it.
const PROVIDERS: [(&str, &str, &str); 4] = [
    (
        "cert-manager.io",
        "cert-manager",
        "https://cert-manager.io/docs/installation/",
    ),
    (
        "gateway.networking.k8s.io",
        "the Gateway API and a controller for it",
        "https://gateway-api.sigs.k8s.io/guides/getting-started/",
    ),
    (
        "monitoring.coreos.com",
        "the Prometheus operator",
        "https://prometheus-operator.dev/docs/getting-started/installation/",
    ),
    (
        "postgresql.cnpg.io",
        "CloudNativePG",
        "https://cloudnative-pg.io/documentation/current/installation_upgrade/",
    ),
];

/// That the cluster does not have the kind of an object, and who brings it.
pub(super) fn unknown_kind(object: &ObjectRef) -> String {
    let provider = PROVIDERS
        .iter()
        .find(|(group, ..)| *group == object.group());
    let remedy = provider.map_or(String::new(), |(_, name, page)| {
        format!(": install {name} ({page})")
    });
    format!(
        "the cluster does not know the kind {} of {}{remedy}",
        object.kind, object.api_version
    )
}

/// The refusal, and what to do about a kind that is not there or a field that cannot be changed in
/// place.
pub(super) fn explain_refusal(error: &ApiError, object: &ObjectRef, context: &str) -> String {
    if error.is_unknown_kind() {
        return unknown_kind(object);
    }
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
        "StatefulSet" => "its server is down until then; its volumes stay as they are",
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
    fn a_kind_that_is_not_there_is_named_with_who_brings_it() {
        let object = ObjectRef {
            api_version: "gateway.networking.k8s.io/v1".to_owned(),
            kind: "HTTPRoute".to_owned(),
            plural: "httproutes".to_owned(),
            namespace: Some("aip-main".to_owned()),
            name: "aip".to_owned(),
            logical_name: "aip".to_owned(),
        };
        let answer = Status::failure("404 page not found", "").with_code(404);
        assert_eq!(
            explain_refusal(&ApiError::Status(answer.boxed()), &object, "prod"),
            "the cluster does not know the kind HTTPRoute of gateway.networking.k8s.io/v1: install the Gateway \
             API and a controller for it (https://gateway-api.sigs.k8s.io/guides/getting-started/)"
        );
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
