//! The control plane of the test cluster: it is real, and what happens to it can be asserted.

use cluster::ControlPlane;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::api::{Api, ObjectMeta, Patch, PatchParams, PostParams};
use serde_json::json;

fn settings(value: &str) -> Patch<serde_json::Value> {
    Patch::Apply(json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "settings"}, "data": {"colour": value},
    }))
}

#[tokio::test]
async fn a_dry_run_stores_nothing_and_the_audit_log_tells_it_from_a_write() {
    let cluster = ControlPlane::shared().await;
    let namespace = cluster.namespace("dry-run").await;
    let alice = cluster.user("alice", "system:masters").await;
    let maps: Api<ConfigMap> = Api::namespaced(alice.client.clone(), &namespace);
    let audit = cluster.audit();

    let params = PatchParams::apply("alice");
    let dry = params.clone().dry_run();
    maps.patch("settings", &dry, &settings("red"))
        .await
        .unwrap();
    assert!(maps.get_opt("settings").await.unwrap().is_none());
    maps.patch("settings", &params, &settings("red"))
        .await
        .unwrap();

    let asked = audit.by("alice");
    let writes: Vec<_> = asked.iter().filter(|event| event.is_write()).collect();
    assert_eq!(writes.len(), 1, "{asked:#?}");
    assert_eq!((writes[0].verb.as_str(), writes[0].code()), ("patch", 201));
    let object = writes[0].object_ref.as_ref().unwrap();
    assert_eq!(
        (&*object.resource, &*object.name),
        ("configmaps", "settings")
    );
    assert_eq!(asked.iter().filter(|event| event.is_dry_run()).count(), 1);
}

#[tokio::test]
async fn another_managers_field_is_a_conflict() {
    let cluster = ControlPlane::shared().await;
    let namespace = cluster.namespace("conflict").await;
    let maps: Api<ConfigMap> = Api::namespaced(cluster.client().await, &namespace);
    let params = PatchParams::apply("first");
    maps.patch("settings", &params, &settings("red"))
        .await
        .unwrap();

    let params = PatchParams::apply("second");
    let refusal = maps
        .patch("settings", &params, &settings("blue"))
        .await
        .unwrap_err();
    let kube::Error::Api(status) = refusal else {
        panic!("not an answer of the API server: {refusal}");
    };
    assert_eq!(status.code, 409);
    assert!(
        status.message.contains(r#"conflict with "first""#),
        "{}",
        status.message
    );
}

#[tokio::test]
async fn a_user_without_roles_may_do_nothing() {
    let cluster = ControlPlane::shared().await;
    let stranger = cluster.user("stranger", "visitors").await;
    let maps: Api<ConfigMap> = Api::namespaced(stranger.client, "default");
    let refusal = maps
        .list(&kube::api::ListParams::default())
        .await
        .unwrap_err();
    assert!(matches!(refusal, kube::Error::Api(status) if status.code == 403));
}

#[tokio::test]
async fn pod_security_warns_and_refuses() {
    let cluster = ControlPlane::shared().await;
    let namespace = cluster.namespace("restricted").await;
    let client = cluster.client().await;
    let label =
        json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}});
    Api::<Namespace>::all(client.clone())
        .patch(&namespace, &PatchParams::default(), &Patch::Merge(label))
        .await
        .unwrap();
    let pod = serde_json::from_value(json!({
        "metadata": {"name": "loose"},
        "spec": {"containers": [{"name": "web", "image": "web:1"}]},
    }));
    let refusal = Api::namespaced(client, &namespace)
        .create(
            &PostParams::default(),
            &pod.map(|pod: k8s_openapi::api::core::v1::Pod| pod).unwrap(),
        )
        .await
        .unwrap_err();
    assert!(
        refusal.to_string().contains("violates PodSecurity"),
        "{refusal}"
    );
}

#[tokio::test]
async fn two_clusters_may_share_a_context_name_but_are_not_the_same() {
    let other = ControlPlane::start().await;
    let cluster = ControlPlane::shared().await;
    assert_eq!(cluster.context(), other.context());
    assert_ne!(uid(cluster).await, uid(&other).await);

    let folder = other.kubeconfig();
    drop(other);
    assert!(!folder.exists(), "nothing is left behind");
}

/// What tells clusters apart.
async fn uid(cluster: &ControlPlane) -> Option<String> {
    let namespaces: Api<Namespace> = Api::all(cluster.client().await);
    let ObjectMeta { uid, .. } = namespaces.get("kube-system").await.unwrap().metadata;
    uid
}
