//! The stack that was recorded from Pulumi is taken over: nothing is recreated but the Secrets,
//! Pulumi's claims are gone, and its state is only read.

use std::fs;
use std::path::{Path, PathBuf};

use cluster::{ControlPlane, eventually};
use k8s_openapi::api::core::v1::Namespace;
use kube::ResourceExt as _;
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use yaml_lossless::Document;

use crate::test_project::{CommandOutput, TestProject};

const LIVE: &str =
    include_str!("../../../../crates/aip-apply/tests/fixtures/live-objects-after-update.yaml");
const STACK: &str = include_str!("../../../../crates/pulumi-files/tests/fixtures/Pulumi.main.yaml");
const PROJECT: &str = include_str!("recorded/Pulumi.yaml");
const CHECKPOINT: &str = include_str!("recorded/checkpoint.json");
const PASSPHRASE: &str = "fixture passphrase";

/// Part of two values that are encrypted in the recorded stack file.
const SECRET: &str = "not-a-real-password";

/// Everything that the recorded stack consists of.
const KINDS: [(&str, &str); 3] = [("apps", "Deployment"), ("", "Service"), ("", "Secret")];

/// The recorded stack in a cluster of its own: the recording has the names of its context and its
/// namespace, and another story has that namespace in the shared cluster.
struct PulumiProject {
    project: TestProject,
    _cluster: ControlPlane,
}

impl PulumiProject {
    async fn new() -> Self {
        let cluster = ControlPlane::start_as("aip-test").await;
        let mut project = TestProject::new("main").await;
        project.use_kubeconfig(cluster.kubeconfig());
        project.client = cluster.client().await;
        fs::write(project.stack_file().with_file_name("Pulumi.yaml"), PROJECT).unwrap();
        // The objects were recorded after this update. The original program had the repository
        // built in.
        let updated = STACK.replace(
            "image_tag: v0.1.1",
            "image_repo: registry.example.com/aip\n    image_tag: v0.1.3",
        );
        fs::write(project.stack_file(), updated).unwrap();
        Self {
            project,
            _cluster: cluster,
        }
    }

    async fn run(&self, arguments: &[&str]) -> CommandOutput {
        let mut command = self.project.command(arguments);
        command.env("PULUMI_CONFIG_PASSPHRASE", PASSPHRASE);
        let output = command.output().await.unwrap();
        let ran = CommandOutput {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        };
        ran.does_not_say(SECRET)
    }

    /// Creates the recorded objects with their recorded managers.
    async fn create(&self) {
        let namespace: Namespace =
            serde_json::from_value(json!({"metadata": {"name": self.project.namespace()}}))
                .unwrap();
        Api::all(self.project.client.clone())
            .create(&PostParams::default(), &namespace)
            .await
            .unwrap();
        let recorded = Value::from(&Document::parse(LIVE).unwrap().root().to_tree());
        for object in recorded["items"].as_array().unwrap() {
            self.create_one(object).await;
        }
    }

    async fn create_one(&self, recorded: &Value) {
        let api_version = recorded["apiVersion"].as_str().unwrap();
        let (group, _) = api_version.split_once('/').unwrap_or_default();
        let api = self.project.api(group, recorded["kind"].as_str().unwrap());
        let object: DynamicObject = serde_json::from_value(as_sent(recorded)).unwrap();
        let created = api.create(&PostParams::default(), &object).await.unwrap();

        let managers = json!({"metadata": {"managedFields": claims(recorded)}});
        api.patch(
            &created.name_any(),
            &PatchParams::default(),
            &Patch::Merge(&managers),
        )
        .await
        .unwrap();
    }

    async fn objects(&self) -> Vec<(String, DynamicObject)> {
        let mut objects = Vec::new();
        for (group, kind) in KINDS {
            let list = self
                .project
                .api(group, kind)
                .list(&ListParams::default())
                .await;
            objects.extend(
                list.unwrap()
                    .into_iter()
                    .map(|object| (format!("{kind} {}", object.name_any()), object)),
            );
        }
        objects
    }

    /// What Pulumi left in its backend; the path of the checkpoint.
    fn write_backend(&self) -> PathBuf {
        let backend = self.project.state().join(".pulumi");
        let stacks = backend.join("stacks/aip");
        fs::create_dir_all(&stacks).unwrap();
        fs::write(backend.join("meta.yaml"), "version: 1\n").unwrap();
        let checkpoint = stacks.join("main.json");
        fs::write(&checkpoint, CHECKPOINT).unwrap();
        fs::write(stacks.join("main.json.bak"), CHECKPOINT).unwrap();
        checkpoint
    }

    /// Somebody is at work with Pulumi; the path of the lock.
    fn lock(&self) -> PathBuf {
        let state = self.project.state();
        let locks = state.join(".pulumi/locks/organization/aip/main");
        fs::create_dir_all(&locks).unwrap();
        let held = json!({
            "pid": 1, "username": "somebody", "hostname": "ci", "timestamp": "2026-11-22T12:00:00Z",
        });
        let lock = locks.join("x.json");
        fs::write(&lock, held.to_string()).unwrap();
        lock
    }

    async fn up(&self) {
        self.run(&["up", "--yes", "--no-wait"]).await.exits(0);
    }
}

/// The object without what only the server may say.
fn as_sent(recorded: &Value) -> Value {
    let mut object = recorded.clone();
    object.as_object_mut().unwrap().remove("status");
    let metadata = object["metadata"].as_object_mut().unwrap();
    for assigned in [
        "creationTimestamp",
        "generation",
        "managedFields",
        "resourceVersion",
        "uid",
    ] {
        metadata.remove(assigned);
    }
    object
}

