//! The objects of both profiles, as golden files, and the original program as the judge of one.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

mod common;

use std::collections::BTreeMap;

use aip_stack::desired::{Desired, MOVE_JOB, NameKey, Phase, REKEY_JOB, doctor_job, objects};
use common::{config, stack};
use serde_json::Value;
use yaml_lossless::Tree;

fn build(text: &str) -> Vec<Desired> {
    objects(
        &config(text).unwrap_or_else(|e| panic!("{e}")),
        &NameKey::public(),
    )
}

fn yaml(objects: &[Desired]) -> String {
    let documents: Vec<_> = objects
        .iter()
        .map(|object| Tree::from(object.manifest().clone()).to_yaml())
        .collect();
    documents.join("---\n")
}

fn find<'o>(objects: &'o [Desired], kind: &str, logical: &str) -> &'o Desired {
    objects
        .iter()
        .find(|o| o.object().kind == kind && o.object().logical_name == logical)
        .unwrap()
}

#[test]
fn compat_is_the_original_set() {
    insta::assert_snapshot!(yaml(&build(&stack(
        "compat",
        "enable_init_containers: true"
    ))));
}

#[test]
fn restricted_is_the_hardened_set() {
    insta::assert_snapshot!(yaml(&build(&stack(
        "restricted",
        "extra_env: {TELEGRAF_HOST: telegraf}"
    ))));
}

#[test]
fn restricted_with_everything_switched() {
    let more = "autoscaling: {min_replicas: 2, max_replicas: 6}\nservice:\n  annotations_style: controller\n  internal: true\n  \
                plain_http: true\nmigrations: {mode: init, args: [up]}\npull_secrets: [registry]\n\
                service_account_role_arn: arn:aws:iam::000000000000:role/aip\nnetwork_policy: {allow_cidrs: [10.1.0.0/16]}";
    insta::assert_snapshot!(yaml(&build(&stack("restricted", more))));
}

/// What the original program sent to the API server, from its recorded state, without the values.
fn recorded() -> BTreeMap<(String, String), Value> {
    let objects: Vec<Value> =
        serde_json::from_str(include_str!("fixtures/original-objects.json")).unwrap();
    objects
        .into_iter()
        .map(|inputs| {
            let name = inputs["metadata"]["name"].as_str().unwrap().to_owned();
            ((inputs["kind"].as_str().unwrap().to_owned(), name), inputs)
        })
        .collect()
}

/// Secrets get another name; that is announced. Everything else must stay.
fn without_secret_names(value: &Value) -> Value {
    match value {
        Value::String(text) if text.starts_with("aip-") && text.contains("-main-") => {
            let (logical, _) = text.rsplit_once('-').unwrap();
            Value::String(logical.to_owned())
        }
        Value::Array(items) => items.iter().map(without_secret_names).collect(),
        Value::Object(map) => map
            .iter()
            .map(|(key, value)| (key.clone(), without_secret_names(value)))
            .collect(),
        other => other.clone(),
    }
}

#[test]
fn taking_over_the_recorded_stack_changes_nothing_but_the_names_of_secrets() {
    let text = include_str!("../../pulumi-files/tests/fixtures/Pulumi.main.yaml").replace(
        "    image_tag:",
        "    image_repo: registry.example.com/aip\n    image_tag:",
    );
    let ours = build(&text);
    let recorded = recorded();
    assert_eq!(recorded.len(), ours.len());
    for (kind, name) in [
        ("Deployment", "aip"),
        ("Service", "aip-headless"),
        ("Service", "aip-ingress"),
    ] {
        let theirs = &recorded[&(kind.to_owned(), name.to_owned())];
        let ours = find(&ours, kind, name).manifest();
        assert_eq!(
            without_secret_names(ours),
            without_secret_names(theirs),
            "{kind} {name}"
        );
    }
    let secrets = recorded.keys().filter(|(kind, _)| kind == "Secret");
    for (_, name) in secrets {
        let (logical, _) = name.rsplit_once('-').unwrap();
        find(&ours, "Secret", logical);
    }
}

