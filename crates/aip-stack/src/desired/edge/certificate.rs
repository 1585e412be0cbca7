//! The certificate that the stack gives to its edge, in a Secret whose name stays: what reads it notices when
//! it is renewed.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;

use super::gateway;
use crate::config::fields::ISSUER_KIND;
use crate::config::{Certificate, Exposure, IssuerKind, StackConfig};
use crate::desired::common::{labelled_metadata, metadata};
use crate::desired::kinds::{GATEWAY_API, Kind};
use crate::desired::{Desired, ObjectRef, Requirement};

/// The name of the Secret with the certificate and its key.
pub(super) const SECRET_NAME: &str = "aip-tls";

const CERT_MANAGER: (&str, &str) = ("cert-manager.io", "v1");

/// The Secret or who makes it, and the permission of a Gateway in another namespace to read it.
pub(in crate::desired) fn objects(config: &StackConfig) -> Vec<Desired> {
    let Some(certificate) = &config.aip.certificate else {
        return Vec::new();
    };
    let mut objects = vec![match certificate {
        Certificate::CertManager { host, issuer } => request(config, host, issuer),
        Certificate::Files { chain, key } => secret(config, chain, key),
    }];
    if matches!(config.aip.exposure, Exposure::Gateway(_)) {
        objects.extend(grant(config));
    }
    objects
}

/// <https://cert-manager.io/docs/reference/api-docs/#cert-manager.io/v1.Certificate>
fn request(config: &StackConfig, host: &str, issuer: &str) -> Desired {
    let (group, version) = CERT_MANAGER;
    let (kind, plural, namespace) = match config.aip.get(&ISSUER_KIND) {
        IssuerKind::ClusterIssuer => ("ClusterIssuer", "clusterissuers", None),
        IssuerKind::Issuer => ("Issuer", "issuers", Some(config.namespace.clone())),
    };
    let spec = json!({
        "secretName": SECRET_NAME,
        "dnsNames": [host],
        "privateKey": {"algorithm": "ECDSA", "size": 256, "rotationPolicy": "Always"},
        "issuerRef": {"group": group, "kind": kind, "name": issuer},
    });
    let issuer = Requirement {
        object: ObjectRef {
            api_version: format!("{group}/{version}"),
            kind: kind.to_owned(),
            plural: plural.to_owned(),
            namespace,
            name: issuer.to_owned(),
            logical_name: issuer.to_owned(),
        },
        field: crate::config::fields::ISSUER_NAME.path(),
        entry: None,
    };
    Kind::Certificate
        .object("aip", labelled_metadata(config, "aip"), [("spec", spec)])
        .requiring(issuer)
}

fn secret(config: &StackConfig, chain: &SecretString, key: &SecretString) -> Desired {
    let encoded = |text: &SecretString| STANDARD.encode(text.expose_secret());
    let data = json!({"tls.crt": encoded(chain), "tls.key": encoded(key)});
    Kind::Secret.object(
        SECRET_NAME,
        metadata(config, SECRET_NAME),
        [("type", json!("kubernetes.io/tls")), ("data", data)],
    )
}

/// <https://gateway-api.sigs.k8s.io/api-types/referencegrant/>
fn grant(config: &StackConfig) -> Option<Desired> {
    let namespace = gateway::namespace(config);
    let spec = json!({
        "from": [{"group": GATEWAY_API.0, "kind": "Gateway", "namespace": namespace}],
        "to": [{"group": "", "kind": "Secret", "name": SECRET_NAME}],
    });
    (namespace != config.namespace).then(|| {
        let metadata = labelled_metadata(config, SECRET_NAME);
        Kind::ReferenceGrant.object(SECRET_NAME, metadata, [("spec", spec)])
    })
}
