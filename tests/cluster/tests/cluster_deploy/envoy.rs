//! What `aip-deploy` renders for a Gateway, as Envoy Gateway reads it: its own translator says what it
//! accepts, and to which paths Envoy would lead.

use std::collections::BTreeSet;
use std::process::Stdio;

use cluster::{envoy_gateway_program, workspace_program};
use rcgen::{CertificateParams, KeyPair};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use yaml_lossless::Document;

use crate::endpoints::{endpoint_paths, public_paths};

const HOST: &str = "auth.example.org";
const ROUTES: &str = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration";

/// What `aip-deploy render` prints that concerns a Gateway, for a stack with the Gateway `infra/public`.
async fn rendered() -> Vec<Value> {
    let folder = TempDir::new().unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new([HOST.to_owned()]).unwrap();
    let certificate = certificate.self_signed(&key).unwrap();
    let stack = json!({"config": {"aip:k8s_context": "envoy", "aip:aip_config": {
        "profile": "restricted",
        "image_repo": "registry.example.org/aip",
        "image_tag": "v1",
        "signing_keys_json_string": r#"{"keys":[{"kid":"k1","kty":"EC","crv":"P-256","x":"x","y":"y","d":"d"}]}"#,
        "required_env": {"DATABASE_URL": "postgresql://db.example.org/aip", "ACTIVE_SIGNING_KEYS": "k1"},
        "extra_env": {
            "EXTERNAL_HOSTNAME": HOST,
            "AIP_MASTER_KEYS": r#"{"primary":"m","keys":[{"kid":"m","key":"k"}],"token_pepper":"p"}"#,
        },
        "trusted_proxies": ["10.0.0.0/8"],
        "edge": {"kind": "gateway", "gateway": {"name": "public", "namespace": "infra", "section": "https",
            "redirect_section": "http"}},
        "certificate": {"kind": "files", "chain": certificate.pem(), "key": key.serialize_pem()},
    }}});
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("Pulumi.yaml", "name: aip\nruntime: python\n");
    write("Pulumi.envoy.yaml", &stack.to_string());
    std::fs::create_dir(folder.path().join("state")).unwrap();
    let output = Command::new(workspace_program("aip-deploy"))
        .args(["--stack", "envoy", "--non-interactive", "render"])
        .args(["--secrets", "include"])
        .current_dir(folder.path())
        .env_clear()
        .env("HOME", folder.path())
        .env(
            "PULUMI_BACKEND_URL",
            format!("file://{}", folder.path().join("state").display()),
        )
        .env("PULUMI_CONFIG_PASSPHRASE", "passphrase")
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let text = String::from_utf8(output.stdout).unwrap();
    let texts = text.split("---\n").filter(|text| !text.trim().is_empty());
    let objects = texts.map(|text| Value::from(&Document::parse(text).unwrap().root().to_tree()));
    objects.filter(concerns_a_gateway).collect()
}

fn concerns_a_gateway(object: &Value) -> bool {
    let is = |kind: &str| object["kind"] == kind;
    is("HTTPRoute")
        || is("ReferenceGrant")
        || is("Service") && object["spec"]["type"] == "ClusterIP"
        || is("Secret") && object["metadata"]["name"] == "aip-tls"
}

/// What a cluster has besides: the Gateway, with the certificate of the stack, and addresses of Services.
fn in_a_cluster(mut objects: Vec<Value>) -> Vec<Value> {
    for object in &mut objects {
        if object["kind"] == "Service" && object["spec"]["clusterIP"].is_null() {
            object["spec"]["clusterIP"] = "10.96.0.10".into();
        }
    }
    let from_all = json!({"namespaces": {"from": "All"}});
    let certificate = json!({"kind": "Secret", "name": "aip-tls", "namespace": "aip-envoy"});
    objects.extend([
        json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "GatewayClass", "metadata": {"name": "envoy"},
            "spec": {"controllerName": "gateway.envoyproxy.io/gatewayclass-controller"}}),
        json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
            "metadata": {"name": "public", "namespace": "infra"},
            "spec": {"gatewayClassName": "envoy", "listeners": [
                {"name": "https", "port": 443, "protocol": "HTTPS", "allowedRoutes": from_all,
                    "tls": {"mode": "Terminate", "certificateRefs": [certificate]}},
                {"name": "http", "port": 80, "protocol": "HTTP", "allowedRoutes": from_all},
            ]}}),
    ]);
    objects
}

