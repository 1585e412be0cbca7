//! Everything that can hold a Pod back, for a Deployment and for a Job: what is judged at once, what
//! after a grace, and what the last line of a time-out would say.

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Event, Pod};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::model::JobView;
use super::*;

const IMAGE: &str = "registry.example/aip:v1";
/// When everything in the objects happened.
const THEN: &str = "2026-11-22T12:00:00Z";

/// What a verdict is after so many seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum After {
    /// It fails at once.
    Now,
    /// It is waited for, and fails when this many seconds have passed.
    Seconds(i64),
    /// It is waited for until the time limit.
    Never,
}

/// One cause: the Pod's status, an event about it, the verdict, and words of it.
struct Cause {
    name: &'static str,
    /// The Pod's `spec` besides its container.
    spec: Value,
    /// None: there is no Pod.
    status: Option<Value>,
    /// About the Pod, or about its owner if there is no Pod.
    event: Option<(&'static str, &'static str, &'static str)>,
    after: After,
    says: &'static str,
}

fn seconds(seconds: i64) -> Timestamp {
    let then: Timestamp = THEN.parse().unwrap();
    then.checked_add(SignedDuration::from_secs(seconds))
        .unwrap()
}

#[allow(
    clippy::unnecessary_wraps,
    reason = "the status of a cause without a Pod is none"
)]
fn waiting(reason: &str, message: &str, restarts: i32, last: &Value) -> Option<Value> {
    Some(
        json!({"phase": "Pending", "startTime": THEN, "containerStatuses": [{
            "name": "aip", "image": IMAGE, "imageID": "", "ready": false, "restartCount": restarts,
            "state": {"waiting": {"reason": reason, "message": message}}, "lastState": last,
        }]}),
    )
}

#[allow(
    clippy::unnecessary_wraps,
    reason = "the status of a cause without a Pod is none"
)]
fn unscheduled(reason: &str) -> Option<Value> {
    Some(
        json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False",
        "reason": reason, "message": "0/3 nodes are available", "lastTransitionTime": THEN}]}),
    )
}

fn pulling(cause: &str) -> Option<Value> {
    let message = format!("Back-off pulling image \"{IMAGE}\": ErrImagePull: {cause}");
    waiting("ImagePullBackOff", &message, 0, &json!({}))
}

