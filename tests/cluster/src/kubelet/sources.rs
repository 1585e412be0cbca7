//! Where values of a Pod come from besides its own text: Secrets, `ConfigMap`s, its own fields.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ConfigMap, ObjectFieldSelector, Pod, Secret};
use kube::api::Api;
use kube::{Client, ResourceExt as _};
use thiserror::Error;

/// Keys and their values.
pub(crate) type Data = BTreeMap<String, Vec<u8>>;

/// An object with data, by name.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Source<'a> {
    Secret(&'a str),
    ConfigMap(&'a str),
}

/// Why a value cannot be had, in the kubelet's words.
#[derive(Debug, Error)]
pub(crate) enum SourceError {
    #[error("{kind} \"{name}\" not found")]
    Missing { kind: &'static str, name: String },
    #[error("couldn't find key {key} in {kind} {namespace}/{name}")]
    NoKey {
        key: String,
        kind: &'static str,
        namespace: String,
        name: String,
    },
    #[error("the stand-in does not know {0}")]
    Unknown(String),
    #[error(transparent)]
    Api(#[from] kube::Error),
    #[error("cannot write the volume: {0}")]
    Write(#[from] std::io::Error),
}

impl Source<'_> {
    /// Everything in the object; nothing if it is missing and may be.
    pub(crate) async fn read(
        self,
        client: &Client,
        namespace: &str,
        optional: Option<bool>,
    ) -> Result<Option<Data>, SourceError> {
        let client = client.clone();
        let found = match self {
            Self::Secret(name) => Api::<Secret>::namespaced(client, namespace)
                .get_opt(name)
                .await?
                .map(|secret| secret.data.unwrap_or_default())
                .map(|data| {
                    data.into_iter()
                        .map(|(key, value)| (key, value.0))
                        .collect()
                }),
            Self::ConfigMap(name) => Api::<ConfigMap>::namespaced(client, namespace)
                .get_opt(name)
                .await?
                .map(config_map_data),
        };
        match found {
            None if optional != Some(true) => Err(SourceError::Missing {
                kind: self.names().0,
                name: self.name().to_owned(),
            }),
            found => Ok(found),
        }
    }

    /// One value; nothing if it is missing and may be.
    pub(crate) async fn value(
        self,
        client: &Client,
        namespace: &str,
        key: &str,
        optional: Option<bool>,
    ) -> Result<Option<String>, SourceError> {
        let data = self
            .read(client, namespace, optional)
            .await?
            .unwrap_or_default();
        match data.get(key) {
            Some(value) => Ok(Some(String::from_utf8_lossy(value).into_owned())),
            None if optional == Some(true) => Ok(None),
            None => Err(SourceError::NoKey {
                key: key.to_owned(),
                kind: self.names().1,
                namespace: namespace.to_owned(),
                name: self.name().to_owned(),
            }),
        }
    }

    fn name(&self) -> &str {
        match self {
            Self::Secret(name) | Self::ConfigMap(name) => name,
        }
    }

    /// As a resource and as a kind.
    fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Secret(_) => ("secret", "Secret"),
            Self::ConfigMap(_) => ("configmap", "ConfigMap"),
        }
    }
}

fn config_map_data(map: ConfigMap) -> Data {
    let text = map.data.unwrap_or_default().into_iter();
    let binary = map.binary_data.unwrap_or_default().into_iter();
    text.map(|(key, value)| (key, value.into_bytes()))
        .chain(binary.map(|(key, value)| (key, value.0)))
        .collect()
}

/// A field of the Pod itself (the downward API).
pub(crate) fn field(
    pod: &Pod,
    address: &str,
    selector: &ObjectFieldSelector,
) -> Result<String, SourceError> {
    let spec = pod.spec.clone().unwrap_or_default();
    let path = selector.field_path.as_str();
    let value = match path {
        "metadata.name" => Some(pod.name_any()),
        "metadata.namespace" => pod.namespace(),
        "metadata.uid" => pod.uid(),
        "spec.nodeName" => spec.node_name,
        "spec.serviceAccountName" => spec.service_account_name,
        "status.podIP" | "status.podIPs" => Some(address.to_owned()),
        "status.hostIP" | "status.hostIPs" => Some("127.0.0.1".to_owned()),
        _ => {
            let entry = |prefix, map: &BTreeMap<String, String>| {
                let key = path.strip_prefix(prefix)?.strip_suffix("']")?;
                Some(map.get(key).cloned().unwrap_or_default())
            };
            let value = entry("metadata.labels['", pod.labels())
                .or_else(|| entry("metadata.annotations['", pod.annotations()));
            return value.ok_or_else(|| SourceError::Unknown(format!("the field {path}")));
        }
    };
    Ok(value.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_the_pod_are_found() {
        let pod: Pod = serde_json::from_value(serde_json::json!({
            "metadata": {"name": "web-1", "labels": {"app.kubernetes.io/name": "web"}},
            "spec": {"nodeName": "node-1", "containers": []},
        }))
        .unwrap();
        for (path, value) in [
            ("metadata.name", "web-1"),
            ("metadata.labels['app.kubernetes.io/name']", "web"),
            ("metadata.annotations['none']", ""),
            ("spec.nodeName", "node-1"),
            ("status.podIP", "10.1.2.3"),
        ] {
            let selector = ObjectFieldSelector {
                field_path: path.to_owned(),
                ..ObjectFieldSelector::default()
            };
            assert_eq!(field(&pod, "10.1.2.3", &selector).unwrap(), value);
        }
    }
}
