//! Where the API server serves the kind of an object.

use aip_stack::desired::ObjectRef;
use kube::core::{ApiResource, DynamicObject, GroupVersionKind, Request, Resource as _};

/// The API resource of an object's kind.
pub(super) fn api_resource(object: &ObjectRef) -> ApiResource {
    let kind = GroupVersionKind::gvk(object.group(), object.version(), &object.kind);
    ApiResource::from_gvk_with_plural(&kind, &object.plural)
}

/// Builds requests for the objects of this kind in this namespace.
pub(super) fn path(object: &ObjectRef) -> Request {
    Request::new(DynamicObject::url_path(
        &api_resource(object),
        object.namespace.as_deref(),
    ))
}

/// The plural of a kind by the rules of English, which the kinds of Kubernetes follow.
pub fn guess_plural(group: &str, version: &str, kind: &str) -> String {
    ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind)).plural
}