#[allow(clippy::too_many_lines, reason = "a table, one row per cause")]
fn causes() -> Vec<Cause> {
    let cause = |name, status, event, after, says| Cause {
        name,
        spec: json!({}),
        status,
        event,
        after,
        says,
    };
    let plain = |name, status, after, says| cause(name, status, None, after, says);
    let none = json!({});
    let killed = json!({"terminated": {"exitCode": 137, "reason": "OOMKilled"}});
    let crashed = json!({"terminated": {"exitCode": 3, "reason": "Error"}});
    vec![
        // --- the image ---
        plain(
            "manifest unknown",
            pulling("manifest unknown"),
            After::Now,
            "manifest unknown",
        ),
        plain(
            "not found",
            pulling("registry.example/aip:v1: not found"),
            After::Now,
            "not found",
        ),
        plain(
            "denied",
            pulling("requested access to the resource is denied"),
            After::Now,
            "denied",
        ),
        plain(
            "unauthorized",
            pulling("401 Unauthorized"),
            After::Now,
            "Unauthorized",
        ),
        plain(
            "too many requests",
            pulling("429 Too Many Requests"),
            After::Seconds(120),
            "429",
        ),
        plain(
            "registry down",
            pulling("503 Service Unavailable"),
            After::Seconds(120),
            "503",
        ),
        plain(
            "registry slow",
            pulling("dial tcp: i/o timeout"),
            After::Seconds(120),
            "timeout",
        ),
        plain(
            "registry hangs up",
            pulling("unexpected EOF"),
            After::Seconds(120),
            "EOF",
        ),
        plain(
            "unknown pull failure",
            pulling("no space left on device"),
            After::Seconds(45),
            "no space",
        ),
        plain(
            "first pull failure",
            waiting("ErrImagePull", "manifest unknown", 0, &none),
            After::Never,
            "manifest unknown",
        ),
        cause(
            "old kubelet, permanent",
            waiting(
                "ImagePullBackOff",
                "Back-off pulling image \"registry.example/aip:v1\"",
                0,
                &none,
            ),
            Some((
                "Warning",
                "Failed",
                "Failed to pull image \"registry.example/aip:v1\": manifest unknown",
            )),
            After::Now,
            "manifest unknown",
        ),
        cause(
            "old kubelet, transient",
            waiting(
                "ImagePullBackOff",
                "Back-off pulling image \"registry.example/aip:v1\"",
                0,
                &none,
            ),
            Some((
                "Warning",
                "Failed",
                "Failed to pull image \"registry.example/aip:v1\": toomanyrequests: slow down",
            )),
            After::Seconds(120),
            "toomanyrequests",
        ),
        plain(
            "invalid name",
            waiting("InvalidImageName", "couldn't parse image name", 0, &none),
            After::Now,
            "InvalidImageName",
        ),
        plain(
            "never pulled",
            waiting(
                "ErrImageNeverPull",
                "not present with pull policy of Never",
                0,
                &none,
            ),
            After::Now,
            "ErrImageNeverPull",
        ),
        // --- the place ---
        plain(
            "no place",
            unscheduled("Unschedulable"),
            After::Seconds(30),
            "0/3 nodes",
        ),
        cause(
            "Cluster Autoscaler adds a node",
            unscheduled("Unschedulable"),
            Some((
                "Normal",
                "TriggeredScaleUp",
                "pod triggered scale-up: [{a 1->2 (max: 3)}]",
            )),
            After::Never,
            "0/3 nodes",
        ),
        cause(
            "Karpenter adds a node",
            unscheduled("Unschedulable"),
            Some((
                "Normal",
                "Nominated",
                "Pod should schedule on: nodeclaim/default-x",
            )),
            After::Never,
            "0/3 nodes",
        ),
        cause(
            "somebody says that no node is coming",
            unscheduled("Unschedulable"),
            Some(("Normal", "NotTriggerScaleUp", "pod didn't trigger scale-up")),
            After::Seconds(30),
            "0/3 nodes",
        ),
        plain(
            "another Pod is evicted for it",
            unscheduled("Unschedulable").map(|mut status| {
                status["nominatedNodeName"] = "node-1".into();
                status
            }),
            After::Never,
            "0/3 nodes",
        ),
        Cause {
            spec: json!({"schedulingGates": [{"name": "example.com/quota"}]}),
            ..plain(
                "gated",
                unscheduled("SchedulingGated"),
                After::Never,
                "scheduling gate example.com/quota",
            )
        },
        // --- the container ---
        plain(
            "missing Secret",
            waiting(
                "CreateContainerConfigError",
                "secret \"a\" not found",
                0,
                &none,
            ),
            After::Now,
            "secret \"a\" not found",
        ),
        plain(
            "slow kubelet",
            waiting(
                "CreateContainerConfigError",
                "failed to sync secret cache: timed out waiting for the condition",
                0,
                &none,
            ),
            After::Seconds(60),
            "timed out waiting",
        ),
        plain(
            "slow runtime",
            waiting(
                "CreateContainerError",
                "context deadline exceeded",
                0,
                &none,
            ),
            After::Seconds(60),
            "deadline exceeded",
        ),
        plain(
            "crashing",
            waiting("CrashLoopBackOff", "back-off 10s", 2, &crashed),
            After::Now,
            "exit code 3, 2 restarts",
        ),
        plain(
            "crashed once",
            waiting("CrashLoopBackOff", "back-off 10s", 1, &crashed),
            After::Never,
            "exit code 3",
        ),
        plain(
            "out of memory",
            waiting("CrashLoopBackOff", "back-off 10s", 2, &killed),
            After::Now,
            "OOMKilled, exit code 137, 2 restarts",
        ),
        cause(
            "no volume",
            waiting("ContainerCreating", "", 0, &none),
            Some((
                "Warning",
                "FailedMount",
                "MountVolume.SetUp failed for volume \"keys\"",
            )),
            After::Never,
            "FailedMount: MountVolume.SetUp failed",
        ),
        // --- the owner may not make a Pod ---
        cause(
            "quota",
            None,
            Some((
                "Warning",
                "FailedCreate",
                "Error creating: pods \"x\" is forbidden: exceeded quota: none",
            )),
            After::Seconds(10),
            "exceeded quota",
        ),
        cause(
            "Pod Security",
            None,
            Some((
                "Warning",
                "FailedCreate",
                "Error creating: pods \"x\" is forbidden: violates PodSecurity",
            )),
            After::Now,
            "violates PodSecurity",
        ),
        cause(
            "policy",
            None,
            Some((
                "Warning",
                "FailedCreate",
                "Error creating: admission webhook \"p\" denied the request: no",
            )),
            After::Now,
            "denied the request",
        ),
        cause(
            "webhook down",
            None,
            Some((
                "Warning",
                "FailedCreate",
                "Error creating: Internal error occurred: failed calling webhook \"p\"",
            )),
            After::Seconds(30),
            "failed calling webhook",
        ),
        cause(
            "missing account",
            None,
            Some((
                "Warning",
                "FailedCreate",
                "Error creating: pods \"x\" is forbidden: error looking up service account",
            )),
            After::Seconds(10),
            "service account",
        ),
    ]
}

