//! Rollouts as the controllers and kubelets report them, with the verdict on each.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

mod rollout_objects;

use aip_apply::rollout::{Failure, Rollout, Verdict, judge, pod_view};
use k8s_openapi::api::core::v1::Event;
use k8s_openapi::jiff::Timestamp;
use rollout_objects::{deployment, midway, pod, ready, set, waiting};
use serde_json::json;

const NOW: &str = "2026-11-22T12:01:00Z";
const JUST_NOW: &str = "2026-11-22T12:00:59Z";
const LONG_AGO: &str = "2026-11-22T12:00:00Z";

fn now() -> Timestamp {
    NOW.parse().unwrap()
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
