//! The real `aip` in Pods: migrated, probed, rolled and drained.

use std::time::Duration;

use cluster::{Balancer, Image, Load, aip_image, get_with};
use http::HeaderValue;
use http::header::HOST;
use kube::ResourceExt as _;
use serde_json::{Value, json};

use crate::test_namespace::{PORT, TestNamespace, is_ready};

const ORIGIN: &str = "aip.example";

/// The image as it is released; what makes Pods of one machine differ is added.
fn image() -> Image {
    aip_image()
        .listens("HTTP_PORT", "AIP_LISTEN")
        .variable("AIP_INTERNAL_LISTEN", "0.0.0.0:9090")
}

fn deployment(image: &str) -> Value {
    let variable = |name: &str, value: &str| json!({"name": name, "value": value});
    let container = |name: &str, arguments: Value| {
        json!({
            "name": name, "image": image, "args": arguments,
            "env": [
                variable("HTTP_PORT", &PORT.to_string()),
                variable("EXTERNAL_BASE", &format!("https://{ORIGIN}")),
                variable("DATABASE_URL", "sqlite:///data/aip.db"),
                variable("AIP_DATA_DIR", "/data"),
            ],
            "volumeMounts": [{"name": "data", "mountPath": "/data"}],
        })
    };
    let probe = |path: &str| json!({"httpGet": {"path": path, "port": PORT}, "periodSeconds": 1});
    let mut server = container("aip", json!([]));
    server["ports"] = json!([{"name": "http", "containerPort": PORT}]);
    server["startupProbe"] = probe("/internal/ready");
    server["startupProbe"]["failureThreshold"] = json!(30);
    server["readinessProbe"] = probe("/internal/ready");
    server["livenessProbe"] = probe("/internal/alive");
    server["lifecycle"] = json!({"preStop": {"sleep": {"seconds": 1}}});
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "aip"},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": {"app": "aip"}},
            "strategy": {"rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
            "template": {"metadata": {"labels": {"app": "aip"}}, "spec": {
                "enableServiceLinks": false,
                "terminationGracePeriodSeconds": 10,
                "initContainers": [container("migrate", json!(["migrate"]))],
                "containers": [server],
                "volumes": [{"name": "data", "emptyDir": {}}],
            }},
        },
    })
}

#[tokio::test]
async fn aip_is_migrated_rolled_and_drained_without_a_lost_request() {
    let ns = TestNamespace::create("aip").await;
    let [first, second] = ["1", "2"].map(|tag| ns.push(tag, image()));
    ns.apply(json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "aip"},
        "spec": {"selector": {"app": "aip"}, "ports": [{"port": 80, "targetPort": "http"}]},
    }))
    .await;
    ns.apply(deployment(&first)).await;
    ns.rolled_out("aip", 2).await;

    let balancer = Balancer::start(&ns.client, &ns.namespace, "aip", "").await;
    balancer.wait_for(2).await;
    let address = balancer.address();
    let load = Load::start(4, Duration::from_millis(20), move || async move {
        let host = [(HOST, HeaderValue::from_static(ORIGIN))];
        let path = "/.well-known/oauth-authorization-server";
        let answer = get_with(address, path, &host).await?;
        let document: Value = serde_json::from_slice(answer.body()).unwrap_or_default();
        if document["issuer"] == format!("https://{ORIGIN}") {
            Ok(())
        } else {
            Err(format!("{answer:?}"))
        }
    });

    ns.apply(deployment(&second)).await;
    ns.rolled_out("aip", 2).await;
    ns.left(2).await;
    load.stop().await.assert_nothing_lost();

    for pod in ns.pods().await {
        assert!(is_ready(&pod));
        assert!(ns.logs(&pod.name_any(), false).await.contains("serving"));
    }
}
