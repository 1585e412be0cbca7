//! Rendered objects, which kustomize builds and an API server takes that knows the External Secrets
//! Operator.

use std::path::Path;
use std::process::Stdio;

use cluster::{definitions, kustomize_program};
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind, TypeMeta};
use serde_json::Value;
use tokio::process::Command;
use yaml_lossless::Document;

use crate::test_project::{SECRET, TestProject};

const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/gitops");

fn documents(yaml: &str) -> Vec<Value> {
    let texts = yaml.split("---\n").filter(|text| !text.trim().is_empty());
    texts
        .map(|text| Value::from(&Document::parse(text).unwrap().root().to_tree()))
        .collect()
}

async fn kustomize(folder: &Path) -> String {
    let output = Command::new(kustomize_program())
        .arg("build")
        .arg(folder)
        .env_clear()
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    String::from_utf8(output.stdout).unwrap()
}

/// Has the API server check every field, and writes nothing but the namespace.
async fn check(project: &TestProject, object: &Value) -> Result<DynamicObject, kube::Error> {
    let writes = object["kind"] == "Namespace";
    apply_strictly(project, object, writes).await
}

/// Applies an object all of whose fields the API server must know, or has it only check that.
pub(crate) async fn apply_strictly(
    project: &TestProject,
    object: &Value,
    writes: bool,
) -> Result<DynamicObject, kube::Error> {
    let types: TypeMeta = serde_json::from_value(object.clone()).unwrap();
    let kind = GroupVersionKind::try_from(types).unwrap();
    let resource = ApiResource::from_gvk(&kind);
    let api: Api<DynamicObject> = match object["metadata"]["namespace"].as_str() {
        Some(namespace) => Api::namespaced_with(project.client.clone(), namespace, &resource),
        None => Api::all_with(project.client.clone(), &resource),
    };
    let mut parameters = PatchParams::apply("gitops").validation_strict();
    if !writes {
        parameters = parameters.dry_run();
    }
    let name = object["metadata"]["name"].as_str().unwrap();
    api.patch(name, &parameters, &Patch::Apply(object)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_rendered_is_built_by_kustomize_and_taken_by_the_api_server() {
    let project = TestProject::new("gitops").await;
    definitions::install(&project.client, definitions::EXTERNAL_SECRETS).await;
    // What is encrypted: the same text whoever reads it, with another name for the stack.
    let password = format!("postgresql://aip:{SECRET}@127.0.0.1:5432/aip");
    let passphrase = ("PULUMI_CONFIG_PASSPHRASE", "correct-horse");
    let path = "aip_config.required_env.DATABASE_URL";
    let mut set = project.command(&["config", "set", "--path", "--secret", path, &password]);
    let set = set.env(passphrase.0, passphrase.1).output().await.unwrap();
    assert!(set.status.success(), "{set:?}");

    let folder = project.home().join("gitops");
    std::fs::create_dir(&folder).unwrap();
    for file in ["kustomization.yaml", "namespace.yaml"] {
        let text = std::fs::read_to_string(Path::new(EXAMPLES).join(file)).unwrap();
        let text = text.replace("aip-main", &project.namespace());
        std::fs::write(folder.join(file), text).unwrap();
    }
    let render = [
        "render",
        "--secrets",
        "external",
        "--secret-store",
        "aws",
        "--sync-waves",
    ];
    let rendered = project.run(&render).await.exits(0).out;
    std::fs::write(folder.join("aip.yaml"), &rendered).unwrap();

    let built = documents(&kustomize(&folder).await);
    assert_eq!(built.len(), documents(&rendered).len() + 1);
    let is_namespace = |object: &&Value| object["kind"] == "Namespace";
    for object in built.iter().filter(is_namespace) {
        check(&project, object).await.unwrap();
    }
    let mut external = 0;
    for object in built.iter().filter(|object| !is_namespace(object)) {
        assert_eq!(object["metadata"]["namespace"], project.namespace());
        let checked = check(&project, object).await;
        checked.unwrap_or_else(|error| panic!("{error}\n{object:#}"));
        external += usize::from(object["kind"] == "ExternalSecret");
    }
    assert_eq!(external, 1);

    // It would not take another field.
    let mut wrong = built
        .into_iter()
        .find(|object| object["kind"] == "ExternalSecret")
        .unwrap();
    wrong["spec"]["data"][0]["remoteRef"]["field"] = "x".into();
    let refused = check(&project, &wrong).await.unwrap_err().to_string();
    assert!(refused.contains("remoteRef.field"), "{refused}");
}
