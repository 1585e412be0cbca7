//! The objects of both profiles, as golden files, and the original program as the judge of one.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

mod common;

use std::collections::BTreeMap;

use aip_deploy::desired::{Desired, NameKey, Phase, objects};
use common::{config, stack};
use pulumi_files::yaml::Tree;
use serde_json::Value;

fn build(text: &str) -> Vec<Desired> {
    objects(
        &config(text).unwrap_or_else(|e| panic!("{e}")),
        &NameKey::public(),
    )
}

fn yaml(objects: &[Desired]) -> String {
    let documents: Vec<_> = objects
        .iter()
        .map(|object| Tree::from(object.value()).to_yaml())
        .collect();
    documents.join("---\n")
}

fn find<'o>(objects: &'o [Desired], kind: &str, logical: &str) -> &'o Desired {
    objects
        .iter()
        .find(|o| o.kind.kind == kind && o.logical_name == logical)
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
    let text = include_str!("fixtures/Pulumi.main.yaml").replace(
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
        let ours = find(&ours, kind, name).value();
        assert_eq!(
            without_secret_names(&ours),
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
        |objects: &[Desired], logical: &str| find(objects, "Secret", logical).reference().name;
    assert_ne!(name(&before, "aip-env-main"), name(&after, "aip-env-main"));
    assert_eq!(
        name(&before, "aip-extra-env-main"),
        name(&after, "aip-extra-env-main")
    );
    let deployment = |objects: &[Desired]| find(objects, "Deployment", "aip").value().to_string();
    assert!(deployment(&after).contains(&name(&after, "aip-env-main")));
    assert!(!deployment(&after).contains(&name(&before, "aip-env-main")));
    let job = |objects: &[Desired]| find(objects, "Job", "aip-migrate").reference().name;
    assert_ne!(job(&before), job(&after));
}

#[test]
fn the_same_configuration_gives_the_same_objects_and_phases_come_in_order() {
    let text = stack("restricted", "");
    assert_eq!(yaml(&build(&text)), yaml(&build(&text)));
    let phases: Vec<Phase> = build(&text).iter().map(|object| object.phase).collect();
    assert!(phases.is_sorted());
    for object in build(&text) {
        assert_eq!(
            object.object.metadata.namespace.as_deref(),
            Some("aip-main")
        );
        assert!(object.value()["metadata"]["name"].is_string());
    }
}

#[test]
fn a_scaled_deployment_does_not_say_how_many_pods_it_wants() {
    let scaled = build(&stack("restricted", "autoscaling: {max_replicas: 5}"));
    assert!(
        find(&scaled, "Deployment", "aip").value()["spec"]
            .get("replicas")
            .is_none()
    );
    let fixed = build(&stack("compat", "replicas: 7"));
    assert_eq!(
        find(&fixed, "Deployment", "aip").value()["spec"]["replicas"],
        7
    );
}

#[test]
fn no_service_selects_the_pods_of_the_migration() {
    for profile in ["compat", "restricted"] {
        let objects = build(&stack(profile, "migrations: {mode: job}"));
        let job = find(&objects, "Job", "aip-migrate").value();
        assert_ne!(
            job["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/name"], "aip",
            "{profile}"
        );
    }
}
