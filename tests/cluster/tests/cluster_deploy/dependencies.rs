//! PostgreSQL and Valkey, where the stack makes them: refused in the preview if the cluster has not what they
//! need, ready before the migration, and their data kept until its name is typed.

use std::time::Duration;

use aip_apply::apply::FailPoint;
use cluster::{Image, definitions, eventually_within};
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::test_project::{SECRET, TestProject};

const CNPG: &str = "postgresql.cnpg.io";
/// The machine is shared: what takes seconds may take minutes.
const PATIENCE: Duration = Duration::from_mins(5);
const DATABASE_URL: &str =
    "      DATABASE_URL: postgresql://aip:hunter2-hunter2@127.0.0.1:5432/aip\n";
const REDIS_DSN: &str = "      REDIS_DSN: redis://127.0.0.1:6379/0\n";

/// Makes the cluster one with `CloudNativePG`, for all tests. Before that a stack that needs it is refused, whichever
/// test comes first.
pub(crate) async fn cloudnative_pg() {
    static INSTALLED: OnceCell<()> = OnceCell::const_new();
    let refused_and_installed = || async {
        let project = TestProject::new("nopostgres").await;
        project.write("v1", "dependencies: {postgres: cnpg}");
        project.edit(DATABASE_URL, "");
        project.run(&["up", "--yes"]).await.exits(1).says(
            "the cluster does not know the kind Cluster of postgresql.cnpg.io/v1: install CloudNativePG",
        );
        assert_eq!(project.versions().await, []);
        definitions::install(&project.client, definitions::CLOUDNATIVE_PG).await;
    };
    INSTALLED.get_or_init(refused_and_installed).await;
}

/// Writes the status of the stack's Cluster, as `CloudNativePG` does.
async fn report(project: &TestProject, status: Value) {
    let api: Api<DynamicObject> = project.api(CNPG, "Cluster");
    let status = json!({"status": status});
    let report = PatchParams::default();
    api.patch_status("aip-postgres", &report, &Patch::Merge(&status))
        .await
        .unwrap();
}

/// Says that the Cluster is there, as `CloudNativePG` does.
async fn report_ready(project: &TestProject) {
    let ready = json!({"phase": "Cluster in healthy state", "readyInstances": 3, "conditions": ready("True")});
    report(project, ready).await;
}

fn ready(status: &str) -> Value {
    json!([{"type": "Ready", "status": status, "reason": "ClusterIsReady", "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z"}])
}

/// Makes the Secrets of a Cluster, as `CloudNativePG` does: with the URL of a server, and the certificate of its
/// authority.
async fn issue_secrets(project: &TestProject, url: &str, authority: &str) {
    for (name, data) in [
        ("aip-postgres-app", json!({"uri": url})),
        (
            "aip-postgres-ca",
            json!({"ca.crt": authority, "ca.key": "its key"}),
        ),
    ] {
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "stringData": data,
            "metadata": {"name": name, "namespace": project.namespace()}});
        project.apply("", "Secret", secret).await;
    }
}

/// Does for the stack's Cluster what `CloudNativePG` does, once there is one: it is this server.
pub(crate) async fn operate(project: &TestProject, url: &str, authority: &str) {
    let clusters: Api<DynamicObject> = project.api(CNPG, "Cluster");
    eventually_within(PATIENCE, "a Cluster is asked for", async || {
        clusters.get("aip-postgres").await
    })
    .await;
    issue_secrets(project, url, authority).await;
    report_ready(project).await;
}

async fn make_storage_class(project: &TestProject, name: &str, mode: &str) {
    let class = json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": name},
        "provisioner": "kubernetes.io/no-provisioner", "volumeBindingMode": mode});
    project.apply("storage.k8s.io", "StorageClass", class).await;
}

