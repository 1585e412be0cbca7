//! Faults appear in the states, reasons and messages of the real components, and pass when mended.

use cluster::Image;
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;

use crate::test_namespace::{
    TestNamespace, condition, container, is_ready, phase, pod, tiny_server, waiting,
};

#[tokio::test]
async fn an_image_that_cannot_be_pulled_is_backed_off_until_it_is_there() {
    let ns = TestNamespace::create("image").await;
    let missing = ns.reference("2");
    ns.apply(pod("web", json!({"image": missing}))).await;
    ns.pod_that("web", |pod| waiting(pod).0 == "ErrImagePull")
        .await;
    let stuck = ns
        .pod_that("web", |pod| waiting(pod).0 == "ImagePullBackOff")
        .await;
    assert_eq!(phase(&stuck), "Pending");
    assert!(
        waiting(&stuck)
            .1
            .contains(&format!("Back-off pulling image \"{missing}\""))
    );
    ns.event("web", "Failed", "not found").await;

    ns.push("2", tiny_server());
    ns.ready_pod("web").await;
}

#[tokio::test]
async fn a_program_that_crashes_is_restarted_ever_more_slowly() {
    let ns = TestNamespace::create("crash").await;
    let image = ns.push("1", Image::crashing(3, "no database"));
    ns.apply(pod(
        "web",
        json!({"image": image, "terminationMessagePolicy": "FallbackToLogsOnError"}),
    ))
    .await;
    let crashed = ns
        .pod_that("web", |pod| {
            waiting(pod).0 == "CrashLoopBackOff" && container(pod).restart_count >= 2
        })
        .await;
    assert_eq!(phase(&crashed), "Running");
    assert!(!is_ready(&crashed));
    let last = container(&crashed).last_state.unwrap().terminated.unwrap();
    assert_eq!((last.exit_code, last.reason.as_deref()), (3, Some("Error")));
    assert_eq!(last.message.as_deref(), Some("no database\n"));
    assert_eq!(ns.logs("web", false).await, "no database\n");
    assert_eq!(ns.logs("web", true).await, "no database\n");
    let message = "Back-off restarting failed container web in pod web_";
    ns.event("web", "BackOff", message).await;
}

#[tokio::test]
async fn a_program_that_is_not_there_cannot_be_started() {
    let ns = TestNamespace::create("start").await;
    let image = ns.push("1", Image::program("/nonexistent/program"));
    ns.apply(pod("web", json!({"image": image}))).await;
    let failed = ns
        .pod_that("web", |pod| waiting(pod).0 == "CrashLoopBackOff")
        .await;
    let last = container(&failed).last_state.unwrap().terminated.unwrap();
    assert_eq!(
        (last.exit_code, last.reason.as_deref()),
        (128, Some("StartError"))
    );
}

#[tokio::test]
async fn a_pod_that_never_gets_ready_runs() {
    let ns = TestNamespace::create("unready").await;
    let image = ns.push("1", tiny_server().never_ready());
    let probe = json!({"httpGet": {"path": "/ready", "port": 8080}, "periodSeconds": 1});
    ns.apply(pod("web", json!({"image": image, "readinessProbe": probe})))
        .await;
    let message = "Readiness probe failed: HTTP probe failed with statuscode: 503";
    ns.event("web", "Unhealthy", message).await;
    let unready = ns.pod_that("web", |pod| phase(pod) == "Running").await;
    assert_eq!(condition(&unready, "Ready").0, "False");
    assert_eq!(condition(&unready, "Ready").1, "ContainersNotReady");
    assert!(container(&unready).state.unwrap().running.is_some());
}

#[tokio::test]
async fn a_pod_that_fits_nowhere_is_unschedulable() {
    let ns = TestNamespace::create("nowhere").await;
    let image = ns.push("1", tiny_server());
    let huge = json!({"image": image, "resources": {"requests": {"cpu": "1000"}}});
    ns.apply(pod("web", huge)).await;
    let unscheduled = |pod: &Pod| condition(pod, "PodScheduled").1 == "Unschedulable";
    let stuck = ns.pod_that("web", unscheduled).await;
    assert_eq!(phase(&stuck), "Pending");
    let message = "0/1 nodes are available: 1 Insufficient cpu.";
    assert_eq!(condition(&stuck, "PodScheduled").2, message);
    ns.event("web", "FailedScheduling", message).await;
}

#[tokio::test]
async fn a_variable_from_a_missing_secret_is_a_config_error_until_the_secret_is_there() {
    let ns = TestNamespace::create("config").await;
    let image = ns.push("1", tiny_server());
    let reference = json!({"secretKeyRef": {"name": "login", "key": "word"}});
    let env = json!([{"name": "WORD", "valueFrom": reference}]);
    ns.apply(pod("web", json!({"image": image, "env": env})))
        .await;
    let stuck = ns
        .pod_that("web", |pod| waiting(pod).0 == "CreateContainerConfigError")
        .await;
    assert_eq!(waiting(&stuck).1, "secret \"login\" not found");

    ns.secret("login", json!({"name": "aip"})).await;
    let expected = format!("couldn't find key word in Secret {}/login", ns.namespace);
    ns.pod_that("web", |pod| waiting(pod).1 == expected).await;

    ns.secret("login", json!({"word": "open sesame"})).await;
    let pod = ns.ready_pod("web").await;
    assert_eq!(ns.ask(&pod, "/variable?name=WORD").await, "open sesame");
}

#[tokio::test]
async fn a_volume_from_a_missing_secret_keeps_the_container_from_being_made() {
    let ns = TestNamespace::create("mount").await;
    let image = ns.push("1", tiny_server());
    let mut object = pod(
        "web",
        json!({"image": image, "volumeMounts": [{"name": "keys", "mountPath": "/keys"}]}),
    );
    object["spec"]["volumes"] = json!([{"name": "keys", "secret": {"secretName": "keys"}}]);
    ns.apply(object).await;
    let message = "MountVolume.SetUp failed for volume \"keys\" : secret \"keys\" not found";
    ns.event("web", "FailedMount", message).await;
    let stuck = ns.pod_that("web", |_| true).await;
    assert_eq!(waiting(&stuck).0, "ContainerCreating");

    ns.secret("keys", json!({"a": "1"})).await;
    ns.ready_pod("web").await;
}

#[tokio::test]
async fn a_container_that_falls_ill_is_restarted() {
    let ns = TestNamespace::create("ill").await;
    let image = ns.push("1", tiny_server());
    let probe = |failures| {
        let action = json!({"path": "/healthy", "port": 8080});
        json!({"httpGet": action, "periodSeconds": 1, "failureThreshold": failures})
    };
    let probes = json!({
        "image": image, "startupProbe": probe(10), "livenessProbe": probe(1),
    });
    ns.apply(pod("web", probes)).await;
    let ready = ns.ready_pod("web").await;
    ns.ask(&ready, "/fall-ill").await;
    ns.pod_that("web", |pod| {
        is_ready(pod) && container(pod).restart_count == 1
    })
    .await;
    let message = "Container web failed liveness probe, will be restarted";
    ns.event("web", "Killing", message).await;
}
