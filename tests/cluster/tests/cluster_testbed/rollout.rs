//! A Deployment is rolled out and replaced under load, as `aip` will be.

use std::time::Duration;

use cluster::{Balancer, Load, eventually, get};
use k8s_openapi::api::apps::v1::Deployment;
use kube::ResourceExt as _;
use serde_json::{Value, json};

use crate::stage::{PORT, Stage, is_ready, pods_that, tiny_server};

fn deployment(image: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {
            "replicas": 3,
            "selector": {"matchLabels": {"app": "web"}},
            "strategy": {"rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {
                    "terminationGracePeriodSeconds": 10,
                    "containers": [{
                        "name": "web",
                        "image": image,
                        "ports": [{"name": "http", "containerPort": PORT}],
                        "startupProbe": {"httpGet": {"path": "/healthy", "port": "http"}, "periodSeconds": 1},
                        "readinessProbe": {"httpGet": {"path": "/ready", "port": "http"}, "periodSeconds": 1},
                        "livenessProbe": {"tcpSocket": {"port": "http"}, "periodSeconds": 1},
                        "lifecycle": {"preStop": {"sleep": {"seconds": 1}}},
                    }],
                },
            },
        },
    })
}

fn service() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
        "spec": {"selector": {"app": "web"}, "ports": [{"name": "http", "port": 80, "targetPort": "http"}]},
    })
}

/// `kubectl rollout status`'s rule.
async fn rolled_out(stage: &Stage) {
    let deployments = stage.api::<Deployment>();
    eventually("the roll-out", async || {
        let deployment = deployments
            .get("web")
            .await
            .map_err(|error| error.to_string())?;
        let status = deployment.status.clone().unwrap_or_default();
        let counts = [
            status.replicas,
            status.updated_replicas,
            status.available_replicas,
        ];
        let seen = status.observed_generation >= deployment.metadata.generation;
        if seen && counts == [Some(3); 3] {
            Ok(())
        } else {
            Err(format!("{status:#?}"))
        }
    })
    .await;
}

#[tokio::test]
async fn a_rolling_update_under_load_loses_no_request() {
    let stage = Stage::set("rollout").await;
    let image = |greeting| {
        tiny_server()
            .variable("GREETING", greeting)
            .variable("READY_AFTER_MS", "300")
    };
    let first = stage.push("1", image("one"));
    let second = stage.push("2", image("two"));
    stage.apply(service()).await;
    stage.apply(deployment(&first)).await;
    rolled_out(&stage).await;

    let balancer = Balancer::start(&stage.client, &stage.namespace, "web", "http").await;
    eventually("three endpoints", async || {
        match balancer.endpoints().len() {
            3 => Ok(()),
            other => Err(other),
        }
    })
    .await;
    let address = balancer.address();
    let ask = |path: &'static str, right: fn(&[u8]) -> bool| {
        move || async move {
            let answer = get(address, path).await?;
            let good = answer.status().is_success() && right(answer.body());
            if good {
                Ok(())
            } else {
                Err(format!("{answer:?}"))
            }
        }
    };
    let quick = ask("/", |body| [&b"one"[..], b"two"].contains(&body));
    let slow = ask("/slow", |body| body == b"at last");
    let loads = [
        Load::start(4, Duration::from_millis(10), quick),
        Load::start(4, Duration::from_millis(10), slow),
    ];

    stage.apply(deployment(&second)).await;
    rolled_out(&stage).await;
    let answer = get(address, "/").await.unwrap();
    assert_eq!(answer.body().as_ref(), b"two");
    pods_that(&stage, "the old Pods are gone", |pods| match pods.len() {
        3 => Ok(()),
        other => Err(other.to_string()),
    })
    .await;
    for load in loads {
        load.stop().await.assert_nothing_lost();
    }
    assert!(stage.pods().await.iter().all(is_ready));
}

#[tokio::test]
async fn a_pod_that_is_deleted_is_no_endpoint_while_it_still_answers() {
    let stage = Stage::set("drain").await;
    let image = stage.push("1", tiny_server().variable("GREETING", "hello"));
    let mut deployment = deployment(&image);
    deployment["spec"]["replicas"] = json!(1);
    deployment["spec"]["template"]["spec"]["containers"][0]["lifecycle"] =
        json!({"preStop": {"sleep": {"seconds": 3}}});
    stage.apply(service()).await;
    stage.apply(deployment).await;
    let pod = pods_that(&stage, "one ready Pod", |pods| match pods {
        [pod] if is_ready(pod) => Ok(pod.clone()),
        _ => Err(format!("{} Pods", pods.len())),
    })
    .await;
    let balancer = Balancer::start(&stage.client, &stage.namespace, "web", "http").await;
    let own = (crate::stage::address(&pod), PORT).into();
    let listed = async |wanted: bool| match balancer.endpoints().contains(&own) {
        found if found == wanted => Ok(()),
        _ => Err("not yet"),
    };
    eventually("the Pod is an endpoint", async || listed(true).await).await;

    let pods = stage.api::<k8s_openapi::api::core::v1::Pod>();
    pods.delete(&pod.name_any(), &kube::api::DeleteParams::default())
        .await
        .unwrap();
    eventually("the Pod is no endpoint", async || listed(false).await).await;
    assert_eq!(stage.ask(&pod, "/").await, "hello");
    eventually("the process has ended", async || {
        match get(own, "/").await {
            Err(_) => Ok(()),
            Ok(_) => Err("it answers"),
        }
    })
    .await;
}
