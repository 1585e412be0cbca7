//! Objects that are being deleted are not there any more, and not gone yet.

use std::time::Duration;

use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::json;

use crate::site::Site;

const HOLD: &str = "example.com/hold";

async fn hold(site: &Site, group: &str, kind: &str, name: &str, finalizers: &[&str]) {
    let patch = json!({"metadata": {"finalizers": finalizers}});
    site.api(group, kind)
        .patch(name, &PatchParams::default(), &Patch::Merge(patch))
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_a_finalizer_keeps_is_named_waited_for_and_made_again() {
    let site = Site::new("hold").await;
    site.write("v1", "migrations: {mode: none}");
    site.up().await.exits(0);
    hold(&site, "", "Service", "aip-headless", &[HOLD]).await;
    hold(&site, "apps", "Deployment", "aip", &[HOLD]).await;
    let dying = site.api("", "Service").get("aip-headless").await.unwrap();
    let ran = site.run(&["destroy", "--yes", "--timeout", "3"]).await;
    ran.exits(1).says("Service").says("Deployment").says(HOLD);

    site.run(&["preview"])
        .await
        .exits(0)
        .says("being deleted")
        .says(HOLD)
        .says("to create");
    site.run(&["preview", "--expect-no-changes"]).await.exits(7);
    // It does not go: said by name, instead of a success that disappears.
    site.run(&["up", "--yes", "--timeout", "3"])
        .await
        .exits(1)
        .says("is being deleted and does not go away")
        .says(HOLD);

    // It goes: then it is made again.
    let release = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        hold(&site, "", "Service", "aip-headless", &[]).await;
        hold(&site, "apps", "Deployment", "aip", &[]).await;
    };
    let (ran, ()) = tokio::join!(site.up(), release);
    ran.exits(0);
    let live = site.api("", "Service").get("aip-headless").await.unwrap();
    assert_ne!(live.metadata.uid, dying.metadata.uid);
    assert_eq!(live.metadata.deletion_timestamp, None);
    site.run(&["preview", "--expect-no-changes"]).await.exits(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_that_is_being_deleted_is_named_by_every_command() {
    let site = Site::new("doomed").await;
    let namespace = site.namespace();
    let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
    site.apply("", "Namespace", object).await;
    let kept = json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "kept", "namespace": namespace, "finalizers": [HOLD]}});
    site.apply("", "ConfigMap", kept).await;
    let namespaces: kube::Api<k8s_openapi::api::core::v1::Namespace> =
        kube::Api::all(site.client.clone());
    namespaces
        .delete(&namespace, &DeleteParams::default())
        .await
        .unwrap();
    let words = format!("{namespace} is being deleted");
    for command in [&["preview"][..], &["up", "--yes"], &["doctor"]] {
        site.run(command).await.exits(1).says(&words);
    }
    assert_eq!(site.versions().await, [], "nothing was written");
    hold(&site, "", "ConfigMap", "kept", &[]).await;
}
