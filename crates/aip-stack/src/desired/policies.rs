//! What surrounds the Pods of the restricted profile: an account without rights, a budget for
//! evictions, the network, the autoscaler.

use serde_json::{Value, json};

use super::Desired;
use super::common::{APP_NAME, METRICS_PORT, labelled_metadata, labels};
use super::kinds::Kind;
use crate::config::StackConfig;
use crate::config::fields::{
    ALLOW_CIDRS, CPU_PERCENT, MAX_REPLICAS, METRICS_NAMESPACE, MIN_REPLICAS, POD_MONITOR,
    POD_MONITOR_LABELS, PORT, SERVICE_ACCOUNT_ROLE_ARN,
};

pub(super) fn service_account(config: &StackConfig) -> Desired {
    let mut metadata = labelled_metadata(config, APP_NAME);
    if let Some(arn) = config.aip.get(&SERVICE_ACCOUNT_ROLE_ARN) {
        let annotation = ("eks.amazonaws.com/role-arn".to_owned(), arn);
        metadata.annotations.extend([annotation]);
    }
    Kind::ServiceAccount.object(
        APP_NAME,
        metadata,
        [("automountServiceAccountToken", json!(false))],
    )
}

pub(super) fn disruption_budget(config: &StackConfig) -> Desired {
    let spec = json!({
        "maxUnavailable": 1,
        // A Pod that is broken anyway must not keep a node from being drained.
        "unhealthyPodEvictionPolicy": "AlwaysAllow",
        "selector": {"matchLabels": labels()},
    });
    Kind::PodDisruptionBudget.object(
        APP_NAME,
        labelled_metadata(config, APP_NAME),
        [("spec", spec)],
    )
}

pub(super) fn autoscaler(config: &StackConfig) -> Option<Desired> {
    let aip = &config.aip;
    if !aip.is_autoscaled {
        return None;
    }
    let spec = json!({
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": APP_NAME},
        "minReplicas": aip.get(&MIN_REPLICAS),
        "maxReplicas": aip.get(&MAX_REPLICAS),
        "metrics": [{
            "type": "Resource",
            "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": aip.get(&CPU_PERCENT)}},
        }],
    });
    Some(Kind::HorizontalPodAutoscaler.object(
        APP_NAME,
        labelled_metadata(config, APP_NAME),
        [("spec", spec)],
    ))
}

/// What the Prometheus operator scrapes by
/// (<https://prometheus-operator.dev/docs/api-reference/api/#monitoring.coreos.com/v1.PodMonitor>).
pub(super) fn pod_monitor(config: &StackConfig) -> Option<Desired> {
    if !config.aip.get(&POD_MONITOR) {
        return None;
    }
    let mut metadata = labelled_metadata(config, APP_NAME);
    metadata.labels.extend(config.aip.get(&POD_MONITOR_LABELS));
    let spec = json!({
        "selector": {"matchLabels": labels()},
        "podMetricsEndpoints": [{"port": METRICS_PORT.0, "path": "/metrics"}],
    });
    Some(Kind::PodMonitor.object(APP_NAME, metadata, [("spec", spec)]))
}

/// AIP fetches URLs that people give it: what it must not reach is also closed here, should its
/// own guard ever fail.
pub(super) fn network_policy(config: &StackConfig) -> Option<Desired> {
    const PRIVATE: [&str; 5] = [
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "169.254.0.0/16",
        "100.64.0.0/10",
    ];
    let policy = config.aip.network_policy.as_ref()?;
    let ports = |protocol: &str, ports: &[u16]| -> Value {
        ports
            .iter()
            .map(|port| json!({"protocol": protocol, "port": port}))
            .collect()
    };
    let mut egress = vec![
        json!({"ports": [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}]}),
        json!({
            "to": [{"ipBlock": {"cidr": "0.0.0.0/0", "except": PRIVATE}}],
            "ports": [{"protocol": "TCP", "port": 443}],
        }),
    ];
    if !policy.ports.is_empty() {
        egress.push(json!({"ports": ports("TCP", &policy.ports)}));
    }
    if !policy.udp_ports.is_empty() {
        egress.push(json!({"ports": ports("UDP", &policy.udp_ports)}));
    }
    for cidr in config.aip.get(&ALLOW_CIDRS) {
        egress.push(json!({"to": [{"ipBlock": {"cidr": cidr}}]}));
    }
    // Never from outside of the cluster: the admin API listens there too.
    let scrapers = match config.aip.get(&METRICS_NAMESPACE) {
        Some(name) => json!({"matchLabels": {"kubernetes.io/metadata.name": name}}),
        None => json!({}),
    };
    let spec = json!({
        "podSelector": {"matchLabels": labels()},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [
            {"ports": [{"protocol": "TCP", "port": config.aip.get(&PORT)}]},
            {
                "from": [{"namespaceSelector": scrapers}],
                "ports": [{"protocol": "TCP", "port": METRICS_PORT.1}],
            },
        ],
        "egress": egress,
    });
    Some(Kind::NetworkPolicy.object(
        APP_NAME,
        labelled_metadata(config, APP_NAME),
        [("spec", spec)],
    ))
}
