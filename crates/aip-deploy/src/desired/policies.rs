//! What surrounds the Pods of the restricted profile: an account without rights, a budget for
//! evictions, the network, the autoscaler.

use serde_json::{Value, json};

use super::Desired;
use super::kinds::Kind;
use super::objects::{APP_NAME, labels, metadata};
use super::restricted::METRICS_PORT;
use crate::config::StackConfig;

pub(super) fn service_account(config: &StackConfig) -> Desired {
    let mut metadata = metadata(config, APP_NAME, true);
    if let Some(arn) = &config.aip.role_arn {
        metadata["annotations"] = json!({"eks.amazonaws.com/role-arn": arn});
    }
    Kind::ServiceAccount.object(
        APP_NAME,
        metadata,
        json!({"automountServiceAccountToken": false}),
    )
}

pub(super) fn disruption_budget(config: &StackConfig) -> Desired {
    let body = json!({"spec": {
        "maxUnavailable": 1,
        // A Pod that is broken anyway must not keep a node from being drained.
        "unhealthyPodEvictionPolicy": "AlwaysAllow",
        "selector": {"matchLabels": labels()},
    }});
    Kind::PodDisruptionBudget.object(APP_NAME, metadata(config, APP_NAME, true), body)
}

pub(super) fn autoscaler(config: &StackConfig) -> Option<Desired> {
    let scaling = config.aip.autoscaling?;
    let body = json!({"spec": {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": APP_NAME},
        "minReplicas": scaling.min_replicas,
        "maxReplicas": scaling.max_replicas,
        "metrics": [{
            "type": "Resource",
            "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": scaling.cpu_percent}},
        }],
    }});
    Some(Kind::HorizontalPodAutoscaler.object(APP_NAME, metadata(config, APP_NAME, true), body))
}

/// What the Prometheus operator scrapes by
/// (<https://prometheus-operator.dev/docs/api-reference/api/#monitoring.coreos.com/v1.PodMonitor>).
pub(super) fn pod_monitor(config: &StackConfig) -> Option<Desired> {
    let more = config.aip.metrics.pod_monitor.as_ref()?;
    let mut metadata = metadata(config, APP_NAME, true);
    for (name, value) in more {
        metadata["labels"][name.as_str()] = json!(value);
    }
    let body = json!({"spec": {
        "selector": {"matchLabels": labels()},
        "podMetricsEndpoints": [{"port": METRICS_PORT.0, "path": "/metrics"}],
    }});
    Some(Kind::PodMonitor.object(APP_NAME, metadata, body))
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
    for cidr in &policy.allow_cidrs {
        egress.push(json!({"to": [{"ipBlock": {"cidr": cidr}}]}));
    }
    // Never from outside of the cluster: the admin API listens there too.
    let scrapers = match &config.aip.metrics.namespace {
        Some(name) => json!({"matchLabels": {"kubernetes.io/metadata.name": name}}),
        None => json!({}),
    };
    let body = json!({"spec": {
        "podSelector": {"matchLabels": labels()},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [
            {"ports": [{"protocol": "TCP", "port": config.aip.port}]},
            {
                "from": [{"namespaceSelector": scrapers}],
                "ports": [{"protocol": "TCP", "port": METRICS_PORT.1}],
            },
        ],
        "egress": egress,
    }});
    Some(Kind::NetworkPolicy.object(APP_NAME, metadata(config, APP_NAME, true), body))
}