fn events(cause: &Cause) -> Vec<Event> {
    let about = if cause.status.is_some() {
        "pod"
    } else {
        "owner"
    };
    let event = |(kind, reason, message): (&str, &str, &str)| {
        serde_json::from_value(json!({"metadata": {}, "involvedObject": {"uid": about},
            "type": kind, "reason": reason, "message": message, "firstTimestamp": THEN, "lastTimestamp": THEN}))
        .unwrap()
    };
    cause.event.map(event).into_iter().collect()
}

fn pods(cause: &Cause, owner: &str) -> Vec<Pod> {
    let pod = |status: &Value| {
        let mut spec = cause.spec.clone();
        spec["containers"] = json!([{"name": "aip", "image": IMAGE}]);
        serde_json::from_value(json!({
            "metadata": {"name": "aip-1", "uid": "pod", "creationTimestamp": THEN, "ownerReferences": [
                {"apiVersion": "v1", "kind": "K", "name": "o", "uid": owner, "controller": true}]},
            "spec": spec, "status": status,
        }))
        .unwrap()
    };
    cause.status.iter().map(pod).collect()
}

/// The verdict on a Deployment with one Pod of the new revision.
fn of_deployment(cause: &Cause, now: Timestamp) -> Verdict {
    // A ReplicaSet's controller writes events; a Deployment's says the same in a condition.
    let conditions = match (&cause.status, cause.event) {
        (None, Some((_, _, message))) => json!([{"type": "ReplicaFailure", "status": "True",
            "reason": "FailedCreate", "message": message, "lastTransitionTime": THEN}]),
        _ => json!([]),
    };
    let deployment: Deployment = serde_json::from_value(json!({
        "metadata": {"name": "aip", "uid": "d", "generation": 2,
                     "annotations": {"deployment.kubernetes.io/revision": "2"}},
        "spec": {"replicas": 1, "selector": {}, "template": {}},
        "status": {"observedGeneration": 2, "replicas": 1, "updatedReplicas": 1, "conditions": conditions},
    }))
    .unwrap();
    let set: ReplicaSet = serde_json::from_value(json!({
        "metadata": {"name": "aip-new", "uid": "set", "annotations": {"deployment.kubernetes.io/revision": "2"},
                     "ownerReferences": [{"apiVersion": "v1", "kind": "K", "name": "aip", "uid": "d", "controller": true}]},
        "spec": {"replicas": 1, "selector": {}},
    }))
    .unwrap();
    let rollout = Rollout::read(&deployment, &[set], &pods(cause, "set"), &events(cause));
    judge(&rollout, now)
}

