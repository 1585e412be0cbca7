//! The scheduler: binds Pods to nodes, the emptiest first, or says why it cannot.
//! <https://kubernetes.io/docs/concepts/scheduling-eviction/kube-scheduler/>
//!
//! It knows cordoned nodes, node selectors, taints, and requests for CPU and memory. Affinities and
//! spread constraints are preferences to it: it spreads anyway.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::StreamExt as _;
use k8s_openapi::api::core::v1::{Binding, Node, ObjectReference, Pod, PodCondition, Taint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{Api, ListParams, ObjectMeta, Patch, PatchParams, PostParams};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Client, Resource as _, ResourceExt as _};
use serde_json::json;

use super::events::{Events, Kind};
use super::quantity::amount;
use super::time;

const SCHEDULER_NAME: &str = "default-scheduler";
/// How soon a Pod that found no place is tried again.
const RETRY_INTERVAL: Duration = Duration::from_millis(500);

/// A node and the Pods it has.
struct NodeFit<'a> {
    node: &'a Node,
    pods: Vec<&'a Pod>,
}

/// Binds Pods for ever.
pub(crate) async fn run(client: Client, events: Events) {
    let pods: Api<Pod> = Api::all(client.clone());
    let unbound = watcher::Config::default().fields("spec.nodeName=");
    let mut changes = Box::pin(watcher(pods, unbound).default_backoff());
    let mut waiting: BTreeMap<String, Pod> = BTreeMap::new();
    let mut retry = tokio::time::interval(RETRY_INTERVAL);
    loop {
        let due = tokio::select! {
            change = changes.next() => match change {
                Some(Ok(Event::Apply(pod) | Event::InitApply(pod))) => {
                    let uid = pod.uid().unwrap_or_default();
                    // Our own note that it found no place comes back as a change.
                    let known = waiting.insert(uid.clone(), pod).is_some();
                    if known { Vec::new() } else { vec![uid] }
                }
                Some(Ok(Event::Delete(pod))) => {
                    waiting.remove(&pod.uid().unwrap_or_default());
                    Vec::new()
                }
                Some(_) => Vec::new(),
                None => return,
            },
            _ = retry.tick() => waiting.keys().cloned().collect(),
        };
        for uid in due {
            let Some(pod) = waiting.get(&uid) else {
                continue;
            };
            if schedule(&client, &events, pod)
                .await
                .is_ok_and(|bound| bound)
            {
                waiting.remove(&uid);
            }
        }
    }
}

/// Whether the Pod was bound, or needs to be no more.
async fn schedule(client: &Client, events: &Events, pod: &Pod) -> kube::Result<bool> {
    let spec = pod.spec.clone().unwrap_or_default();
    if pod.metadata.deletion_timestamp.is_some()
        || spec.scheduling_gates.is_some_and(|gates| !gates.is_empty())
    {
        return Ok(false);
    }
    let all = ListParams::default();
    let nodes = Api::<Node>::all(client.clone()).list(&all).await?;
    let pods = Api::<Pod>::all(client.clone()).list(&all).await?;
    match choose(pod, &nodes.items, &pods.items) {
        Ok(node) => bind(client, events, pod, &node).await,
        Err(message) => refuse(client, events, pod, message).await.map(|()| false),
    }
}

async fn bind(client: &Client, events: &Events, pod: &Pod, node: &str) -> kube::Result<bool> {
    let (name, namespace) = (pod.name_any(), pod.namespace().unwrap_or_default());
    let binding = Binding {
        metadata: ObjectMeta {
            name: Some(name.clone()),
            ..ObjectMeta::default()
        },
        target: ObjectReference {
            kind: Some("Node".to_owned()),
            name: Some(node.to_owned()),
            ..ObjectReference::default()
        },
    };
    let api: Api<Pod> = Api::namespaced(client.clone(), &namespace);
    let _status: serde_json::Value = api
        .create_subresource("binding", &name, &PostParams::default(), &binding)
        .await?;
    let message = format!("Successfully assigned {namespace}/{name} to {node}");
    events.emit(
        SCHEDULER_NAME,
        pod.object_ref(&()),
        Kind::Normal,
        "Scheduled",
        message,
    );
    Ok(true)
}

