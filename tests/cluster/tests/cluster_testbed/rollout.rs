//! A Deployment is rolled out and replaced under load, as `aip` will be.

use std::time::Duration;

use cluster::{Balancer, Load, eventually, get};
use k8s_openapi::api::core::v1::Pod;
use kube::api::DeleteParams;
use serde_json::{Value, json};

use crate::test_namespace::{PORT, TestNamespace, address, is_ready, tiny_server};

fn deployment(image: &str) -> Value {
    let probe = |path: &str| json!({"httpGet": {"path": path, "port": "http"}, "periodSeconds": 1});
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
                        "startupProbe": probe("/healthy"),
                        "readinessProbe": probe("/ready"),
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
        "spec": {
            "selector": {"app": "web"},
            "ports": [{"name": "http", "port": 80, "targetPort": "http"}],
        },
    })
}

#[tokio::test]
async fn a_rolling_update_under_load_loses_no_request() {
    let ns = TestNamespace::create("rollout").await;
    let image = |greeting| {
        tiny_server()
            .variable("GREETING", greeting)
            .variable("READY_AFTER_MS", "300")
    };
    let first = ns.push("1", image("one"));
    let second = ns.push("2", image("two"));
    ns.apply(service()).await;
    ns.apply(deployment(&first)).await;
    ns.rolled_out("web", 3).await;

    let balancer = Balancer::start(&ns.client, &ns.namespace, "web", "http").await;
    balancer.wait_for(3).await;
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

    ns.apply(deployment(&second)).await;
    ns.rolled_out("web", 3).await;
    let answer = get(address, "/").await.unwrap();
    assert_eq!(answer.body().as_ref(), b"two");
    ns.left(3).await;
    for load in loads {
        load.stop().await.assert_nothing_lost();
    }
    assert!(ns.pods().await.iter().all(is_ready));
}

#[tokio::test]
async fn a_pod_that_is_deleted_is_no_endpoint_while_it_still_answers() {
    let ns = TestNamespace::create("drain").await;
    let image = ns.push("1", tiny_server().variable("GREETING", "hello"));
    let mut spec = deployment(&image)["spec"]["template"]["spec"].clone();
    spec["containers"][0]["lifecycle"] = json!({"preStop": {"sleep": {"seconds": 3}}});
    ns.apply(service()).await;
    ns.apply(json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "web", "labels": {"app": "web"}}, "spec": spec,
    }))
    .await;
    let pod = ns.ready_pod("web").await;
    let balancer = Balancer::start(&ns.client, &ns.namespace, "web", "http").await;
    balancer.wait_for(1).await;

    let pods = ns.api::<Pod>();
    pods.delete("web", &DeleteParams::default()).await.unwrap();
    balancer.wait_for(0).await;
    assert_eq!(ns.ask(&pod, "/").await, "hello");
    let own = (address(&pod), PORT).into();
    eventually("the process has ended", async || {
        match get(own, "/").await {
            Err(_) => Ok(()),
            Ok(_) => Err("it answers"),
        }
    })
    .await;
}
