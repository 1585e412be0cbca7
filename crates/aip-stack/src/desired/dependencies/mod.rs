//! The servers that AIP cannot do without, where the stack makes them: PostgreSQL by `CloudNativePG`, Valkey by
//! a `StatefulSet`; and how the Pods of AIP find them.

mod postgres;
mod sentinel;
mod valkey;

use std::collections::BTreeMap;

use k8s_openapi::api::storage::v1::StorageClass;
use serde_json::{Value, json};

use super::kinds::ObjectMetadata;
use super::names::NameKey;
use super::{Desired, ObjectRef, Requirement};
use crate::config::{AipConfig, Field, StackConfig};

pub(super) use postgres::{mount, variables, volume};

/// The objects of the servers, in no order of phases.
pub(super) fn objects(config: &StackConfig, names: &NameKey) -> Vec<Desired> {
    let mut objects = postgres::objects(config);
    objects.extend(valkey::objects(config, names));
    objects
}

/// Name, namespace and the labels of a server. They select its Pods, and are not those of AIP.
fn server_metadata(config: &StackConfig, name: &str, server: &str) -> ObjectMetadata {
    ObjectMetadata {
        name: name.to_owned(),
        namespace: config.namespace.clone(),
        labels: server_labels(server),
        annotations: BTreeMap::new(),
    }
}

fn server_labels(server: &str) -> BTreeMap<String, String> {
    let labels = [
        ("app.kubernetes.io/instance", "aip"),
        ("app.kubernetes.io/name", server),
    ];
    labels
        .map(|(label, value)| (label.to_owned(), value.to_owned()))
        .into()
}

/// The `StorageClass` that a field names; none if the default of the cluster is meant.
fn storage_class(aip: &AipConfig, field: &Field<Option<String>>) -> Option<Requirement> {
    let name = aip.get(field)?;
    Some(Requirement {
        object: ObjectRef::of::<StorageClass>(None, &name),
        field: field.path(),
        entry: None,
    })
}

/// The same object, which needs a `StorageClass` if one is named.
fn requiring(object: Desired, class: Option<Requirement>) -> Desired {
    match class {
        Some(class) => object.requiring(class),
        None => object,
    }
}

/// The `spec` of a claim for a volume.
fn claim_spec(size: &str, class: Option<&Requirement>) -> Value {
    let mut spec = json!({
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": size}},
    });
    if let Some(class) = class {
        spec["storageClassName"] = class.object.name.clone().into();
    }
    spec
}