/// The verdict on a Job with that Pod.
fn of_job(cause: &Cause, now: Timestamp) -> Verdict {
    let job: Job =
        serde_json::from_value(json!({"metadata": {"name": "m", "uid": "owner"}})).unwrap();
    judge_job(
        &JobView::read(&job, &pods(cause, "owner"), &events(cause)),
        now,
    )
}

#[test]
fn every_cause_is_judged_alike_for_a_deployment_and_a_job() {
    for cause in causes() {
        for (kind, judged) in [
            (
                "Deployment",
                of_deployment as fn(&Cause, Timestamp) -> Verdict,
            ),
            ("Job", of_job),
        ] {
            let at = |seconds_passed| judged(&cause, seconds(seconds_passed));
            let (waits, fails) = match cause.after {
                After::Now => (None, Some(0)),
                After::Seconds(grace) => (Some(grace - 1), Some(grace)),
                After::Never => (Some(100_000), None),
            };
            if let Some(passed) = waits {
                let Verdict::Waiting(pending) = at(passed) else {
                    panic!("{kind}, {}: no patience: {:?}", cause.name, at(passed));
                };
                // The last line of a time-out.
                let said = pending.to_string();
                assert!(said.contains(cause.says), "{kind}, {}: {said}", cause.name);
            }
            if let Some(passed) = fails {
                let Verdict::Failed(failure) = at(passed) else {
                    panic!("{kind}, {}: waits: {:?}", cause.name, at(passed));
                };
                let said = failure.to_string();
                assert!(said.contains(cause.says), "{kind}, {}: {said}", cause.name);
            }
        }
    }
}

#[test]
fn a_paused_deployment_and_a_suspended_job_name_who_did_it() {
    let managed = |field: &str| {
        json!([{"manager": "kubectl-rollout", "operation": "Update", "apiVersion": "apps/v1",
                "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": {field: {}}}}])
    };
    let deployment: Deployment = serde_json::from_value(json!({
        "metadata": {"name": "aip", "uid": "d", "generation": 2, "managedFields": managed("f:paused")},
        "spec": {"replicas": 1, "paused": true, "selector": {}, "template": {}},
        "status": {"observedGeneration": 2, "replicas": 1, "updatedReplicas": 0, "availableReplicas": 1},
    }))
    .unwrap();
    let rollout = Rollout::read(&deployment, &[], &[], &[]);
    let Verdict::Failed(failure) = judge(&rollout, seconds(0)) else {
        panic!("it is waited for");
    };
    assert!(
        failure.message.contains("\"kubectl-rollout\" paused"),
        "{failure}"
    );

    let job: Job = serde_json::from_value(json!({
        "metadata": {"name": "m", "uid": "j", "managedFields": managed("f:suspend")},
        "spec": {"suspend": true, "template": {}},
        "status": {"conditions": [{"type": "Suspended", "status": "True", "lastTransitionTime": THEN}]},
    }))
    .unwrap();
    let view = JobView::read(&job, &[], &[]);
    // A queue may hold a Job for a moment.
    let Verdict::Waiting(pending) = judge_job(&view, seconds(29)) else {
        panic!("no patience");
    };
    assert!(pending.to_string().contains("kubectl-rollout"), "{pending}");
    let Verdict::Failed(failure) = judge_job(&view, seconds(30)) else {
        panic!("it is waited for");
    };
    assert!(
        failure.message.contains("\"kubectl-rollout\" suspended"),
        "{failure}"
    );
}

