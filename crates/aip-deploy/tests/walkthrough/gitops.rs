//! The objects as YAML for others to apply: always the same, in waves, with Secrets from a store; and the
//! examples that use them.

use std::path::Path;

use serde_json::Value;
use yaml_lossless::Document;

use crate::fixes::complete;
use crate::test_project::{PASSPHRASE, TestProject};

const SYNC_WAVE: &str = "argocd.argoproj.io/sync-wave";
const EXTERNAL: [&str; 5] = ["render", "--secrets", "external", "--secret-store", "aws"];

/// A stack that is complete, with one encrypted value in each Secret.
fn project() -> TestProject {
    let project = TestProject::new();
    std::fs::write(project.file("main"), complete()).unwrap();
    for (path, value) in [
        (
            "required_env.DATABASE_URL",
            "postgresql://u:hunter2@db:5432/aip",
        ),
        ("extra_env.OTHER", "hunter2"),
        (
            "signing_keys_json_string",
            r#"{"keys":[{"kid":"k1","kty":"EC","crv":"P-256","x":"x","y":"y","d":"d"}]}"#,
        ),
    ] {
        let path = format!("aip_config.{path}");
        let arguments = ["config", "set", "--path", "--secret", &path];
        project.run_with(&arguments, PASSPHRASE, Some(value)).ok();
    }
    project
}

fn documents(yaml: &str) -> Vec<Value> {
    let texts = yaml.split("---\n");
    texts
        .map(|text| Value::from(&Document::parse(text).unwrap().root().to_tree()))
        .collect()
}

#[test]
fn rendered_objects_are_always_the_same_and_waves_follow_the_phases() {
    let project = project();
    let once = project.run(&["render"]).ok().out;
    assert_eq!(project.run(&["render"]).ok().out, once);
    assert!(!once.contains(SYNC_WAVE));

    let all = documents(&project.run(&["render", "--sync-waves"]).ok().out);
    let wave = |kind: &str| {
        let found = all.iter().find(|object| object["kind"] == kind).unwrap();
        let wave = &found["metadata"]["annotations"][SYNC_WAVE];
        wave.as_str().unwrap().parse::<i32>().unwrap()
    };
    assert!(wave("Secret") < wave("Job"));
    assert_eq!((wave("Job"), wave("Deployment")), (-1, 0));
    for object in &all {
        let annotations = &object["metadata"]["annotations"];
        assert!(annotations[SYNC_WAVE].is_string(), "{object}");
    }
    assert_eq!(documents(&once).len(), all.len());
}

#[test]
fn secrets_come_from_a_store_under_the_names_that_pods_refer_to() {
    let project = project();
    // No passphrase is needed.
    let out = project.run_with(&EXTERNAL, "wrong", None).ok().out;
    assert!(!out.contains("hunter2"));
    let objects = documents(&out);
    assert!(!objects.iter().any(|object| object["kind"] == "Secret"));
    let of_kind = |kind: &str| -> Vec<&Value> {
        let found = objects.iter().filter(|object| object["kind"] == kind);
        found.collect()
    };
    let deployment = of_kind("Deployment")[0].to_string();
    let external = of_kind("ExternalSecret");
    for object in &external {
        let store = &object["spec"]["secretStoreRef"];
        assert_eq!(
            (&store["kind"], &store["name"]),
            (&"ClusterSecretStore".into(), &"aws".into())
        );
        let name = object["spec"]["target"]["name"].as_str().unwrap();
        assert!(deployment.contains(&format!("\"{name}\"")), "{name}");
    }
    let entries = external.iter().flat_map(|object| {
        let data = object["spec"]["data"].as_array().unwrap();
        data.iter().map(|entry| {
            let property = entry["remoteRef"]["property"].as_str().unwrap_or_default();
            format!("{} {property}", entry["remoteRef"]["key"].as_str().unwrap())
        })
    });
    assert_eq!(
        entries.collect::<Vec<_>>(),
        [
            "aip-main/aip-env-main DATABASE_URL",
            "aip-main/aip-extra-env-main OTHER",
            "aip-main/aip-signing-keys-json-main/signing_keys.json ",
        ]
    );
    // What nobody encrypted is there already.
    let plain = &external[0]["spec"]["target"]["template"]["data"];
    assert_eq!(plain["EXTERNAL_HOSTNAME"], "auth.example.com");

    let more = [
        "--secret-store-kind",
        "secret-store",
        "--secret-prefix",
        "prod-",
    ];
    let out = project.run(&[&EXTERNAL[..], &more].concat()).ok().out;
    assert!(out.contains("kind: SecretStore\n") && out.contains("key: prod-aip-env-main\n"));
    project
        .run(&["render", "--secrets", "external"])
        .fails(2, "--secret-store <NAME>");
}

