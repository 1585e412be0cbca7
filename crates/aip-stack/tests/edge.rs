//! What people come in by: what its configuration needs, and the objects that follow.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

mod common;

use aip_stack::desired::{Desired, NameKey, objects};
use common::{config, stack};
use serde_json::Value;
use yaml_lossless::Tree;

const GATEWAY: &str = "edge: {kind: gateway, gateway: {name: public, namespace: infra, section: https, \
                       redirect_section: http}}\ntrusted_proxies: [10.0.0.0/8]";
const INGRESS: &str = "edge: {kind: ingress, ingress: {class: traefik}, annotations: \
                       {traefik.ingress.kubernetes.io/router.entrypoints: websecure}}\ntrusted_proxies: [10.0.0.0/8]";

fn build(profile: &str, more: &str) -> Vec<Desired> {
    let config = config(&stack(profile, more)).unwrap_or_else(|e| panic!("{e}"));
    objects(&config, &NameKey::public())
}

fn problems(more: &str) -> String {
    match config(&stack("restricted", more)) {
        Ok(_) => panic!("accepted:\n{more}"),
        Err(problems) => problems.to_string(),
    }
}

/// The objects of the edge as YAML, with one path of each form: the others follow from the endpoints.
fn edge(more: &str) -> String {
    let objects = build("restricted", more);
    let documents: Vec<_> = objects
        .iter()
        .filter(|object| {
            let object = object.object();
            ["HTTPRoute", "Ingress"].contains(&object.kind.as_str()) || object.name == "aip-edge"
        })
        .map(|object| {
            let mut manifest = object.manifest().clone();
            let rules = manifest
                .pointer_mut("/spec/rules")
                .and_then(Value::as_array_mut);
            for rule in rules.into_iter().flatten() {
                for list in ["/matches", "/http/paths"] {
                    if let Some(Value::Array(paths)) = rule.pointer_mut(list) {
                        paths.retain(|of| {
                            let path = of["path"]["value"].as_str().or(of["path"].as_str());
                            path.is_some_and(|path| ["/", "/static", "/xrpc"].contains(&path))
                        });
                    }
                }
            }
            Tree::from(manifest).to_yaml()
        })
        .collect();
    documents.join("---\n")
}

#[test]
fn a_gateway_gets_a_route_of_the_public_paths_and_a_redirect() {
    insta::assert_snapshot!(edge(GATEWAY));
}

#[test]
fn an_ingress_has_the_public_paths_of_one_host() {
    insta::assert_snapshot!(edge(INGRESS));
}

#[test]
fn there_is_one_way_in_and_it_leads_to_no_private_path() {
    for profile in ["compat", "restricted"] {
        for more in [GATEWAY, INGRESS] {
            let more = match profile {
                "compat" => format!("{more}\nextra_env: {{EXTERNAL_HOSTNAME: auth.example.com}}"),
                _ => more.to_owned(),
            };
            let objects = build(profile, &more);
            let all: Vec<&Value> = objects.iter().map(Desired::manifest).collect();
            assert!(
                !all.iter()
                    .any(|object| object["spec"]["type"] == "LoadBalancer"),
                "{profile}"
            );
            let routes = all.iter().filter(|object| {
                ["HTTPRoute", "Ingress"].contains(&object["kind"].as_str().unwrap())
                    && object["metadata"]["name"] == "aip"
            });
            let mut paths = Vec::new();
            for route in routes {
                let rules = route["spec"]["rules"].as_array().unwrap();
                for rule in rules {
                    let gateway = rule["matches"].as_array().into_iter().flatten();
                    paths.extend(gateway.map(|of| of["path"]["value"].as_str().unwrap()));
                    let ingress = rule["http"]["paths"].as_array().into_iter().flatten();
                    paths.extend(ingress.map(|of| of["path"].as_str().unwrap()));
                    let matches = rule["matches"].as_array().map_or(1, Vec::len);
                    assert!(
                        (1..=64).contains(&matches),
                        "no match is a match of everything"
                    );
                }
            }
            assert!(paths.contains(&"/xrpc") && paths.contains(&"/oauth/token"));
            for private in ["/internal", "/metrics", "/admin"] {
                assert!(
                    !paths.iter().any(|path| path.starts_with(private)),
                    "{paths:?}"
                );
            }
        }
    }
}