async fn refuse(client: &Client, events: &Events, pod: &Pod, message: String) -> kube::Result<()> {
    let reason = "Unschedulable";
    let conditions = pod
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten());
    let said = conditions
        .filter(|condition| condition.reason.as_deref() == Some(reason))
        .any(|condition| condition.message.as_ref() == Some(&message));
    if said {
        return Ok(());
    }
    let condition = PodCondition {
        type_: "PodScheduled".to_owned(),
        status: "False".to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message.clone()),
        last_transition_time: Some(Time(time::now())),
        ..PodCondition::default()
    };
    let api: Api<Pod> = Api::namespaced(client.clone(), &pod.namespace().unwrap_or_default());
    let patch = Patch::Merge(json!({"status": {"conditions": [condition]}}));
    api.patch_status(&pod.name_any(), &PatchParams::default(), &patch)
        .await?;
    events.emit(
        SCHEDULER_NAME,
        pod.object_ref(&()),
        Kind::Warning,
        "FailedScheduling",
        message,
    );
    Ok(())
}

/// The name of the emptiest node that fits, or the scheduler's sentence about why none does.
fn choose(pod: &Pod, nodes: &[Node], pods: &[Pod]) -> Result<String, String> {
    let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
    let mut fitting: Vec<NodeFit<'_>> = Vec::new();
    for node in nodes {
        let fit = NodeFit::new(node, pods);
        match fit.refusal(pod) {
            Some(reason) => *reasons.entry(reason).or_default() += 1,
            None => fitting.push(fit),
        }
    }
    let emptiest = fitting.iter().min_by_key(|fit| fit.pods.len());
    emptiest.map(|fit| fit.node.name_any()).ok_or_else(|| {
        let reasons: Vec<String> = reasons
            .iter()
            .map(|(reason, count)| format!("{count} {reason}"))
            .collect();
        let all = nodes.len();
        format!("0/{all} nodes are available: {}.", reasons.join(", "))
    })
}

impl<'a> NodeFit<'a> {
    fn new(node: &'a Node, pods: &'a [Pod]) -> Self {
        let name = node.name_any();
        let here = |pod: &&Pod| {
            let spec = pod.spec.as_ref();
            let phase = pod
                .status
                .as_ref()
                .and_then(|status| status.phase.as_deref());
            spec.and_then(|spec| spec.node_name.as_ref()) == Some(&name)
                && !matches!(phase, Some("Succeeded" | "Failed"))
        };
        Self {
            node,
            pods: pods.iter().filter(here).collect(),
        }
    }

    /// Why the Pod cannot run here, in the scheduler's words.
    fn refusal(&self, pod: &Pod) -> Option<String> {
        let spec = self.node.spec.clone().unwrap_or_default();
        if spec.unschedulable == Some(true) {
            return Some("node(s) were unschedulable".to_owned());
        }
        let selector = pod
            .spec
            .iter()
            .flat_map(|spec| spec.node_selector.iter().flatten());
        let labels = self.node.labels();
        if selector
            .into_iter()
            .any(|(key, value)| labels.get(key) != Some(value))
        {
            return Some("node(s) didn't match Pod's node affinity/selector".to_owned());
        }
        let mut taints = spec.taints.into_iter().flatten();
        if let Some(taint) = taints.find(|taint| !tolerates(pod, taint)) {
            let value = taint.value.unwrap_or_default();
            return Some(format!(
                "node(s) had untolerated taint {{{}: {value}}}",
                taint.key
            ));
        }
        ["cpu", "memory"]
            .into_iter()
            .find(|resource| requested(pod, resource) > self.free(resource))
            .map(|resource| format!("Insufficient {resource}"))
    }

