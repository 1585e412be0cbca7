//! Nodes: made once, then kept alive by renewing their leases.
//! <https://kubernetes.io/docs/reference/node/node-status/>

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, Time};
use kube::Client;
use kube::api::{Api, ObjectMeta, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use super::time;

/// The control plane gives a node up after 40 s.
const LEASE_RENEW_INTERVAL: Duration = Duration::from_secs(10);
const LEASE_NAMESPACE: &str = "kube-node-lease";

/// Makes a node that is ready; its log server listens on `port` of loopback.
pub(crate) async fn register(client: &Client, name: &str, port: u16) -> kube::Result<()> {
    let nodes: Api<Node> = Api::all(client.clone());
    let labels = [
        ("kubernetes.io/hostname", name),
        ("kubernetes.io/os", "linux"),
        ("kubernetes.io/arch", std::env::consts::ARCH),
    ];
    let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned()));
    let node = Node {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            labels: Some(BTreeMap::from(labels)),
            ..ObjectMeta::default()
        },
        ..Node::default()
    };
    nodes.create(&PostParams::default(), &node).await?;
    let params = PatchParams::default();
    nodes
        .patch_status(name, &params, &Patch::Merge(status(name, port)))
        .await?;
    renew(client, name).await
}

/// Renews the leases of all nodes for ever.
pub(crate) async fn keep_alive(client: Client, names: Vec<String>) {
    loop {
        tokio::time::sleep(LEASE_RENEW_INTERVAL).await;
        for name in &names {
            // A renewal that fails is made up for by the next.
            let _refused = renew(&client, name).await;
        }
    }
}

async fn renew(client: &Client, name: &str) -> kube::Result<()> {
    let leases: Api<Lease> = Api::namespaced(client.clone(), LEASE_NAMESPACE);
    let lease = Lease {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            ..ObjectMeta::default()
        },
        spec: Some(LeaseSpec {
            holder_identity: Some(name.to_owned()),
            lease_duration_seconds: Some(40),
            renew_time: Some(MicroTime(time::now())),
            ..LeaseSpec::default()
        }),
    };
    let params = PatchParams::apply("kubelet").force();
    leases.patch(name, &params, &Patch::Apply(&lease)).await?;
    Ok(())
}

fn status(name: &str, port: u16) -> Value {
    let size = json!({"cpu": "64", "memory": "256Gi", "pods": "250", "ephemeral-storage": "100Gi"});
    let now = Time(time::now());
    let condition = |kind: &str, status: &str, reason: &str| {
        json!({
            "type": kind, "status": status, "reason": reason,
            "lastHeartbeatTime": now, "lastTransitionTime": now,
        })
    };
    json!({"status": {
        "capacity": size,
        "allocatable": size,
        "addresses": [
            {"type": "InternalIP", "address": "127.0.0.1"},
            {"type": "Hostname", "address": name},
        ],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
        "nodeInfo": {
            "machineID": "", "systemUUID": "", "bootID": "", "kernelVersion": "", "osImage": "",
            "containerRuntimeVersion": "processes://1", "kubeletVersion": "v1.36.0",
            "kubeProxyVersion": "", "operatingSystem": "linux",
            "architecture": std::env::consts::ARCH,
        },
        "conditions": [
            condition("Ready", "True", "KubeletReady"),
            condition("MemoryPressure", "False", "KubeletHasSufficientMemory"),
            condition("DiskPressure", "False", "KubeletHasNoDiskPressure"),
            condition("PIDPressure", "False", "KubeletHasSufficientPID"),
        ],
    }})
}
