//! Searches for secrets where none may be: in text, in files, in objects of the API server.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kube::api::{Api, DynamicObject, ListParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Client, Discovery, ResourceExt as _};
use serde_json::Value;

/// Secrets, each with a name that may be told.
pub(crate) struct Needles(Vec<(String, String)>);

impl Needles {
    pub(crate) fn new<const N: usize>(secrets: [(&str, String); N]) -> Self {
        Self(Vec::from(
            secrets.map(|(name, text)| (name.to_owned(), text)),
        ))
    }

    /// Every text that the JSON document has under one of these names, at any depth.
    pub(crate) fn with_values_of(mut self, what: &str, json: &str, names: &[&str]) -> Self {
        let before = self.0.len();
        self.collect(what, &serde_json::from_str(json).unwrap(), names);
        assert!(self.0.len() > before, "no {names:?} in the {what}");
        self
    }

    /// These strings in Base64, as a Secret has them.
    pub(crate) fn encoded<const N: usize>(mut self, secrets: [(&str, &str); N]) -> Self {
        self.0.extend(
            secrets.map(|(name, text)| (format!("{name} in Base64"), STANDARD.encode(text))),
        );
        self
    }

    fn collect(&mut self, what: &str, value: &Value, names: &[&str]) {
        match value {
            Value::Array(items) => {
                for item in items {
                    self.collect(what, item, names);
                }
            }
            Value::Object(members) => {
                for (name, member) in members {
                    match member {
                        Value::String(text) if names.contains(&name.as_str()) => {
                            self.0.push((format!("{what}: {name}"), text.clone()));
                        }
                        member => self.collect(what, member, names),
                    }
                }
            }
            _ => {}
        }
    }

    /// The names of the secrets that the text contains.
    pub(crate) fn found_in(&self, text: &str) -> Vec<&str> {
        let found = self.0.iter().filter(|(_, secret)| text.contains(secret));
        found.map(|(name, _)| name.as_str()).collect()
    }

    /// Files below the folder, with the secrets that they contain.
    pub(crate) fn found_below(&self, folder: &Path) -> Vec<String> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                found.extend(self.found_below(&path));
                continue;
            }
            let content = std::fs::read(&path).unwrap();
            let names = self.found_in(&String::from_utf8_lossy(&content));
            found.extend(
                names
                    .iter()
                    .map(|name| format!("{}: {name}", path.display())),
            );
        }
        found
    }

    /// Objects, with the secrets that they contain.
    pub(crate) fn found_in_objects(&self, objects: &[DynamicObject]) -> Vec<String> {
        let mut found = Vec::new();
        for object in objects {
            let names = self.found_in(&serde_json::to_string(object).unwrap());
            found.extend(
                names
                    .iter()
                    .map(|name| format!("{}: {name}", object.name_any())),
            );
        }
        found
    }
}

/// Every object of the namespace, of every kind that the API server can list.
pub(crate) async fn objects(client: &Client, namespace: &str) -> Vec<DynamicObject> {
    let discovery = Discovery::new(client.clone()).run().await.unwrap();
    let mut objects = Vec::new();
    for group in discovery.groups() {
        for (resource, capabilities) in group.recommended_resources() {
            let namespaced = capabilities.scope == kube::discovery::Scope::Namespaced;
            if namespaced && capabilities.supports_operation("list") {
                objects.extend(list(client, namespace, &resource).await);
            }
        }
    }
    objects
}

/// The Secrets of the namespace, with their data.
pub(crate) async fn secrets(client: &Client, namespace: &str) -> Vec<DynamicObject> {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", "Secret"));
    list(client, namespace, &resource).await
}

/// Takes out of a Secret the only place where secrets may be.
pub(crate) fn without_data(mut object: DynamicObject) -> DynamicObject {
    let is_secret = object
        .types
        .as_ref()
        .is_some_and(|types| types.kind == "Secret");
    if is_secret && let Some(members) = object.data.as_object_mut() {
        members.remove("data");
    }
    object
}

async fn list(client: &Client, namespace: &str, resource: &ApiResource) -> Vec<DynamicObject> {
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, resource);
    let listed = api.list(&ListParams::default()).await.unwrap();
    let mut objects = listed.items;
    for object in &mut objects {
        // The items of a list do not say what they are.
        object.types = Some(kube::api::TypeMeta {
            api_version: resource.api_version.clone(),
            kind: resource.kind.clone(),
        });
    }
    objects
}