    fn free(&self, resource: &str) -> f64 {
        let status = self.node.status.as_ref();
        let all = status.and_then(|status| status.allocatable.as_ref()?.get(resource));
        let used: f64 = self.pods.iter().map(|pod| requested(pod, resource)).sum();
        all.map_or(0.0, amount) - used
    }
}

fn tolerates(pod: &Pod, taint: &Taint) -> bool {
    let tolerations = pod
        .spec
        .iter()
        .flat_map(|spec| spec.tolerations.iter().flatten());
    taint.effect == "PreferNoSchedule"
        || tolerations.into_iter().any(|toleration| {
            let key = toleration.key.as_ref().is_none_or(|key| *key == taint.key);
            let exists = toleration.operator.as_deref() == Some("Exists");
            let effect = toleration
                .effect
                .as_ref()
                .is_none_or(|effect| *effect == taint.effect);
            key && effect && (exists || toleration.value == taint.value)
        })
}

/// What the Pod's containers ask for together.
fn requested(pod: &Pod, resource: &str) -> f64 {
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    containers
        .filter_map(|container| {
            container
                .resources
                .as_ref()?
                .requests
                .as_ref()?
                .get(resource)
        })
        .map(amount)
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, spec: &serde_json::Value) -> Node {
        let status = json!({"allocatable": {"cpu": "2", "memory": "1Gi"}});
        serde_json::from_value(json!({
            "metadata": {"name": name, "labels": {"zone": name}}, "spec": spec, "status": status,
        }))
        .unwrap()
    }

    fn pod(node: Option<&str>, spec: &serde_json::Value) -> Pod {
        let mut pod: Pod =
            serde_json::from_value(json!({"metadata": {"name": "p"}, "spec": spec})).unwrap();
        pod.spec.as_mut().unwrap().node_name = node.map(str::to_owned);
        pod
    }

    fn asking(cpu: &str) -> serde_json::Value {
        json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]})
    }

    #[test]
    fn the_emptiest_node_that_fits_is_chosen() {
        let nodes = [
            node("a", &json!({})),
            node("b", &json!({})),
            node("c", &json!({"unschedulable": true})),
        ];
        let there = [pod(Some("a"), &asking("100m"))];
        assert_eq!(
            choose(&pod(None, &asking("1")), &nodes, &there),
            Ok("b".to_owned())
        );
        let full = [
            pod(Some("b"), &asking("1500m")),
            pod(Some("a"), &asking("1")),
            pod(Some("a"), &json!({"containers": []})),
        ];
        assert_eq!(
            choose(&pod(None, &asking("1")), &nodes, &full),
            Ok("a".to_owned())
        );
    }

    #[test]
    fn every_reason_is_counted() {
        let taint = json!({"taints": [{"key": "gpu", "value": "yes", "effect": "NoSchedule"}]});
        let nodes = [
            node("a", &json!({})),
            node("b", &json!({"unschedulable": true})),
            node("c", &taint),
        ];
        let refusal = choose(&pod(None, &asking("3")), &nodes, &[]).unwrap_err();
        assert_eq!(
            refusal,
            "0/3 nodes are available: 1 Insufficient cpu, 1 node(s) had untolerated taint \
             {gpu: yes}, 1 node(s) were unschedulable."
        );
        let elsewhere = json!({"containers": [], "nodeSelector": {"zone": "mars"}});
        let refusal = choose(&pod(None, &elsewhere), &nodes[..1], &[]).unwrap_err();
        let reason = "1 node(s) didn't match Pod's node affinity/selector.";
        assert_eq!(refusal, format!("0/1 nodes are available: {reason}"));
    }

    #[test]
    fn a_tolerated_taint_is_no_hindrance() {
        let nodes = [node(
            "c",
            &json!({"taints": [{"key": "gpu", "value": "yes", "effect": "NoSchedule"}]}),
        )];
        let spec = json!({"containers": [], "tolerations": [{"key": "gpu", "operator": "Exists"}]});
        assert_eq!(choose(&pod(None, &spec), &nodes, &[]), Ok("c".to_owned()));
    }
}