async fn translate(objects: &[Value]) -> Value {
    let texts: Vec<String> = objects.iter().map(Value::to_string).collect();
    let mut child = Command::new(envoy_gateway_program())
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let text = texts.join("\n---\n");
    input.write_all(text.as_bytes()).await.unwrap();
    drop(input);
    let output = child.wait_with_output().await.unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{text}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// `Accepted=True Accepted` for each condition of a route at its only parent; none if nobody answers for it.
fn conditions(translated: &Value, route: &str) -> Vec<String> {
    let mut routes = translated["httpRoutes"].as_array().into_iter().flatten();
    let found = routes.find(|one| one["metadata"]["name"] == route);
    let parents = found.and_then(|found| found["status"]["parents"].as_array());
    let conditions = parents
        .into_iter()
        .flatten()
        .flat_map(|parent| parent["conditions"].as_array().unwrap());
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let mut said: Vec<String> = conditions
        .map(|it| {
            let (kind, status) = (text(&it["type"]), text(&it["status"]));
            format!("{kind}={status} {}", text(&it["reason"]))
        })
        .collect();
    said.sort();
    said
}

/// The only element that fits.
fn only(of: &Value, fits: impl Fn(&Value) -> bool) -> &Value {
    let found: Vec<&Value> = of
        .as_array()
        .into_iter()
        .flatten()
        .filter(|it| fits(it))
        .collect();
    let [found] = found[..] else {
        panic!("{} of them: {of:#}", found.len())
    };
    found
}

/// The routes of the virtual host of [`HOST`] at the listener of that name.
fn routes<'a>(translated: &'a Value, listener: &str) -> &'a [Value] {
    let all = &translated["xds"]["infra/public"][ROUTES];
    let table = only(all, |table| {
        let name = table["name"].as_str().unwrap();
        name.ends_with(&format!("/{listener}"))
    });
    let host = only(&table["virtualHosts"], |_| true);
    assert!(
        host["domains"].as_array().unwrap().contains(&json!(HOST)),
        "{host:#}"
    );
    host["routes"].as_array().unwrap()
}

/// Kind of match, path, and time-out; Envoy writes a prefix that ends at a `/` with its own field.
fn match_of(route: &Value) -> (bool, String, String) {
    let fields = route["match"].as_object().unwrap();
    assert_eq!(fields.len(), 1, "nothing else decides: {route:#}");
    let (is_prefix, path) = match (fields.get("path"), fields.get("pathSeparatedPrefix")) {
        (Some(path), None) => (false, path),
        (None, Some(prefix)) => (true, prefix),
        _ => panic!("{route:#}"),
    };
    let action = &route["route"];
    assert!(action["cluster"].is_string(), "{route:#}");
    let timeout = action["timeout"].as_str().unwrap_or_default().to_owned();
    (is_prefix, path.as_str().unwrap().to_owned(), timeout)
}

#[tokio::test]
async fn envoy_gateway_accepts_the_routes_and_leads_to_the_public_paths_alone() {
    let translated = translate(&in_a_cluster(rendered().await)).await;
    for route in ["aip", "aip-redirect"] {
        assert_eq!(
            conditions(&translated, route),
            ["Accepted=True Accepted", "ResolvedRefs=True ResolvedRefs"],
            "{route}"
        );
    }
    // The Secret is in the namespace of the stack: the ReferenceGrant opens it to the Gateway.
    let gateway = &translated["gateways"][0]["status"]["listeners"];
    let https = only(gateway, |listener| listener["name"] == "https");
    let resolved = only(&https["conditions"], |it| it["type"] == "ResolvedRefs");
    assert_eq!(resolved["status"], "True", "{resolved}");
    assert_eq!(https["attachedRoutes"], 1);
    let leads: BTreeSet<(bool, String, String)> =
        routes(&translated, "https").iter().map(match_of).collect();
    let public = public_paths();
    let expected = public.iter().map(|public| {
        let timeout = if public.streams { "0s" } else { "180s" };
        (public.is_prefix, public.path.to_owned(), timeout.to_owned())
    });
    assert_eq!(leads, expected.collect::<BTreeSet<_>>());

    // What Envoy's matches mean, for every endpoint that there is, and for paths that look like one.
    let is_reached = |path: &str| {
        leads.iter().any(|(is_prefix, public, _)| {
            let below = path.strip_prefix(public.as_str());
            path == public || *is_prefix && below.is_some_and(|below| below.starts_with('/'))
        })
    };
    let endpoints = endpoint_paths();
    let (reached, private): (Vec<&String>, Vec<&String>) =
        endpoints.iter().partition(|path| is_reached(path));
    assert!(reached.len() >= public.len(), "{reached:?}");
    assert!(
        private.iter().any(|path| *path == "/internal/ready"),
        "{private:?}"
    );
    for path in [
        "/metrics",
        "/admin",
        "/oauth/tokens",
        "/staticx",
        "/xrpcs/a",
    ] {
        assert!(!is_reached(path), "{path}");
    }

    let [redirect] = routes(&translated, "http") else {
        panic!("not one route at port 80")
    };
    assert_eq!(redirect["match"], json!({"prefix": "/"}));
    assert_eq!(
        redirect["redirect"]["schemeRedirect"], "https",
        "{redirect:#}"
    );
}