/// A URL beside the Cluster, no storage: each is said before anything is changed.
async fn refused_until_the_cluster_has_what_it_needs(project: &TestProject) {
    project
        .run(&["preview"])
        .await
        .exits(2)
        .says("DATABASE_URL: conflicts with aip_config.dependencies.postgres: cnpg");
    project.edit(DATABASE_URL, "");
    project.run(&["up", "--yes"]).await.exits(1).says(
        "refers to StorageClass postgres-disk, which does not exist: create it, or name another one: aip-deploy \
         config set --path aip_config.dependencies.cnpg.storage_class",
    );
    assert_eq!(project.versions().await, []);
    make_storage_class(project, "postgres-disk", "WaitForFirstConsumer").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_is_ready_before_the_migration_and_outlives_the_stack() {
    cloudnative_pg().await;
    let project = TestProject::new("postgres").await;
    let clusters = async || project.names(CNPG, "Cluster").await;
    let none: [&str; 0] = [];
    project.write(
        "v1",
        "dependencies: {postgres: cnpg, cnpg: {storage_class: postgres-disk}}",
    );
    refused_until_the_cluster_has_what_it_needs(&project).await;

    // The operator has not looked at it, is at work, has given up: no migration, whoever waits.
    let up = ["up", "--yes", "--timeout", "10"];
    project
        .run(&up)
        .await
        .exits(9)
        .says("Cluster aip-postgres: not reported by CloudNativePG yet");
    report(
        &project,
        json!({"phase": "Setting up primary", "readyInstances": 0, "conditions": ready("False")}),
    )
    .await;
    project
        .run(&["up", "--yes", "--timeout", "10", "--no-wait"])
        .await
        .exits(9)
        .says("Cluster aip-postgres: Setting up primary, 0 of 3 instances are ready");
    let phase = "Cluster is unrecoverable and needs manual intervention";
    report(
        &project,
        json!({"phase": phase, "phaseReason": "no primary"}),
    )
    .await;
    project
        .run(&up)
        .await
        .exits(4)
        .says("PostgreSQL or Valkey does not get ready; no running Pods of AIP were changed")
        .says("no primary");
    assert_eq!(project.names("batch", "Job").await, none);
    assert_eq!(project.names("apps", "Deployment").await, none);

    let url = format!(
        "postgresql://aip:{SECRET}@aip-postgres-rw.{}:5432/aip",
        project.namespace()
    );
    issue_secrets(&project, &url, "a certificate").await;
    report_ready(&project).await;
    project.up().await.exits(0);
    let pod = &project.deployment().await.data["spec"]["template"]["spec"];
    let reference = json!({"secretKeyRef": {"name": "aip-postgres-app", "key": "uri"}});
    let variables = pod["containers"][0]["env"].as_array().unwrap();
    assert!(
        variables
            .iter()
            .any(|variable| variable["valueFrom"] == reference)
    );
    assert_eq!(project.names("batch", "Job").await.len(), 1);
    project
        .run(&["preview", "--expect-no-changes"])
        .await
        .exits(0);
    project
        .run(&["rollout"])
        .await
        .exits(0)
        .says("Cluster aip-postgres is ready");
    project
        .run(&["doctor"])
        .await
        .exits(0)
        .says("3 of 3 ready, max_connections 200, 71 needed by 2 Pods");

    // Another server takes its place, and then the whole stack goes: the data stays.
    project.write("v1", "");
    project.up().await.exits(0).says("protected, kept");
    assert_eq!(clusters().await, ["aip-postgres"]);
    project.run(&["destroy", "--yes"]).await.exits(0).says(
        "Cluster aip-postgres/aip-postgres is protected and was kept; `aip-deploy destroy --delete-data \
         aip-postgres` deletes it",
    );
    project
        .run(&["destroy", "--yes", "--delete-data", "aip-postgre"])
        .await
        .exits(2)
        .says("no protected object is called aip-postgre; the stack has aip-postgres");
    assert_eq!(clusters().await, ["aip-postgres"]);
    project
        .run(&["destroy", "--yes", "--delete-data", "aip-postgres"])
        .await
        .exits(0)
        .does_not_say("was kept");
    assert_eq!(clusters().await, none);
}

#[tokio::test(flavor = "multi_thread")]
async fn valkey_without_a_volume_fails_in_time_with_the_reason() {
    let project = TestProject::new("valkey").await;
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": project.namespace(),
        "labels": {"pod-security.kubernetes.io/enforce": "restricted"}}});
    project.apply("", "Namespace", namespace).await;
    project.push(
        "server",
        Image::program("redis-server").with("valkey-server", "redis-server"),
    );
    let settings = format!(
        "dependencies:\n  valkey: cluster\n  valkey_cluster:\n    password: {SECRET}-{SECRET}\n    image: {}\n    \
         storage_class: valkey-disk",
        project.image("server")
    );
    project.write("v1", &settings);
    project.edit(REDIS_DSN, "");
    make_storage_class(&project, "valkey-disk", "Immediate").await;
    let none: [&str; 0] = [];

    // Nobody makes volumes of this class.
    project
        .up()
        .await
        .exits(4)
        .says("ProvisioningFailed: PersistentVolumeClaim data-aip-valkey-0: ")
        .says("aip-deploy config set --path aip_config.dependencies.valkey_cluster.storage_class");
    assert_eq!(project.names("batch", "Job").await, none);

    // A destroy that was killed when the StatefulSet was gone still knows the claim.
    let claims = async || project.names("", "PersistentVolumeClaim").await;
    let destroy = ["destroy", "--yes"];
    let gone = FailPoint::DeletionCompleted;
    project.kill_at(gone, &destroy).await;
    assert_eq!(project.names("apps", "StatefulSet").await, none);
    project.run(&destroy).await.exits(0).says(
        "data-aip-valkey-0 is protected and was kept; `aip-deploy destroy --delete-data data-aip-valkey-0` \
         deletes it\n",
    );
    assert_eq!(claims().await, ["data-aip-valkey-0"]);
    let with_data = [&destroy[..], &["--delete-data", "data-aip-valkey-0"]].concat();
    project.run(&with_data).await.exits(0);
    assert_eq!(claims().await, none);
}
