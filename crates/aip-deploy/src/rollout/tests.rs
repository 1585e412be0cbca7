//! Rollouts as the controllers and kubelets report them, with what is said of each.

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::{Event, Pod};
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use crate::ui::style::plain;

use super::*;

const NOW: &str = "2026-11-22T12:01:00Z";
const JUST_NOW: &str = "2026-11-22T12:00:59Z";
const LONG_AGO: &str = "2026-11-22T12:00:00Z";

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

fn owned_by(uid: &str) -> Value {
    json!([{"apiVersion": "v1", "kind": "K", "name": "o", "uid": uid, "controller": true}])
}

/// A Deployment of three replicas at revision 2, of which the status says this.
fn deployment(status: &Value) -> Deployment {
    serde_json::from_value(json!({
        "metadata": {"name": "aip", "uid": "d", "generation": 2,
                     "annotations": {"deployment.kubernetes.io/revision": "2"}},
        "spec": {"replicas": 3, "selector": {}, "template": {}},
        "status": status,
    }))
    .unwrap()
}

fn set(name: &str, revision: &str, desired: i32, ready: i32) -> ReplicaSet {
    serde_json::from_value(json!({
        "metadata": {"name": name, "uid": name, "ownerReferences": owned_by("d"),
                     "annotations": {"deployment.kubernetes.io/revision": revision}},
        "spec": {"replicas": desired, "selector": {}},
        "status": {"replicas": desired, "readyReplicas": ready},
    }))
    .unwrap()
}

fn pod(set: &str, name: &str, status: &Value) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": name, "uid": name, "ownerReferences": owned_by(set)},
        "spec": {"initContainers": [{"name": "migrate"}], "containers": [{"name": "aip"}]},
        "status": status,
    }))
    .unwrap()
}

fn ready() -> Value {
    json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]})
}

/// A Pod whose container waits for `reason` after so many restarts.
fn waiting(list: &str, name: &str, reason: &str, restarts: i32) -> Value {
    json!({"phase": "Pending", list: [{
        "name": name, "image": "i", "imageID": "", "ready": false, "restartCount": restarts,
        "state": {"waiting": {"reason": reason, "message": "Back-off pulling image \"i\": not found"}},
        "lastState": {"terminated": {"exitCode": 3}},
    }]})
}

/// One old Pod that serves, one new Pod with this status.
fn midway(status: &Value) -> Rollout {
    Rollout::read(
        &deployment(
            &json!({"observedGeneration": 2, "replicas": 4, "updatedReplicas": 1, "availableReplicas": 3}),
        ),
        &[
            set("aip-new", "2", 1, 0),
            set("aip-old", "1", 3, 3),
            set("aip-gone", "0", 0, 0),
        ],
        &[
            pod("aip-old", "aip-old-1", &ready()),
            pod("aip-new", "aip-new-1", status),
            pod("other", "x", status),
        ],
        &[],
    )
}

fn failure_of(rollout: &Rollout) -> Option<Failure> {
    match judge(rollout, now()) {
        Verdict::Failed(failure) => Some(failure),
        Verdict::Done | Verdict::Waiting(_) => None,
    }
}

fn complete(observed: i64) -> Rollout {
    let status = json!({"observedGeneration": observed, "replicas": 3, "updatedReplicas": 3, "availableReplicas": 3,
        "conditions": [{"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable"}]});
    Rollout::read(&deployment(&status), &[set("aip-new", "2", 3, 3)], &[], &[])
}

#[test]
fn a_rollout_is_done_when_every_replica_is_new_and_serves() {
    assert_eq!(judge(&complete(2), now()), Verdict::Done);
}

#[test]
fn a_status_of_the_generation_before_proves_nothing() {
    assert!(matches!(judge(&complete(1), now()), Verdict::Waiting(_)));
}

#[test]
fn an_image_that_cannot_be_pulled_ends_the_wait_at_once_and_is_named() {
    let rollout = midway(&waiting("containerStatuses", "aip", "ImagePullBackOff", 0));
    let failure = failure_of(&rollout).unwrap();
    assert_eq!(
        failure.to_string(),
        "Pod aip-new-1, container aip: ImagePullBackOff: Back-off pulling image \"i\": not found"
    );
}

#[test]
fn an_init_container_that_fails_is_the_reason_and_not_the_pod_that_waits_for_it() {
    let rollout = midway(&waiting(
        "initContainerStatuses",
        "migrate",
        "CrashLoopBackOff",
        1,
    ));
    let failure = failure_of(&rollout).unwrap();
    assert_eq!(failure.container.as_deref(), Some("migrate"));
    assert_eq!(failure.message, "exit code 3, 1 restarts");
}

