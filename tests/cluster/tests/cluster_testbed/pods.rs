//! What a process in a Pod is given, and how it is stopped.

use std::time::Duration;

use cluster::{Image, eventually};
use futures_util::{AsyncBufReadExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::Pod;
use kube::api::LogParams;
use serde_json::json;
use tokio::time::Instant;

use crate::test_namespace::{TestNamespace, container, phase, pod, tiny_server, waits};

#[tokio::test]
async fn variables_come_from_fields_secrets_config_maps_and_services() {
    let ns = TestNamespace::create("variables").await;
    let image = ns.push("1", tiny_server());
    ns.secret("login", json!({"password": "open sesame"})).await;
    ns.apply(json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"},
        "data": {"COLOUR": "red", "SHAPE": "round"},
    }))
    .await;
    ns.apply(json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "db"},
        "spec": {"ports": [{"port": 80}], "selector": {"app": "db"}},
    }))
    .await;
    let secret = |key: &str| json!({"secretKeyRef": {"name": "login", "key": key}});
    let setting = |key: &str| json!({"configMapKeyRef": {"name": "settings", "key": key}});
    let mut none = secret("none");
    none["secretKeyRef"]["optional"] = true.into();
    ns.apply(pod(
        "web",
        json!({
            "image": image,
            "envFrom": [{"prefix": "MY_", "configMapRef": {"name": "settings"}}],
            "env": [
                {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                {"name": "PASSWORD", "valueFrom": secret("password")},
                {"name": "SHAPE", "valueFrom": setting("SHAPE")},
                {"name": "NONE", "valueFrom": none},
                {"name": "DSN", "value": "pg://$(NAME):$(PASSWORD)@db"},
            ],
        }),
    ))
    .await;
    let pod = ns.ready_pod("web").await;
    for (name, value) in [
        ("NAME", "web"),
        ("DSN", "pg://web:open sesame@db"),
        ("MY_COLOUR", "red"),
        ("SHAPE", "round"),
        ("NONE", ""),
        ("HOSTNAME", "web"),
        ("DB_SERVICE_PORT", "80"),
        ("CARGO_PKG_NAME", ""),
    ] {
        let path = format!("/variable?name={name}");
        assert_eq!(ns.ask(&pod, &path).await, value, "{name}");
    }
}

#[tokio::test]
async fn init_containers_run_in_order_and_leave_files_in_shared_volumes() {
    let ns = TestNamespace::create("init").await;
    let image = ns.push("1", tiny_server());
    let shell = ns.push("shell", Image::program("sh"));
    ns.secret("keys", json!({"key.json": "{}"})).await;
    let init = |name: &str, script: &str| {
        json!({
            "name": name, "image": shell, "command": ["/bin/sh", "-c", script],
            "volumeMounts": [
                {"name": "data", "mountPath": "/data"}, {"name": "keys", "mountPath": "/keys"},
            ],
        })
    };
    let mut object = pod(
        "web",
        json!({
            "image": image,
            "volumeMounts": [{"name": "data", "mountPath": "/var/lib/web"}],
            "env": [{"name": "FILE", "value": "/var/lib/web/order"}],
        }),
    );
    object["spec"]["volumes"] = json!([
        {"name": "data", "emptyDir": {}}, {"name": "keys", "secret": {"secretName": "keys"}},
    ]);
    object["spec"]["initContainers"] = json!([
        init("first", "echo first >> /data/order"),
        init(
            "second",
            "echo second >> /data/order; cat /keys/key.json >> /data/order"
        ),
    ]);
    ns.apply(object).await;
    let pod = ns.ready_pod("web").await;
    assert_eq!(ns.ask(&pod, "/file?in=FILE").await, "first\nsecond\n{}");
    let statuses = pod.status.unwrap().init_container_statuses.unwrap();
    assert!(
        statuses
            .iter()
            .all(|status| status.ready && status.restart_count == 0)
    );
}

#[tokio::test]
async fn an_init_container_that_fails_holds_the_others_back() {
    let ns = TestNamespace::create("init-fails").await;
    let image = ns.push("1", tiny_server());
    let crashing = ns.push("crash", Image::crashing(1, "cannot migrate"));
    let mut object = pod("web", json!({"image": image}));
    object["spec"]["initContainers"] = json!([{"name": "migrate", "image": crashing}]);
    ns.apply(object).await;
    let init = |pod: &Pod| {
        let statuses = pod
            .status
            .as_ref()
            .and_then(|status| status.init_container_statuses.clone());
        statuses
            .unwrap_or_default()
            .into_iter()
            .next()
            .unwrap_or_default()
    };
    let stuck = ns
        .pod_that("web", |pod| waits(&init(pod)).0 == "CrashLoopBackOff")
        .await;
    assert_eq!(phase(&stuck), "Pending");
    assert_eq!(waits(&container(&stuck)).0, "PodInitializing");
}

#[tokio::test]
async fn a_followed_log_ends_with_the_container() {
    let ns = TestNamespace::create("follow").await;
    let shell = ns.push("1", Image::program("sh"));
    let mut object = pod(
        "web",
        json!({"image": shell, "args": ["-c", "echo one; sleep 1; echo two"]}),
    );
    object["spec"]["restartPolicy"] = "Never".into();
    ns.apply(object).await;
    ns.pod_that("web", |pod| phase(pod) != "Pending").await;
    let params = LogParams {
        follow: true,
        ..LogParams::default()
    };
    let log = ns.api::<Pod>().log_stream("web", &params).await.unwrap();
    let mut lines = log.lines();
    assert_eq!(lines.try_next().await.unwrap().as_deref(), Some("one"));
    assert_eq!(lines.try_next().await.unwrap().as_deref(), Some("two"));
    assert_eq!(lines.try_next().await.unwrap(), None);
    ns.pod_that("web", |pod| phase(pod) == "Succeeded").await;
}

#[tokio::test]
async fn a_process_that_ignores_sigterm_is_killed_after_its_grace() {
    let ns = TestNamespace::create("stubborn").await;
    let shell = ns.push("1", Image::program("sh"));
    let script = "trap '' TERM; echo ready; while :; do sleep 0.1; done";
    let mut object = pod("web", json!({"image": shell, "args": ["-c", script]}));
    object["spec"]["terminationGracePeriodSeconds"] = 2.into();
    ns.apply(object).await;
    ns.ready_pod("web").await;
    let begun = Instant::now();
    ns.delete("web").await;
    assert!(begun.elapsed() >= Duration::from_secs(2));
}

#[tokio::test]
async fn a_deleted_pod_is_asked_to_stop_once_and_does_not_start_again() {
    let ns = TestNamespace::create("once").await;
    let shell = ns.push("1", Image::program("sh"));
    let folder = tempfile::tempdir().unwrap();
    let diary = folder.path().join("diary");
    let script = r#"
        say() { echo "$1" >> "$DIARY"; }
        trap 'say stop; exit 0' TERM
        say start
        while :; do sleep 0.1; done
    "#;
    let hook = json!({"exec": {"command": ["sh", "-c", r#"echo hook >> "$DIARY""#]}});
    let container = json!({
        "image": shell, "args": ["-c", script], "lifecycle": {"preStop": hook},
        "env": [{"name": "DIARY", "value": diary}],
    });
    ns.apply(pod("web", container)).await;
    let read = || std::fs::read_to_string(&diary).unwrap_or_default();
    let written = async |text: &str| match read() {
        diary if diary == text => Ok(()),
        other => Err(other),
    };
    eventually("it starts", async || written("start\n").await).await;
    ns.delete("web").await;
    assert_eq!(read(), "start\nhook\nstop\n");
}
