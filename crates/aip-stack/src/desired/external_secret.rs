//! Secrets whose values come from elsewhere: for each one an `ExternalSecret` of the External Secrets
//! Operator (<https://external-secrets.io/latest/api/externalsecret/>), which makes a Secret of the same
//! name from entries of a store.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::kinds::{Kind, ObjectMetadata};
use super::{Desired, ObjectRef};
use crate::config::PLACEHOLDER;

/// Where the operator finds the values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretStore {
    /// `SecretStore` or `ClusterSecretStore`.
    pub kind: &'static str,
    /// Its name.
    pub name: String,
    /// What the keys of its entries begin with: `aip-main/`.
    pub prefix: String,
}

impl Desired {
    /// The object that lets the operator make this Secret, which holds placeholders for what is encrypted
    /// in the stack file. None of another kind, and of a Secret without a placeholder.
    ///
    /// A variable is a property of the entry `PREFIX` + logical name. A file, whose name has a dot, is the
    /// whole entry `PREFIX` + logical name + `/` + file name: a dot in a property is a path. What is not
    /// encrypted is part of the object.
    pub fn external_secret(&self, store: &SecretStore) -> Option<Self> {
        let ObjectRef {
            kind,
            name,
            logical_name,
            namespace,
            ..
        } = self.object();
        let data = self.manifest()["data"]
            .as_object()
            .filter(|_| kind == "Secret")?;
        let entry = format!("{}{logical_name}", store.prefix);
        let mut stored = Vec::new();
        let mut plain = Map::new();
        for (key, encoded) in data {
            match plain_value(encoded) {
                Some(value) => drop(plain.insert(key.clone(), template(&value).into())),
                None => stored.push(json!({"secretKey": key, "remoteRef": remote(&entry, key)})),
            }
        }
        // The operator makes no Secret when nothing of it comes from the store.
        if stored.is_empty() {
            return None;
        }
        let mut made = json!({
            "type": self.manifest()["type"],
            "engineVersion": "v2",
            "mergePolicy": "Merge",
        });
        if !plain.is_empty() {
            made["data"] = plain.into();
        }
        // Some are found by their labels, such as those that CloudNativePG reads again.
        if let Some(labels) = self.manifest()["metadata"].get("labels") {
            made["metadata"] = json!({"labels": labels});
        }
        let spec = json!({
            "refreshPolicy": "Periodic",
            "refreshInterval": "1h",
            "secretStoreRef": {"kind": store.kind, "name": store.name},
            "target": {
                "name": name,
                "creationPolicy": "Owner",
                "deletionPolicy": "Retain",
                "template": made,
            },
            "data": stored,
        });
        let metadata = ObjectMetadata {
            name: name.clone(),
            namespace: namespace.clone()?,
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
        };
        let made = Kind::ExternalSecret.object(logical_name, metadata, [("spec", spec)]);
        // With it the Secret that it made would go.
        Some(if self.is_protected() {
            made.protected()
        } else {
            made
        })
    }
}

fn remote(entry: &str, key: &str) -> Value {
    if key.contains('.') {
        json!({"key": format!("{entry}/{key}")})
    } else {
        json!({"key": entry, "property": key})
    }
}

/// A value that no placeholder is part of.
fn plain_value(encoded: &Value) -> Option<String> {
    let bytes = STANDARD.decode(encoded.as_str()?).ok()?;
    let value = String::from_utf8(bytes).ok()?;
    (!value.contains(PLACEHOLDER)).then_some(value)
}

/// A value as a template that gives it back
/// (<https://external-secrets.io/latest/guides/templating/>, <https://pkg.go.dev/text/template>).
fn template(value: &str) -> String {
    value.replace("{{", "{{ \"{{\" }}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desired::Phase;

    const NAME: &str = "aip-env-main-0123456789";

    fn secret(data: &[(&str, &str)]) -> Desired {
        let object = ObjectRef {
            logical_name: "aip-env-main".to_owned(),
            ..ObjectRef::of::<k8s_openapi::api::core::v1::Secret>(Some("aip-main"), NAME)
        };
        let data = data
            .iter()
            .map(|(key, value)| ((*key).to_owned(), json!(STANDARD.encode(value))));
        let manifest = json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": NAME, "namespace": "aip-main"},
            "type": "Opaque",
            "immutable": true,
            "data": data.collect::<Map<_, _>>(),
        });
        Desired::new(object, manifest, Phase::Foundation)
    }

    fn store() -> SecretStore {
        SecretStore {
            kind: "SecretStore",
            name: "vault".to_owned(),
            prefix: "prod/".to_owned(),
        }
    }

    #[test]
    fn what_is_encrypted_comes_from_the_store_and_the_rest_is_in_the_object() {
        let made = secret(&[
            ("DATABASE_URL", PLACEHOLDER),
            (
                "REDIS_DSN",
                &format!("redis://:{PLACEHOLDER}@aip-valkey:6379"),
            ),
            ("PDS_HOSTNAME", "auth.stubhub.example"),
            ("WORKER_ID", "main {{01}}"),
            ("signing_keys.json", PLACEHOLDER),
        ])
        .external_secret(&store())
        .unwrap();
        assert_eq!(made.phase(), Phase::Foundation);
        assert_eq!(made.object().plural, "externalsecrets");
        let manifest = made.manifest();
        assert_eq!(
            manifest["metadata"],
            json!({"name": NAME, "namespace": "aip-main"})
        );
        assert_eq!(
            manifest["spec"]["data"],
            json!([
                {"secretKey": "DATABASE_URL",
                 "remoteRef": {"key": "prod/aip-env-main", "property": "DATABASE_URL"}},
                {"secretKey": "REDIS_DSN",
                 "remoteRef": {"key": "prod/aip-env-main", "property": "REDIS_DSN"}},
                {"secretKey": "signing_keys.json",
                 "remoteRef": {"key": "prod/aip-env-main/signing_keys.json"}},
            ])
        );
        let target = &manifest["spec"]["target"];
        assert_eq!(target["name"], NAME);
        assert_eq!(
            target["template"]["data"],
            json!({"PDS_HOSTNAME": "auth.stubhub.example", "WORKER_ID": "main {{ \"{{\" }}01}}"})
        );
    }

    #[test]
    fn the_secret_that_is_made_has_the_labels_of_the_one_it_stands_for() {
        let plain = secret(&[("access_key_id", PLACEHOLDER)]);
        let made = plain.external_secret(&store()).unwrap();
        let template = |made: &Desired| made.manifest()["spec"]["target"]["template"].clone();
        assert!(template(&made)["metadata"].is_null());
        let mut manifest = plain.manifest().clone();
        manifest["metadata"]["labels"] = json!({"cnpg.io/reload": "true"});
        let labelled = Desired::new(plain.object().clone(), manifest, plain.phase());
        let made = labelled.external_secret(&store()).unwrap();
        assert_eq!(
            template(&made)["metadata"],
            json!({"labels": {"cnpg.io/reload": "true"}})
        );
    }

    #[test]
    fn a_secret_without_a_secret_and_other_kinds_stay_as_they_are() {
        assert!(
            secret(&[("WORKER_ID", "main")])
                .external_secret(&store())
                .is_none()
        );
        assert!(secret(&[]).external_secret(&store()).is_none());
        assert!(
            Desired::namespace("aip-main")
                .external_secret(&store())
                .is_none()
        );
    }
}
