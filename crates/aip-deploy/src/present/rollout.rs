//! The rollout as a tree for terminals, and as one line per event for pipes.

use aip_apply::rollout::model::{ReplicaSetView, Rollout};
use aip_apply::rollout::pod_view::{ContainerState, ContainerView, PodView};

use crate::ui::style::{self, paint};

/// A line of the tree.
struct Node {
    /// What it is, without its state: it stays the same from one snapshot to the next.
    id: String,
    /// The same, where the tree says the rest.
    label: String,
    text: String,
    depth: usize,
}

/// The tree, one line per element.
pub(crate) fn tree(rollout: &Rollout) -> Vec<String> {
    let nodes = nodes(rollout);
    let mut lines = Vec::with_capacity(nodes.len());
    for (index, node) in nodes.iter().enumerate() {
        let mut line = String::new();
        for depth in 1..=node.depth {
            let more = nodes[index + 1..]
                .iter()
                .take_while(|later| later.depth >= depth)
                .any(|later| later.depth == depth);
            line.push_str(match (depth == node.depth, more) {
                (true, true) => "├─ ",
                (true, false) => "└─ ",
                (false, true) => "│  ",
                (false, false) => "   ",
            });
        }
        lines.push(
            format!("{line}{} {}", node.label, node.text)
                .trim_end()
                .to_owned(),
        );
    }
    lines
}

/// Single Pods, those of a Job.
pub(crate) fn pods(pods: &[PodView]) -> Vec<String> {
    let mut lines = Vec::new();
    for pod in pods {
        lines.push(format!("Pod {} {}", pod.name, pod_text(pod)));
        lines.extend(pod.containers.iter().map(|container| {
            // Nobody waits for the container of a Job to be ready.
            let container = ContainerView {
                init: true,
                ..container.clone()
            };
            format!(
                "  container {} {}",
                container.name,
                container_text(&container)
            )
        }));
    }
    lines
}

/// What is new in `after`, one line per element that changed.
pub(crate) fn events(before: Option<&Rollout>, after: &Rollout) -> Vec<String> {
    let old = before.map(nodes).unwrap_or_default();
    let new = nodes(after);
    let mut lines: Vec<String> = new
        .iter()
        .filter(|node| {
            !old.iter()
                .any(|was| was.id == node.id && was.text == node.text)
        })
        .map(|node| format!("{} {}", node.id, node.text).trim_end().to_owned())
        .collect();
    lines.extend(
        old.iter()
            .filter(|was| was.depth < 3 && !new.iter().any(|node| node.id == was.id))
            .map(|was| format!("{} gone", was.id)),
    );
    lines
}

fn nodes(rollout: &Rollout) -> Vec<Node> {
    let deployment = format!("Deployment {}", rollout.name);
    let mut nodes = vec![Node {
        id: deployment.clone(),
        label: deployment,
        text: format!(
            "{}/{} available, {} updated to revision {}",
            rollout.available, rollout.desired, rollout.updated, rollout.revision
        ),
        depth: 0,
    }];
    if let Some((message, _)) = &rollout.replica_failure {
        nodes[0]
            .text
            .push_str(&paint(style::DELETE, format!(" ReplicaFailure: {message}")));
    }
    if let Some(manager) = &rollout.paused {
        nodes[0].text.push_str(&paint(
            style::ATTENTION,
            format!(" paused by \"{manager}\""),
        ));
    }
    if rollout.deleting.is_some() {
        nodes[0]
            .text
            .push_str(&paint(style::DELETE, " being deleted"));
    }
    let newest = rollout.newest().map(|set| &set.name);
    for set in &rollout.replica_sets {
        let label = format!("ReplicaSet {}", set.name);
        nodes.push(Node {
            id: label.clone(),
            label,
            text: set_text(set, newest.map(|newest| *newest == set.name)),
            depth: 1,
        });
        for pod in &set.pods {
            let label = format!("Pod {}", pod.name);
            nodes.push(Node {
                id: label.clone(),
                label,
                text: pod_text(pod),
                depth: 2,
            });
            // A Pod that serves has nothing to say; the others show where they are.
            if !(pod.ready || pod.phase == "Terminating") {
                nodes.extend(pod.containers.iter().map(|container| {
                    let kind = if container.init { "init" } else { "container" };
                    let label = format!("{kind} {}", container.name);
                    Node {
                        id: format!("Pod {}, {label}:", pod.name),
                        label,
                        text: container_text(container),
                        depth: 3,
                    }
                }));
            }
        }
    }
    nodes
}

/// Until the controller has made the new set, nobody can say which one is old.
fn set_text(set: &ReplicaSetView, newest: Option<bool>) -> String {
    let label = match newest {
        Some(true) => paint(style::BOLD, "new") + ", ",
        Some(false) => paint(style::DIM, "old") + ", ",
        None => String::new(),
    };
    let image = set
        .image
        .as_ref()
        .map_or(String::new(), |image| format!(", {image}"));
    format!(
        "({label}revision {}) {}/{} ready{image}",
        set.revision, set.ready, set.desired
    )
}

fn pod_text(pod: &PodView) -> String {
    let mut text = if pod.ready && pod.phase == "Running" {
        paint(style::CREATE, "Ready")
    } else if let Some((message, _)) = &pod.unschedulable {
        let note = if pod.scaling_up {
            " (a node is being added)"
        } else {
            ""
        };
        paint(style::ATTENTION, format!("Unschedulable: {message}{note}"))
    } else if let Some((reason, message)) = &pod.ended {
        paint(style::DELETE, format!("{reason}: {message}"))
    } else if !pod.gates.is_empty() {
        format!("{}, held back by {}", pod.phase, pod.gates.join(", "))
    } else {
        pod.phase.clone()
    };
    if let Some(warning) = pod.warning.as_ref().filter(|_| !pod.ready) {
        text.push_str(&paint(style::UPDATE, format!("  {warning}")));
    }
    text
}

fn container_text(container: &ContainerView) -> String {
    let mut text = match &container.state {
        ContainerState::Waiting { reason, .. }
            if reason == "Pending"
                || reason == "PodInitializing"
                || reason == "ContainerCreating" =>
        {
            paint(style::DIM, reason)
        }
        ContainerState::Waiting {
            reason,
            message,
            last,
        } => {
            let colon = if message.is_empty() { "" } else { ": " };
            let exit = last
                .as_ref()
                .map_or(String::new(), |last| format!(" (last {})", last.text()));
            paint(style::DELETE, format!("{reason}{colon}{message}{exit}"))
        }
        ContainerState::Running { ready: true } => "Running, ready".to_owned(),
        ContainerState::Running { ready: false } if container.init => "Running".to_owned(),
        ContainerState::Running { ready: false } => "Running, not ready yet".to_owned(),
        ContainerState::Terminated(run) if run.exit == 0 => paint(style::DIM, "done"),
        ContainerState::Terminated(run) => paint(
            style::DELETE,
            format!("{}, exit code {}", run.reason, run.exit),
        ),
    };
    if container.restarts > 0 {
        let plural = if container.restarts == 1 { "" } else { "s" };
        text.extend([", ", &container.restarts.to_string(), " restart", plural]);
    }
    text
}
