//! Users with few rights, and namespaces with strict rules.

use cluster::ControlPlane;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::{Value, json};

use crate::site::{Site, server};

async fn apply(site: &Site, group: &str, kind: &str, object: Value) {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, "v1", kind));
    let api: Api<DynamicObject> = match object["metadata"]["namespace"].as_str() {
        Some(namespace) => Api::namespaced_with(site.client.clone(), namespace, &resource),
        None => Api::all_with(site.client.clone(), &resource),
    };
    let name = object["metadata"]["name"].as_str().unwrap().to_owned();
    api.patch(&name, &PatchParams::apply("story"), &Patch::Apply(&object))
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn pod_security_restricted_admits_the_pods() {
    let site = Site::new("pss").await;
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": site.namespace(),
        "labels": {"pod-security.kubernetes.io/enforce": "restricted", "pod-security.kubernetes.io/warn": "restricted"}}});
    apply(&site, "", "Namespace", namespace).await;
    site.up()
        .await
        .exits(0)
        .does_not_say("would violate PodSecurity");
    site.run(&["doctor"])
        .await
        .exits(0)
        .says("Pod Security: restricted");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_only_read_gets_an_estimate_and_who_may_nothing_a_reason() {
    let mut site = Site::new("reader").await;
    site.up().await.exits(0);
    let cluster = ControlPlane::shared().await;
    let reader = cluster.user("reader", "readers").await;
    let stranger = cluster.user("stranger", "strangers").await;
    apply(
        &site,
        "rbac.authorization.k8s.io",
        "ClusterRole",
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "reader"},
            "rules": [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["get", "list", "watch"]}]}),
    )
    .await;
    apply(
        &site,
        "rbac.authorization.k8s.io",
        "ClusterRoleBinding",
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "reader"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "reader"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "readers"}]}),
    )
    .await;
    site.write("v2", "");
    let before = site.versions().await;

    site.use_kubeconfig(reader.kubeconfig);
    cluster::eventually("the role is known", async || {
        let ran = site.run(&["preview"]).await;
        if ran.code == 0 { Ok(()) } else { Err(ran.err) }
    })
    .await;
    site.run(&["preview"])
        .await
        .exits(0)
        .says("you may not write this object")
        .says("1 to update");
    site.run(&["doctor"]).await.exits(1).says("you may not");
    site.run(&["up", "--yes"])
        .await
        .exits(1)
        .says("cannot patch");

    site.use_kubeconfig(stranger.kubeconfig);
    site.run(&["preview"]).await.exits(1).says("kube-system");
    assert_eq!(site.versions().await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admission_that_refuses_dry_runs_makes_the_preview_an_estimate() {
    let site = Site::new("nodry").await;
    site.up().await.exits(0);
    let group = "admissionregistration.k8s.io";
    let policy = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": "for-real-only"},
        "spec": {
            "matchConstraints": {"resourceRules": [{"apiGroups": ["apps"], "apiVersions": ["v1"],
                "operations": ["CREATE", "UPDATE"], "resources": ["deployments"]}]},
            "validations": [{"expression": "!has(request.dryRun) || !request.dryRun", "message": "no dry run here"}],
        },
    });
    apply(&site, group, "ValidatingAdmissionPolicy", policy).await;
    let binding = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": "for-real-only"},
        "spec": {
            "policyName": "for-real-only", "validationActions": ["Deny"],
            "matchResources": {"namespaceSelector": {
                "matchLabels": {"kubernetes.io/metadata.name": site.namespace()}}},
        },
    });
    apply(&site, group, "ValidatingAdmissionPolicyBinding", binding).await;
    site.push("v2", server());
    site.write("v2", "");
    cluster::eventually("the policy is in force", async || {
        let ran = site.run(&["preview"]).await.exits(0);
        let estimated = ran.out.contains("for-real-only refuses dry runs");
        if estimated && ran.out.contains("~ 1 to update") {
            Ok(())
        } else {
            Err(ran.out)
        }
    })
    .await;
    site.up().await.exits(0);
}