#[test]
fn a_changed_value_renames_its_secret_and_what_refers_to_it() {
    let before = build(&stack("restricted", ""));
    let after = build(&stack("restricted", "").replace("u:p@db", "u:q@db"));
    let name =
        |objects: &[Desired], logical: &str| find(objects, "Secret", logical).object().name.clone();
    assert_ne!(name(&before, "aip-env-main"), name(&after, "aip-env-main"));
    assert_eq!(
        name(&before, "aip-extra-env-main"),
        name(&after, "aip-extra-env-main")
    );
    let deployment =
        |objects: &[Desired]| find(objects, "Deployment", "aip").manifest().to_string();
    assert!(deployment(&after).contains(&name(&after, "aip-env-main")));
    assert!(!deployment(&after).contains(&name(&before, "aip-env-main")));
    let job = |objects: &[Desired]| find(objects, "Job", "aip-migrate").object().name.clone();
    assert_ne!(job(&before), job(&after));
}

#[test]
fn the_same_configuration_gives_the_same_objects_and_phases_come_in_order() {
    let text = stack("restricted", "");
    assert_eq!(yaml(&build(&text)), yaml(&build(&text)));
    let phases: Vec<Phase> = build(&text).iter().map(Desired::phase).collect();
    assert!(phases.is_sorted());
    for object in build(&text) {
        let (object, metadata) = (object.object(), &object.manifest()["metadata"]);
        assert_eq!(object.namespace.as_deref(), Some("aip-main"));
        assert_eq!(metadata["namespace"], "aip-main");
        assert_eq!(metadata["name"], object.name);
    }
}

#[test]
fn a_scaled_deployment_does_not_say_how_many_pods_it_wants() {
    let scaled = build(&stack("restricted", "autoscaling: {max_replicas: 5}"));
    assert!(
        find(&scaled, "Deployment", "aip").manifest()["spec"]
            .get("replicas")
            .is_none()
    );
    let fixed = build(&stack("compat", "replicas: 7"));
    assert_eq!(
        find(&fixed, "Deployment", "aip").manifest()["spec"]["replicas"],
        7
    );
}

#[test]
fn no_service_selects_the_pods_of_the_migration() {
    for profile in ["compat", "restricted"] {
        let objects = build(&stack(profile, "migrations: {mode: job}"));
        let job = find(&objects, "Job", "aip-migrate").manifest();
        assert_ne!(
            job["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/name"], "aip",
            "{profile}"
        );
    }
}

/// The container of a Deployment, and a variable that it sets itself.
fn server(objects: &[Desired]) -> Value {
    find(objects, "Deployment", "aip").manifest()["spec"]["template"]["spec"]["containers"][0]
        .clone()
}

fn variable<'v>(server: &'v Value, name: &str) -> Option<&'v Value> {
    let variables = server["env"].as_array().unwrap();
    variables.iter().find(|variable| variable["name"] == name)
}

#[test]
fn metrics_and_probes_are_on_the_internal_listener_of_each_pod() {
    let objects = build(&stack("restricted", ""));
    let server = server(&objects);
    let names: Vec<&Value> = server["env"]
        .as_array()
        .unwrap()
        .iter()
        .map(|variable| &variable["name"])
        .collect();
    let place = |name: &str| names.iter().position(|known| *known == name).unwrap();
    assert!(
        place("POD_IP") < place("AIP_INTERNAL_LISTEN"),
        "a reference is expanded only behind what it names"
    );
    assert_eq!(
        variable(&server, "AIP_INTERNAL_LISTEN").unwrap()["value"],
        "$(POD_IP):9090"
    );
    let ports = server["ports"].as_array().unwrap();
    assert!(
        ports
            .iter()
            .any(|port| port["name"] == "metrics" && port["containerPort"] == 9090)
    );
    assert!(!ports.iter().any(|port| port["containerPort"] == 5100));
    for probe in ["startupProbe", "readinessProbe", "livenessProbe"] {
        assert_eq!(server[probe]["httpGet"]["port"], "metrics", "{probe}");
    }
    let service = find(&objects, "Service", "aip-headless").manifest();
    assert!(service.to_string().contains("\"metrics\"") && !service.to_string().contains("5100"));
    let admitted = find(&objects, "NetworkPolicy", "aip").manifest()["spec"]["ingress"].to_string();
    assert!(
        admitted.contains("{\"port\":9090,\"protocol\":\"TCP\"}"),
        "{admitted}"
    );
    assert!(
        admitted.contains("\"from\":[{\"namespaceSelector\":{}}]"),
        "{admitted}"
    );
}