#[test]
fn what_a_route_refers_to_has_to_exist() {
    let objects = build("restricted", GATEWAY);
    let required: Vec<String> = objects
        .iter()
        .flat_map(Desired::requires)
        .map(|requirement| {
            let entry = requirement.entry.as_ref().unwrap();
            format!(
                "{} {} {}",
                requirement.object, entry.element_kind, entry.name
            )
        })
        .collect();
    assert_eq!(
        required,
        [
            "Gateway infra/public listener https",
            "Gateway infra/public listener http"
        ]
    );
    let objects = build("restricted", INGRESS);
    let mut required = objects.iter().flat_map(Desired::requires);
    assert_eq!(
        required.next().unwrap().object.to_string(),
        "IngressClass traefik"
    );
    let own = GATEWAY.replace("namespace: infra, ", "");
    let objects = build("restricted", &own);
    let mut required = objects.iter().flat_map(Desired::requires);
    assert_eq!(
        required.next().unwrap().object.to_string(),
        "Gateway aip-main/public"
    );
}

#[test]
fn what_an_edge_lacks_is_reported_at_once() {
    let said = problems("edge: {kind: gateway}");
    for words in [
        "aip_config.edge.gateway.name: is missing",
        "fix: aip-deploy config set --path aip_config.edge.gateway.name",
        "aip_config.edge.gateway.section: is missing: the name of the Gateway's HTTPS listener",
        "aip_config.trusted_proxies: is missing: the network of the gateway or ingress controller",
        "fix: aip-deploy config set --path 'aip_config.trusted_proxies[0]'",
    ] {
        assert!(said.contains(words), "{said}");
    }
    let said = problems("edge: {kind: ingress}\ntrusted_proxies: []");
    assert!(said.contains("aip_config.edge.ingress.class: is missing"));
    assert!(!said.contains("trusted_proxies"), "an empty list is a word");
}

#[test]
fn an_edge_that_could_not_work_is_refused() {
    for (more, words) in [
        (
            format!("{GATEWAY}\nservice: {{type: load_balancer}}"),
            "aip_config.service.type: conflicts with aip_config.edge.kind, which is gateway",
        ),
        (
            GATEWAY.replace("redirect_section: http}", "redirect_section: https}"),
            "aip_config.edge.gateway.redirect_section: is the listener of aip_config.edge.gateway.section",
        ),
        (
            GATEWAY.replace("name: public", "name: Public"),
            "aip_config.edge.gateway.name: is not a valid RFC 1123 subdomain",
        ),
        (
            GATEWAY.replace("namespace: infra", "namespace: in.fra"),
            "aip_config.edge.gateway.namespace: is not a valid RFC 1123 label",
        ),
        (
            INGRESS.replace("class: traefik", "class: my class"),
            "aip_config.edge.ingress.class: is not a valid RFC 1123 subdomain",
        ),
        (
            INGRESS.replace("kind: ingress", "kind: nginx"),
            "aip_config.edge.kind: must be load_balancer or gateway or ingress",
        ),
    ] {
        let said = problems(&more);
        assert!(said.contains(words), "{said}");
    }
    let by_address = stack("restricted", GATEWAY).replace("auth.example.com", "https://192.0.2.1");
    let Err(said) = config(&by_address) else {
        panic!("accepted an address")
    };
    assert!(
        said.to_string().contains(
            "EXTERNAL_HOSTNAME: is the address 192.0.2.1: a gateway or ingress leads to a host name"
        ),
        "{said}"
    );
}

#[test]
fn a_service_inside_the_cluster_goes_with_every_edge_and_unused_edges_are_reported() {
    let notices = |more: &str| {
        config(&stack("restricted", more))
            .unwrap_or_else(|e| panic!("{e}"))
            .notices
    };
    let told = |more: &str| {
        let all = notices(more);
        all.iter().any(|notice| notice.contains("is not used"))
    };
    assert!(!told(&format!("{GATEWAY}\nservice: {{type: cluster_ip}}")));
    assert!(told(&GATEWAY.replace("kind: gateway, ", "")));
    assert!(told(
        "edge: {kind: gateway, gateway: {name: a, section: b}, ingress: {class: c}}\ntrusted_proxies: []"
    ));
}
