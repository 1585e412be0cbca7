//! Kubeconfig files and clients made from them.

use k8s_openapi::ByteString;
use kube::Client;
use kube::config::{Config, KubeConfigOptions, Kubeconfig};
use serde_json::json;

use crate::pki::Identity;

/// Where a cluster is, and how its certificate is known.
pub(crate) struct Address<'a> {
    pub(crate) context: &'a str,
    pub(crate) server: String,
    pub(crate) authority: String,
}

/// The text of a kubeconfig with one context, as JSON, which is YAML too.
pub(crate) fn text(address: &Address<'_>, user: &str, identity: Identity) -> String {
    let base64 = |pem: String| ByteString(pem.into_bytes());
    let context = address.context;
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": context,
        "clusters": [{"name": context, "cluster": {
            "server": address.server,
            "certificate-authority-data": base64(address.authority.clone()),
        }}],
        "users": [{"name": user, "user": {
            "client-certificate-data": base64(identity.certificate),
            "client-key-data": base64(identity.key),
        }}],
        "contexts": [{"name": context, "context": {
            "cluster": context, "user": user, "namespace": "default",
        }}],
    });
    format!("{config:#}\n")
}

/// A client of the current context.
pub(crate) async fn client(text: &str) -> Client {
    let kubeconfig = Kubeconfig::from_yaml(text).expect("our own kubeconfig is valid");
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .expect("our own kubeconfig is complete");
    // The server is on loopback, and a failure must show at once.
    config.proxy_url = None;
    config.default_retry = false;
    Client::try_from(config).expect("the certificates are valid")
}