#[test]
fn a_path_that_the_internal_listener_does_not_serve_is_asked_at_the_public_port() {
    let objects = build(&stack(
        "restricted",
        "probes: {ready_path: /ready, alive_path: /internal/alive}",
    ));
    let server = server(&objects);
    assert_eq!(server["readinessProbe"]["httpGet"]["port"], "http");
    assert_eq!(server["livenessProbe"]["httpGet"]["port"], "metrics");
}

#[test]
fn a_pod_monitor_is_made_where_it_is_asked_for() {
    let without = build(&stack("restricted", ""));
    assert!(
        !without
            .iter()
            .any(|object| object.object().kind == "PodMonitor")
    );
    let more = "metrics: {pod_monitor: true, labels: {release: prometheus}, namespace: monitoring}";
    let objects = build(&stack("restricted", more));
    let monitor = find(&objects, "PodMonitor", "aip").manifest();
    assert_eq!(monitor["metadata"]["labels"]["release"], "prometheus");
    assert_eq!(monitor["spec"]["podMetricsEndpoints"][0]["port"], "metrics");
    assert_eq!(
        monitor["spec"]["selector"]["matchLabels"],
        find(&objects, "Deployment", "aip").manifest()["spec"]["selector"]["matchLabels"]
    );
    let policy = find(&objects, "NetworkPolicy", "aip")
        .manifest()
        .to_string();
    assert!(
        policy.contains("\"kubernetes.io/metadata.name\":\"monitoring\""),
        "{policy}"
    );
}

#[test]
fn the_way_to_a_server_of_events_is_open() {
    for (url, open) in [
        ("wss://jetstream.example/subscribe", None),
        ("wss://jetstream.example:8443/subscribe", Some(8443)),
        ("ws://jetstream.events.svc:6008/subscribe", Some(6008)),
        ("ws://jetstream.events.svc/subscribe", Some(80)),
    ] {
        let more = format!("extra_env: {{AIP_JETSTREAM_URL: \"{url}\"}}");
        let objects = build(&stack("restricted", &more));
        let policy = find(&objects, "NetworkPolicy", "aip").manifest();
        let ports = policy["spec"]["egress"][2]["ports"].as_array().unwrap();
        let ports: Vec<_> = ports
            .iter()
            .filter_map(|port| port["port"].as_u64())
            .collect();
        // The rule before this one opens 443 to public addresses.
        let of_events = ports
            .into_iter()
            .find(|port| [80, 443, 6008, 8443].contains(port));
        assert_eq!(of_events, open, "{url}");
    }
}

#[test]
fn the_proxies_that_the_stack_names_are_trusted_and_no_others() {
    let server_of = |more: &str| server(&build(&stack("restricted", more)));
    assert!(variable(&server_of(""), "AIP_TRUSTED_PROXIES").is_none());
    let inside = "service: {type: cluster_ip}\ntrusted_proxies: [10.2.0.0/16, \"fd00::/8\"]";
    let server = server_of(inside);
    assert_eq!(
        variable(&server, "AIP_TRUSTED_PROXIES").unwrap()["value"],
        "10.2.0.0/16,fd00::/8"
    );
    let by_hand = format!("{inside}\nextra_env: {{AIP_TRUSTED_PROXIES: 10.9.0.0/16}}");
    assert!(variable(&server_of(&by_hand), "AIP_TRUSTED_PROXIES").is_none());
}