#[tokio::test]
async fn envoy_gateway_names_what_a_route_lacks() {
    const ROUTE: (&str, &str) = ("HTTPRoute", "aip");
    const SERVICE: (&str, &str) = ("Service", "aip-edge");
    const GATEWAY: (&str, &str) = ("Gateway", "public");
    let objects = in_a_cluster(rendered().await);
    let changed = |(kind, name): (&str, &str), change: &dyn Fn(&mut Value)| {
        let mut objects = objects.clone();
        let mut all = objects.iter_mut();
        let one = all.find(|it| it["kind"] == kind && it["metadata"]["name"] == name);
        change(one.unwrap());
        objects
    };
    let parent = "/spec/parentRefs/0";
    let set = |object: &mut Value, pointer: &str, value: Value| {
        *object.pointer_mut(pointer).unwrap() = value;
    };
    for (what, objects, expected) in [
        (
            // Nobody answers for it: `aip-deploy` asks whether there is such a Gateway before anything else.
            "a Gateway that does not exist",
            changed(ROUTE, &|it| set(it, &format!("{parent}/name"), json!("x"))),
            &[][..],
        ),
        (
            "a listener that does not exist",
            changed(ROUTE, &|it| {
                set(it, &format!("{parent}/sectionName"), json!("x"));
            }),
            &[
                "Accepted=False NoMatchingParent",
                "ResolvedRefs=True ResolvedRefs",
            ],
        ),
        (
            "a listener that takes no routes of other namespaces",
            changed(GATEWAY, &|it| {
                set(
                    it,
                    "/spec/listeners/0/allowedRoutes/namespaces/from",
                    json!("Same"),
                );
            }),
            &[
                "Accepted=False NotAllowedByListeners",
                "ResolvedRefs=True ResolvedRefs",
            ],
        ),
        (
            "a listener for another host",
            changed(GATEWAY, &|it| {
                it["spec"]["listeners"][0]["hostname"] = json!("x.example.org");
            }),
            &[
                "Accepted=False NoMatchingListenerHostname",
                "ResolvedRefs=True ResolvedRefs",
            ],
        ),
        (
            "a Service that does not exist",
            changed(SERVICE, &|it| set(it, "/metadata/name", json!("other"))),
            &[
                "Accepted=True Accepted",
                "ResolvedRefs=False BackendNotFound",
            ],
        ),
    ] {
        let translated = translate(&objects).await;
        assert_eq!(conditions(&translated, "aip"), expected, "{what}");
    }

    // Without the permission of its namespace, the Gateway has no certificate.
    let without_grant: Vec<Value> = objects
        .iter()
        .filter(|object| object["kind"] != "ReferenceGrant")
        .cloned()
        .collect();
    assert_eq!(without_grant.len(), objects.len() - 1);
    let translated = translate(&without_grant).await;
    let listeners = &translated["gateways"][0]["status"]["listeners"];
    let https = only(listeners, |listener| listener["name"] == "https");
    let resolved = only(&https["conditions"], |it| it["type"] == "ResolvedRefs");
    assert_eq!(resolved["status"], "False", "{resolved}");
    assert_eq!(resolved["reason"], "RefNotPermitted", "{resolved}");
}
