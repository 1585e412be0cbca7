//! What people come in by: a Gateway that is there or not, one that refuses, an Ingress, and the move from
//! a load balancer to a Gateway.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cluster::{Balancer, ControlPlane, Gateway, Load, definitions, get_with};
use http::header::HOST;
use http::{HeaderValue, StatusCode};
use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::test_project::TestProject;

const HOST_NAME: &str = "auth.example.com";
const GATEWAY_API: &str = "gateway.networking.k8s.io";

/// Lines of a stack behind a Gateway in a namespace of its own.
fn behind(gateway: &str) -> String {
    format!(
        "trusted_proxies: [127.0.0.0/8]\nedge:\n  kind: gateway\n  gateway: {{name: {gateway}, namespace: {gateway}, \
         section: https, redirect_section: http}}"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_or_listener_that_does_not_exist_is_refused_before_anything_is_changed() {
    let project = TestProject::new("nogate").await;
    definitions::install(&project.client, definitions::GATEWAY_API).await;
    project.write("v1", &behind("nogate-edge"));
    for command in [&["preview"][..], &["up", "--yes"]] {
        project.run(command).await.exits(1).says(
            "refers to Gateway nogate-edge/nogate-edge, which does not exist: create it, or name another one: \
             aip-deploy config set --path aip_config.edge.gateway.name",
        );
    }
    let _gateway = Gateway::start(&project.client, "nogate-edge", None).await;
    project.edit("section: https,", "section: tls,");
    project.run(&["up", "--yes"]).await.exits(1).says(
        "refers to the listener `tls` of Gateway nogate-edge/nogate-edge, which does not exist (it has https, \
         http): aip-deploy config set --path aip_config.edge.gateway.section",
    );
    assert_eq!(project.versions().await, []);

    project.edit("section: tls,", "section: https,");
    project.run(&["preview"]).await.exits(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kind_that_the_cluster_does_not_know_is_refused_with_who_brings_it() {
    let project = TestProject::new("nokind").await;
    project.write("v1", "metrics: {pod_monitor: true}");
    let missing = "the cluster does not know the kind PodMonitor of monitoring.coreos.com/v1: install the \
                   Prometheus operator";
    project.run(&["preview"]).await.exits(1).says(missing);
    project.run(&["up", "--yes"]).await.exits(1).says(missing);
    assert_eq!(project.versions().await, []);

    // In a namespace that exists it is the API server who says so.
    project.write("v1", "");
    project.up().await.exits(0);
    let before = project.versions().await;
    project.write("v1", "metrics: {pod_monitor: true}");
    project.run(&["up", "--yes"]).await.exits(1).says(missing);
    assert_eq!(project.versions().await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_that_the_gateway_refuses_fails_the_rollout_with_the_reason() {
    let project = TestProject::new("refused").await;
    let _gateway = Gateway::start(&project.client, "refused-edge", Some("other.example.com")).await;
    project.write("v1", &behind("refused-edge"));
    project
        .up()
        .await
        .exits(4)
        .says("Gateway refused-edge/refused-edge, listener https: Accepted no, NoMatchingListenerHostname: no host name of the route is one of the listener");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ingress_is_waited_for_until_it_has_an_address() {
    let project = TestProject::new("ingress").await;
    project.write(
        "v1",
        "trusted_proxies: [127.0.0.0/8]\nedge: {kind: ingress, ingress: {class: traefik}}",
    );
    project
        .run(&["preview"])
        .await
        .exits(1)
        .says("refers to IngressClass traefik, which does not exist");
    let class = json!({"apiVersion": "networking.k8s.io/v1", "kind": "IngressClass", "metadata": {"name": "traefik"},
        "spec": {"controller": "traefik.io/ingress-controller"}});
    project
        .apply("networking.k8s.io", "IngressClass", class)
        .await;
    project
        .run(&["up", "--yes", "--timeout", "30"])
        .await
        .exits(9)
        .says("Ingress aip: Address not reported by the controller of the class traefik yet");

    let status = json!({"status": {"loadBalancer": {"ingress": [{"hostname": "lb.example.com"}]}}});
    project
        .api("networking.k8s.io", "Ingress")
        .patch_status("aip", &PatchParams::default(), &Patch::Merge(&status))
        .await
        .unwrap();
    project
        .run(&["rollout"])
        .await
        .exits(0)
        .says("Ingress aip is ready");
    project.up().await.exits(0);
    project
        .run(&["stack", "output", "address"])
        .await
        .exits(0)
        .says("lb.example.com");
    project.run(&["destroy", "--yes"]).await.exits(0);
    assert_eq!(project.names("networking.k8s.io", "Ingress").await, [""; 0]);
}

/// A stack behind a load balancer.
async fn behind_a_load_balancer(stack: &str) -> TestProject {
    let project = TestProject::new(stack).await;
    project.write(
        "v1",
        "ssl_cert_arn: arn:aws:acm:eu-central-1:123456789012:certificate/1",
    );
    project.edit(
        "service: {type: cluster_ip}",
        "service: {type: load_balancer}",
    );
    project.up().await.exits(0);
    project
}

/// Changes the stack file to a Gateway.
fn move_to(project: &TestProject, gateway: &str) {
    project.write("v1", &behind(gateway));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_new_edge_is_ready_before_the_old_one_goes() {
    let project = behind_a_load_balancer("order").await;
    let _gateway = Gateway::start(&project.client, "order-edge", None).await;
    let audit = ControlPlane::shared().await.audit();
    move_to(&project, "order-edge");
    project
        .up()
        .await
        .exits(0)
        .says("listener https: Accepted yes");
    let events = audit.events();
    let place = |verb: &str, resource: &str, subresource: &str, name: &str| {
        let found = events.iter().rposition(|event| {
            event.verb == verb
                && !event.is_dry_run()
                && event.object_ref.as_ref().is_some_and(|object| {
                    object.namespace == project.namespace()
                        && (object.resource.as_str(), object.subresource.as_str())
                            == (resource, subresource)
                        && object.name == name
                })
        });
        found.unwrap_or_else(|| panic!("nobody did {verb} {resource}/{name} {subresource}"))
    };
    let accepted = place("patch", "httproutes", "status", "aip");
    let redirects = place("patch", "httproutes", "status", "aip-redirect");
    let deleted = place("delete", "services", "", "aip-ingress");
    assert!(accepted < deleted && redirects < deleted);
    project
        .run(&["preview", "--expect-no-changes"])
        .await
        .exits(0);

    // And back: the Service is there before the routes go.
    project.write(
        "v1",
        "ssl_cert_arn: arn:aws:acm:eu-central-1:123456789012:certificate/1",
    );
    project.edit(
        "service: {type: cluster_ip}",
        "service: {type: load_balancer}",
    );
    project.up().await.exits(0);
    assert_eq!(project.names(GATEWAY_API, "HTTPRoute").await, [""; 0]);
    assert_eq!(
        project.names("", "Service").await,
        ["aip-headless", "aip-ingress"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_move_from_a_load_balancer_to_a_gateway_loses_no_request() {
    let project = behind_a_load_balancer("move").await;
    let balancer = Balancer::start(
        &project.client,
        &project.namespace(),
        "aip-ingress",
        "https",
    )
    .await;
    balancer.wait_for(2).await;
    let gateway = Gateway::start(&project.client, "move-edge", None).await;
    // Where the host name leads.
    let dns = Arc::new(Mutex::new(balancer.address()));
    let resolve = Arc::clone(&dns);
    let load = Load::start(4, Duration::from_millis(5), move || {
        let address = *resolve.lock().unwrap();
        async move {
            let answer = ask(address, "/").await?;
            match answer {
                StatusCode::OK => Ok(()),
                other => Err(format!("{other} at {address}")),
            }
        }
    });

    // The old way in stays until nobody comes by it any more.
    let services = project.api("", "Service");
    let marked =
        |mark: Option<&str>| json!({"metadata": {"annotations": {"aip-deploy/protect": mark}}});
    let merge = |patch| Patch::Merge(patch);
    let by_hand = PatchParams::default();
    services
        .patch("aip-ingress", &by_hand, &merge(marked(Some("true"))))
        .await
        .unwrap();
    move_to(&project, "move-edge");
    project.up().await.exits(0);
    balancer.wait_for(2).await;
    let before = load.tally().answered;
    *dns.lock().unwrap() = gateway.address("https");
    cluster::eventually("requests through the gateway", async || {
        match load.tally().answered {
            answered if answered > before + 100 => Ok(()),
            answered => Err(format!("{} of 100", answered - before)),
        }
    })
    .await;
    services
        .patch("aip-ingress", &by_hand, &merge(marked(None)))
        .await
        .unwrap();
    project.up().await.exits(0).says("deleted");
    assert_eq!(
        project.names("", "Service").await,
        ["aip-edge", "aip-headless"]
    );
    // The Pods roll behind the gateway, too.
    project.push("v2", crate::test_project::server());
    project.edit(&project.image("v1"), &project.image("v2"));
    project.up().await.exits(0);
    load.stop().await.assert_nothing_lost();

    let host = [(HOST, HeaderValue::from_static(HOST_NAME))];
    let path = "/oauth/authorize?client_id=a";
    let redirected = get_with(gateway.address("http"), path, &host)
        .await
        .unwrap();
    assert_eq!(redirected.status(), StatusCode::MOVED_PERMANENTLY);
    assert_eq!(
        redirected.headers()["location"],
        "https://auth.example.com/oauth/authorize?client_id=a"
    );
    // What the Pods answer and no route names is not to be had from outside.
    for private in ["/ready", "/healthy", "/variable?name=LISTEN"] {
        let answer = ask(gateway.address("https"), private).await.unwrap();
        assert_eq!(answer, StatusCode::NOT_FOUND, "{private}");
    }
}

async fn ask(address: SocketAddr, path: &str) -> Result<StatusCode, String> {
    let host = [(HOST, HeaderValue::from_static(HOST_NAME))];
    let answer = get_with(address, path, &host).await?;
    Ok(answer.status())
}