#[test]
fn the_load_balancers_of_the_stack_leave_the_callers_address_as_it_is() {
    let ingress = |profile: &str, more: &str| {
        let objects = build(&stack(profile, more));
        find(&objects, "Service", "aip-ingress").manifest().clone()
    };
    let legacy = ingress("restricted", "");
    assert_eq!(legacy["spec"]["externalTrafficPolicy"], "Local");
    let controller = ingress("restricted", "service: {annotations_style: controller}");
    let attributes = "service.beta.kubernetes.io/aws-load-balancer-target-group-attributes";
    assert_eq!(
        controller["metadata"]["annotations"][attributes],
        "preserve_client_ip.enabled=true"
    );
    let original = ingress("compat", "");
    assert!(original["spec"].get("externalTrafficPolicy").is_none());
}

#[test]
fn the_job_that_seals_again_has_the_keys_and_the_database_of_the_servers() {
    for more in ["", "migrations: {mode: init, args: [migrate]}"] {
        let all = build(&stack("restricted", more));
        let deployment = find(&all, "Deployment", "aip");
        let job = deployment.rekey_job("0a1b").unwrap();
        assert_eq!(job.phase(), Phase::Migration);
        assert_eq!(job.object().name, format!("{REKEY_JOB}-0a1b"));
        assert_eq!(job.object().logical_name, REKEY_JOB);
        let server = &deployment.manifest()["spec"]["template"]["spec"];
        let pod = &job.manifest()["spec"]["template"]["spec"];
        let (container, of_server) = (&pod["containers"][0], &server["containers"][0]);
        assert_eq!(container["args"], serde_json::json!(["keys", "rekey"]));
        for same in ["image", "envFrom", "volumeMounts", "securityContext"] {
            assert_eq!(container[same], of_server[same], "{same}");
        }
        for same in ["volumes", "securityContext", "serviceAccountName"] {
            assert_eq!(pod[same], server[same], "{same}");
        }
        for none in ["ports", "readinessProbe", "livenessProbe", "lifecycle"] {
            assert!(container[none].is_null(), "{none}");
        }
        assert_eq!(pod["restartPolicy"], "Never");
        let moving = deployment.move_job("0a1b").unwrap();
        assert_eq!(moving.object().name, format!("{MOVE_JOB}-0a1b"));
        let its_args = &moving.manifest()["spec"]["template"]["spec"]["containers"][0]["args"];
        assert_eq!(*its_args, serde_json::json!(["database", "move", "run"]));
        let labels = &job.manifest()["spec"]["template"]["metadata"]["labels"];
        assert_ne!(*labels, server["metadata"]["labels"]);
        let others = all.iter().filter(|one| one.object().kind != "Deployment");
        assert!(
            others
                .into_iter()
                .all(|other| other.rekey_job("0a1b").is_none())
        );
    }
}

#[test]
fn the_job_that_looks_around_is_a_server_that_gets_no_requests() {
    let all = build(&stack("restricted", ""));
    let deployment = find(&all, "Deployment", "aip").manifest();
    let job = doctor_job(deployment, &["--json", "--servers=2"], "0a1b").unwrap();
    assert_eq!(job.object().name, "aip-doctor-0a1b");
    let spec = &job.manifest()["spec"];
    assert_eq!(spec["backoffLimit"], 0);
    let template = &spec["template"];
    let of_server = &deployment["spec"]["template"];
    // The network policy selects by them; the Services too, so it must never be ready.
    assert_eq!(
        template["metadata"]["labels"],
        of_server["metadata"]["labels"]
    );
    assert_eq!(
        template["spec"]["readinessGates"].as_array().unwrap().len(),
        1
    );
    let container = &template["spec"]["containers"][0];
    assert_eq!(
        container["args"],
        serde_json::json!(["doctor", "--json", "--servers=2"])
    );
    assert_eq!(
        container["image"],
        of_server["spec"]["containers"][0]["image"]
    );
    let others = all.iter().filter(|one| one.object().kind != "Deployment");
    assert!(
        others
            .into_iter()
            .all(|other| doctor_job(other.manifest(), &[], "0a1b").is_none())
    );
}