/// What Pulumi claims of an object.
fn claims(object: &Value) -> Vec<&Value> {
    let entries = object["metadata"]["managedFields"].as_array().unwrap();
    let pulumis = |entry: &&Value| {
        let manager = entry["manager"].as_str().unwrap();
        manager.starts_with("pulumi-kubernetes")
    };
    entries.iter().filter(pulumis).collect()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}

/// Who claims something of an object, and how.
fn managers(object: &DynamicObject) -> Vec<(&str, &str)> {
    let entries = object.managed_fields().iter();
    entries
        .filter_map(|entry| Some((entry.manager.as_deref()?, entry.operation.as_deref()?)))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_recorded_stack_is_adopted_without_recreating_anything_but_the_secrets() {
    let stack = PulumiProject::new().await;
    let adopt = ["adopt", "--yes", "--no-wait"];
    stack
        .run(&adopt)
        .await
        .exits(1)
        .says("no Pulumi checkpoint");
    stack.create().await;
    let checkpoint = stack.write_backend();
    let before = stack.objects().await;
    assert_eq!(before.len(), 6);
    for (name, object) in &before {
        let expected = if name == "Deployment aip" {
            ("pulumi-kubernetes-1410ffbe", "Apply")
        } else {
            ("pulumi-kubernetes", "Update")
        };
        assert!(managers(object).contains(&expected), "{name}: {object:?}");
    }

    let lock = stack.lock();
    stack.run(&adopt).await.exits(1).says("somebody");
    fs::remove_file(lock).unwrap();

    let ran = stack.run(&adopt).await.exits(0);
    ran.says("Ownership of these objects moves");
    let after = stack.objects().await;
    for (name, object) in &before {
        let (_, now) = after.iter().find(|(kept, _)| kept == name).unwrap();
        assert_eq!(now.metadata.uid, object.metadata.uid, "{name}");
        if name.starts_with("Service") {
            assert_eq!(now.data["spec"], object.data["spec"], "{name}");
        }
    }
    // Pulumi's Secrets stay for the revision that a rollback would go to; what is new are ours.
    let (old, new): (Vec<_>, Vec<_>) = after
        .iter()
        .partition(|(name, _)| before.iter().any(|(known, _)| known == name));
    assert_eq!((old.len(), new.len()), (6, 3));
    assert!(new.iter().all(|(name, _)| name.starts_with("Secret")));
    let kept = old
        .into_iter()
        .filter(|(name, _)| !name.starts_with("Secret"));
    for (name, object) in kept.chain(new) {
        let managers = managers(object);
        assert!(
            managers.contains(&("aip-deploy", "Apply")),
            "{name}: {managers:?}"
        );
        assert!(
            !managers
                .iter()
                .any(|(manager, _)| manager.starts_with("pulumi")),
            "{name}: {managers:?}"
        );
    }
    // Its state is only read.
    assert_eq!(read(&checkpoint), CHECKPOINT);

    dropped_fields_go_away(&stack).await;
    the_address_of_the_load_balancer_is_shown(&stack).await;
    pulumis_secrets_go_with_the_last_revision(&stack).await;
}

/// Whether Pulumi had claimed them by `Apply`, as in the Deployment, or by `Update`.
async fn dropped_fields_go_away(stack: &PulumiProject) {
    let text = read(&stack.project.stack_file());
    let dropped = text.replace(
        "enable_init_containers: true",
        "service: {plain_http: false}",
    );
    assert_ne!(dropped, text);
    fs::write(stack.project.stack_file(), dropped).unwrap();
    stack.up().await;
    let live = stack
        .project
        .api("apps", "Deployment")
        .get("aip")
        .await
        .unwrap();
    let pods = &live.data["spec"]["template"]["spec"];
    assert_eq!(pods.get("initContainers"), None);
    let live = stack
        .project
        .api("", "Service")
        .get("aip-ingress")
        .await
        .unwrap();
    let ports = live.data["spec"]["ports"].as_array().unwrap();
    let ports: Vec<_> = ports.iter().map(|port| &port["port"]).collect();
    assert_eq!(ports, [443]);
    stack
        .run(&["preview", "--expect-no-changes"])
        .await
        .exits(0);
}

/// As soon as a cloud provider has said it; there is none here.
async fn the_address_of_the_load_balancer_is_shown(stack: &PulumiProject) {
    let ask = ["stack", "output", "address"];
    stack.run(&ask).await.exits(1).says("no address yet");
    let status = json!({"status": {"loadBalancer": {"ingress": [{"hostname": "lb.example.com"}]}}});
    let service = stack.project.api("", "Service");
    service
        .patch_status(
            "aip-ingress",
            &PatchParams::default(),
            &Patch::Merge(&status),
        )
        .await
        .unwrap();
    assert_eq!(stack.run(&ask).await.exits(0).out, "lb.example.com\n");
    let up = ["up", "--yes", "--no-wait"];
    let up = stack.run(&up).await.exits(0);
    up.says("    address: \"lb.example.com\"");
}

/// A rollback would need them until then.
async fn pulumis_secrets_go_with_the_last_revision(stack: &PulumiProject) {
    let revisions = stack.project.api("apps", "ReplicaSet");
    let every = ListParams::default();
    revisions
        .delete_collection(&DeleteParams::default(), &every)
        .await
        .unwrap();
    eventually("only our Secrets are left", async || {
        stack.up().await;
        let secrets = stack.project.names("", "Secret").await;
        if secrets.len() == 3 {
            Ok(())
        } else {
            Err(format!("{secrets:?}"))
        }
    })
    .await;
}