#[test]
fn what_is_protected_is_kept_by_argo_cd_and_flux_too() {
    let project = project();
    for (secret, path, value) in [
        (false, "postgres", "cnpg"),
        (false, "cnpg.backup.destination", "s3://backups/aip"),
        (true, "cnpg.backup.access_key_id", "AKIAEXAMPLE"),
        (true, "cnpg.backup.secret_access_key", "hunter2hunter2"),
        (false, "valkey", "cluster"),
        (true, "valkey_cluster.password", "0123456789abcdef0123"),
    ] {
        let path = format!("aip_config.dependencies.{path}");
        let mut arguments = vec!["config", "set", "--path", &path];
        if secret {
            arguments.push("--secret");
        }
        project.run_with(&arguments, PASSPHRASE, Some(value)).ok();
    }
    let url = "aip_config.required_env.DATABASE_URL";
    project.run(&["config", "rm", "--path", url]).ok();
    // What stands for the access key has the mark, too.
    for (arguments, access_key) in [(&["render"][..], "Secret"), (&EXTERNAL, "ExternalSecret")] {
        let objects = documents(&project.run(arguments).ok().out);
        let kept = objects.iter().filter_map(|object| {
            let annotations = &object["metadata"]["annotations"];
            let is_kept = annotations["aip-deploy/protect"] == "true";
            let argo_cd = annotations["argocd.argoproj.io/sync-options"].as_str();
            let flux = annotations["kustomize.toolkit.fluxcd.io/prune"].as_str();
            let expected = (
                is_kept.then_some("Prune=false,Delete=false"),
                is_kept.then_some("disabled"),
            );
            assert_eq!((argo_cd, flux), expected, "{object}");
            is_kept.then(|| object["kind"].as_str().unwrap())
        });
        let mut kept: Vec<&str> = kept.collect();
        kept.sort_unstable();
        let mut expected = ["Cluster", access_key, "ScheduledBackup"];
        expected.sort_unstable();
        assert_eq!(kept, expected);
    }
}

#[test]
fn a_stack_without_secrets_has_none_in_the_store() {
    let project = TestProject::new();
    std::fs::write(project.file("main"), complete()).unwrap();
    let out = project.run(&EXTERNAL).ok().out;
    assert!(out.contains("kind: Secret\n") && !out.contains("ExternalSecret"));
}

#[test]
fn secrets_are_left_out_by_both_names_of_the_choice() {
    let project = project();
    let omitted = project.run(&["render", "--secrets", "omit"]).ok().out;
    let skipped = project.run(&["render", "--secrets", "skip"]).ok().out;
    assert_eq!(skipped, omitted);
    assert!(!omitted.contains("kind: Secret\n"));
}

#[test]
fn the_examples_fit_together() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/gitops");
    let read = |name: &str| {
        let text = std::fs::read_to_string(folder.join(name)).unwrap();
        documents(&text).remove(0)
    };
    let guide = std::fs::read_to_string(folder.join("../../docs/gitops.md")).unwrap();
    for file in read("kustomization.yaml")["resources"].as_array().unwrap() {
        let name = file.as_str().unwrap();
        let is_rendered = guide.contains(&format!("> gitops/{name}\n"));
        assert!(is_rendered || folder.join(name).is_file(), "{name}");
    }
    let namespace = read("namespace.yaml")["metadata"]["name"].clone();
    let application = read("argo-cd.yaml");
    assert_eq!(application["spec"]["destination"]["namespace"], namespace);
    let store = read("secret-store.yaml")["metadata"]["name"].clone();
    let flag = format!("--secret-store {} ", store.as_str().unwrap());
    assert!(guide.contains(&flag), "{flag}");
}