#[test]
fn an_object_that_is_being_deleted_is_never_done() {
    let metadata = json!({"name": "aip", "uid": "d", "generation": 1, "deletionTimestamp": THEN,
                          "finalizers": ["example.com/hold"]});
    let deployment: Deployment = serde_json::from_value(json!({
        "metadata": metadata, "spec": {"replicas": 1, "selector": {}, "template": {}},
        "status": {"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "availableReplicas": 1},
    }))
    .unwrap();
    let job: Job = serde_json::from_value(json!({"metadata": metadata})).unwrap();
    for verdict in [
        judge(&Rollout::read(&deployment, &[], &[], &[]), seconds(0)),
        judge_job(&JobView::read(&job, &[], &[]), seconds(0)),
    ] {
        let Verdict::Failed(failure) = verdict else {
            panic!("{verdict:?}");
        };
        assert!(failure.message.contains("example.com/hold"), "{failure}");
    }
}

#[test]
fn a_job_that_failed_says_how_its_last_pod_ended() {
    let job: Job = serde_json::from_value(json!({
        "metadata": {"name": "m", "uid": "owner"},
        "status": {"conditions": [{"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded",
                                   "message": "Job has reached the specified backoff limit"}]},
    }))
    .unwrap();
    let of = |status: Value| {
        let cause = Cause {
            name: "",
            spec: json!({}),
            status: Some(status),
            event: None,
            after: After::Now,
            says: "",
        };
        match judge_job(
            &JobView::read(&job, &pods(&cause, "owner"), &[]),
            seconds(0),
        ) {
            Verdict::Failed(failure) => failure.to_string(),
            other => panic!("{other:?}"),
        }
    };
    let ended = |reason: &str, code: i32| {
        json!({"phase": "Failed", "containerStatuses": [{"name": "aip", "image": "", "imageID": "",
            "ready": false, "restartCount": 0, "state": {"terminated": {"exitCode": code, "reason": reason}}}]})
    };
    assert_eq!(
        of(ended("OOMKilled", 137)),
        "Pod aip-1, container aip: BackoffLimitExceeded: OOMKilled, exit code 137"
    );
    assert_eq!(
        of(ended("Error", 7)),
        "Pod aip-1, container aip: BackoffLimitExceeded: exit code 7"
    );
    let evicted = json!({"phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: memory."});
    assert_eq!(
        of(evicted),
        "Pod aip-1: BackoffLimitExceeded: Evicted: The node was low on resource: memory."
    );
}

#[test]
fn a_time_out_repeats_what_the_probe_said() {
    let cause = Cause {
        name: "",
        spec: json!({}),
        status: Some(
            json!({"phase": "Running", "startTime": THEN, "containerStatuses": [{
            "name": "aip", "image": IMAGE, "imageID": "", "ready": false, "restartCount": 0,
            "state": {"running": {"startedAt": THEN}}}]}),
        ),
        event: Some((
            "Warning",
            "Unhealthy",
            "Readiness probe failed: HTTP probe failed with statuscode: 503",
        )),
        after: After::Never,
        says: "",
    };
    let Verdict::Waiting(pending) = of_deployment(&cause, seconds(500)) else {
        panic!("it is judged");
    };
    assert_eq!(
        pending.to_string(),
        "0 of 1 updated replicas are available; Pod aip-1, container aip: not ready: Unhealthy: Readiness \
         probe failed: HTTP probe failed with statuscode: 503"
    );
    let lagging = pending.lagging.unwrap();
    assert_eq!(
        lagging.container.as_deref(),
        Some("aip"),
        "its log is shown"
    );
}

#[test]
fn a_readiness_gate_that_is_not_open_is_named() {
    let cause = Cause {
        name: "",
        spec: json!({"readinessGates": [{"conditionType": "target-health.example/tg"}]}),
        status: Some(json!({"phase": "Running", "conditions": [
            {"type": "ContainersReady", "status": "True"}, {"type": "Ready", "status": "False"}]})),
        event: None,
        after: After::Never,
        says: "",
    };
    let Verdict::Waiting(pending) = of_deployment(&cause, seconds(500)) else {
        panic!("it is judged");
    };
    assert!(
        pending
            .to_string()
            .contains("held back: readiness gate target-health.example/tg"),
        "{pending}"
    );
}