#[test]
fn one_fall_is_forgiven_and_the_second_is_not() {
    let crashing = |restarts| {
        midway(&waiting(
            "containerStatuses",
            "aip",
            "CrashLoopBackOff",
            restarts,
        ))
    };
    assert_eq!(failure_of(&crashing(1)), None);
    assert!(failure_of(&crashing(2)).is_some());
}

#[test]
fn pods_of_the_old_revision_do_not_fail_the_new_one() {
    let mut rollout = midway(&waiting("containerStatuses", "aip", "ImagePullBackOff", 0));
    rollout.revision = 3;
    assert_eq!(failure_of(&rollout), None);
}

#[test]
fn a_pod_without_a_place_fails_after_a_grace_unless_a_node_is_on_its_way() {
    let unschedulable = |since: &str| {
        midway(
            &json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False",
            "reason": "Unschedulable", "message": "0/1 nodes", "lastTransitionTime": since}]}),
        )
    };
    assert_eq!(failure_of(&unschedulable(JUST_NOW)), None);
    let mut stuck = unschedulable(LONG_AGO);
    assert_eq!(failure_of(&stuck).unwrap().reason, "Unschedulable");
    stuck.replica_sets[0].pods[0].scaling_up = true;
    assert_eq!(failure_of(&stuck), None);
}

#[test]
fn a_refusal_by_pod_security_is_final_at_once_and_a_quota_may_be_freed() {
    let refused = |message: &str| {
        let status = json!({"observedGeneration": 2, "conditions": [{"type": "ReplicaFailure",
            "status": "True", "message": message, "lastTransitionTime": JUST_NOW}]});
        Rollout::read(&deployment(&status), &[], &[], &[])
    };
    assert!(failure_of(&refused("pods \"x\" is forbidden: violates PodSecurity")).is_some());
    assert_eq!(failure_of(&refused("exceeded quota")), None);
}

#[test]
fn the_controllers_deadline_is_the_last_word() {
    let status = json!({"observedGeneration": 2, "updatedReplicas": 1, "conditions": [
        {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "message": "too long"}]});
    let rollout = Rollout::read(&deployment(&status), &[], &[], &[]);
    assert_eq!(
        failure_of(&rollout).unwrap().to_string(),
        "ProgressDeadlineExceeded: too long"
    );
}

#[test]
fn the_tree_shows_the_way_down_to_the_container_that_fails() {
    let mut rollout = midway(&waiting("containerStatuses", "aip", "ImagePullBackOff", 0));
    rollout.replica_sets[0].pods[0].containers[0].state =
        pod_view::ContainerState::Terminated(pod_view::LastRun {
            exit: 0,
            reason: "Completed".to_owned(),
        });
    insta::assert_snapshot!(plain(&render::tree(&rollout).join("\n")));
}

#[test]
fn no_set_is_old_before_the_new_one_is_made() {
    let mut rollout = midway(&json!({"phase": "Pending"}));
    rollout.generation = 3;
    let tree = plain(&render::tree(&rollout).join("\n"));
    assert!(!tree.contains("(old") && !tree.contains("(new"), "{tree}");
    rollout.observed_generation = 3;
    let tree = plain(&render::tree(&rollout).join("\n"));
    assert!(
        tree.contains("(new, revision 2)") && tree.contains("(old, revision 1)"),
        "{tree}"
    );
}

#[test]
fn a_pipe_gets_a_line_for_what_changed_and_nothing_twice() {
    let before = midway(&json!({"phase": "Pending"}));
    assert_eq!(render::events(Some(&before), &before), Vec::<String>::new());
    let mut after = midway(&ready());
    after.replica_sets[1].pods.clear();
    after.available = 4;
    insta::assert_snapshot!(plain(&render::events(Some(&before), &after).join("\n")));
}

#[test]
fn the_newest_warning_event_of_a_pod_is_kept() {
    let event = |reason: &str, uid: &str, time: &str| -> Event {
        serde_json::from_value(
            json!({"metadata": {}, "involvedObject": {"uid": uid}, "reason": reason,
            "message": "m", "type": "Warning", "lastTimestamp": time}),
        )
        .unwrap()
    };
    let events = [
        event("Newer", "p", JUST_NOW),
        event("Older", "p", LONG_AGO),
        event("Other", "q", NOW),
    ];
    let view = pod_view::PodView::read(&pod("s", "p", &ready()), &events);
    assert_eq!(view.warning.as_deref(), Some("Newer: m"));
}
