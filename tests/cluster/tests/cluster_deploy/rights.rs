//! Users with few rights, and namespaces with strict rules.

use cluster::ControlPlane;
use serde_json::{Value, json};
use yaml_lossless::Document;

use crate::test_project::{TestProject, server};

/// The role that the documentation names.
const ROLE: &str = include_str!("../../../../deploy/rbac/aip-deploy.yaml");

#[tokio::test(flavor = "multi_thread")]
async fn pod_security_restricted_admits_the_pods() {
    let project = TestProject::new("pss").await;
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": project.namespace(),
        "labels": {"pod-security.kubernetes.io/enforce": "restricted", "pod-security.kubernetes.io/warn": "restricted"}}});
    project.apply("", "Namespace", namespace).await;
    project
        .up()
        .await
        .exits(0)
        .does_not_say("would violate PodSecurity");
    project
        .run(&["doctor"])
        .await
        .exits(0)
        .says("Pod Security: restricted");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_only_read_gets_an_estimate_and_who_may_nothing_a_reason() {
    let mut project = TestProject::new("reader").await;
    project.up().await.exits(0);
    let cluster = ControlPlane::shared().await;
    let reader = cluster.user("reader", "readers").await;
    let stranger = cluster.user("stranger", "strangers").await;
    project.apply("rbac.authorization.k8s.io",
        "ClusterRole",
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "reader"},
            "rules": [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["get", "list", "watch"]}]}),
    )
    .await;
    project.apply("rbac.authorization.k8s.io",
        "ClusterRoleBinding",
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "reader"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "reader"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "readers"}]}),
    )
    .await;
    project.write("v2", "");
    let before = project.versions().await;

    project.use_kubeconfig(reader.kubeconfig);
    cluster::eventually("the role is known", async || {
        let ran = project.run(&["preview"]).await;
        if ran.code == 0 { Ok(()) } else { Err(ran.err) }
    })
    .await;
    project
        .run(&["preview"])
        .await
        .exits(0)
        .says("no permission to write this object")
        .says("1 to update");
    project
        .run(&["doctor"])
        .await
        .exits(1)
        .says("missing permissions");
    project
        .run(&["up", "--yes"])
        .await
        .exits(1)
        .says("cannot patch");

    project.use_kubeconfig(stranger.kubeconfig);
    project.run(&["preview"]).await.exits(1).says("kube-system");
    assert_eq!(project.versions().await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_documented_role_is_enough_for_every_command() {
    let mut project = TestProject::new("role").await;
    let group = "rbac.authorization.k8s.io";
    let role = Value::from(&Document::parse(ROLE).unwrap().root().to_tree());
    project.apply(group, "ClusterRole", role).await;
    let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
        "metadata": {"name": "aip-deploy"},
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": "aip-deploy"},
        "subjects": [{"apiGroup": group, "kind": "Group", "name": "deployers"}]});
    project.apply(group, "ClusterRoleBinding", binding).await;
    let cluster = ControlPlane::shared().await;
    project.use_kubeconfig(cluster.user("deployer", "deployers").await.kubeconfig);
    cluster::eventually("the role is known", async || {
        let ran = project.run(&["preview"]).await;
        if ran.code == 0 { Ok(()) } else { Err(ran.err) }
    })
    .await;
    project.up().await.exits(0);
    project
        .run(&["doctor", "--inside"])
        .await
        .exits(0)
        .says("in a Pod: arguments")
        .says("all permissions that `up` needs");
    project.push("v2", server());
    project.write("v2", "autoscaling: {min_replicas: 2, max_replicas: 3}");
    project.edit("    replicas: 2\n", "");
    project.up().await.exits(0);
    project.run(&["rollout"]).await.exits(0);
    project.run(&["drift"]).await.exits(0);
    project.run(&["rollback", "--yes"]).await.exits(0);
    project.run(&["destroy", "--yes"]).await.exits(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admission_that_refuses_dry_runs_makes_the_preview_an_estimate() {
    let project = TestProject::new("nodry").await;
    project.up().await.exits(0);
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
    project
        .apply(group, "ValidatingAdmissionPolicy", policy)
        .await;
    let binding = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": "for-real-only"},
        "spec": {
            "policyName": "for-real-only", "validationActions": ["Deny"],
            "matchResources": {"namespaceSelector": {
                "matchLabels": {"kubernetes.io/metadata.name": project.namespace()}}},
        },
    });
    project
        .apply(group, "ValidatingAdmissionPolicyBinding", binding)
        .await;
    project.push("v2", server());
    project.write("v2", "");
    cluster::eventually("the policy is in force", async || {
        let ran = project.run(&["preview"]).await.exits(0);
        let estimated = ran.out.contains("for-real-only refuses dry runs");
        if estimated && ran.out.contains("~ 1 to update") {
            Ok(())
        } else {
            Err(ran.out)
        }
    })
    .await;
    project.up().await.exits(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_by_policy_is_shown_and_is_no_estimate_whatever_its_words() {
    let project = TestProject::new("policy").await;
    project.up().await.exits(0);
    let group = "admissionregistration.k8s.io";
    for (name, tag, message) in [
        ("no-latest", "latest", "images cannot use the tag latest"),
        (
            "no-nightly",
            "nightly",
            "User \\\"x\\\" cannot patch resource \\\"deployments\\\"",
        ),
    ] {
        let policy = json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
            "metadata": {"name": name},
            "spec": {
                "matchConstraints": {"resourceRules": [{"apiGroups": ["apps"], "apiVersions": ["v1"],
                    "operations": ["CREATE", "UPDATE"], "resources": ["deployments"]}]},
                "validations": [{
                    "expression": format!("!object.spec.template.spec.containers[0].image.endsWith(':{tag}')"),
                    "messageExpression": format!("\"{message}\""),
                    // As the authorizer answers.
                    "reason": "Forbidden",
                }],
            },
        });
        project
            .apply(group, "ValidatingAdmissionPolicy", policy)
            .await;
        let binding = json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
            "metadata": {"name": name},
            "spec": {
                "policyName": name, "validationActions": ["Deny"],
                "matchResources": {"namespaceSelector": {
                    "matchLabels": {"kubernetes.io/metadata.name": project.namespace()}}},
            },
        });
        project
            .apply(group, "ValidatingAdmissionPolicyBinding", binding)
            .await;
    }
    let before = project.versions().await;
    for (tag, words) in [
        ("latest", "images cannot use the tag latest"),
        ("nightly", "cannot patch resource"),
    ] {
        project.write(tag, "migrations: {mode: none}");
        cluster::eventually("the policy is in force", async || {
            let ran = project.run(&["preview"]).await;
            if ran.code == 1 { Ok(()) } else { Err(ran.out) }
        })
        .await;
        project
            .run(&["preview"])
            .await
            .exits(1)
            .says(words)
            .does_not_say("estimate:");
        project.up().await.exits(1).says("cannot be applied");
    }
    assert_eq!(project.versions().await, before, "nothing was written");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_namespace_rights_and_sizes_are_checked_all_the_same() {
    let mut project = TestProject::new("nospace").await;
    let admin = ControlPlane::shared().await.kubeconfig();
    let cluster = ControlPlane::shared().await;
    project.apply(
        "rbac.authorization.k8s.io",
        "ClusterRole",
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "looks"},
            "rules": [{"apiGroups": [""], "resources": ["namespaces"], "verbs": ["get"]}]}),
    )
    .await;
    project.apply(
        "rbac.authorization.k8s.io",
        "ClusterRoleBinding",
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "looks"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "looks"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "lookers"}]}),
    )
    .await;
    project.use_kubeconfig(cluster.user("looker", "lookers").await.kubeconfig);
    cluster::eventually("the role is known", async || {
        let ran = project.run(&["preview"]).await;
        if ran.out.contains("Namespace") {
            Ok(())
        } else {
            Err(ran.err)
        }
    })
    .await;
    project
        .run(&["preview"])
        .await
        .exits(1)
        .says("resource \"namespaces\"")
        .says("no permission to write this object");
    project.up().await.exits(1).says("cannot be applied");

    project.use_kubeconfig(admin);
    let large = "x".repeat(1024 * 1024 + 1);
    project.write("v1", &format!("extra_env: {{A: \"{large}\"}}"));
    for command in [&["preview"][..], &["up", "--yes"]] {
        project
            .run(command)
            .await
            .exits(1)
            .says("holds 1048576 at most");
    }
    let namespaces: kube::Api<k8s_openapi::api::core::v1::Namespace> =
        kube::Api::all(project.client.clone());
    let found = namespaces.get_opt(&project.namespace()).await.unwrap();
    assert!(found.is_none(), "nothing was written");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_field_that_keeps_its_first_value_is_refused_with_the_way_out() {
    let project = TestProject::new("immutable").await;
    let namespace = project.namespace();
    project
        .apply(
            "",
            "Namespace",
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}),
        )
        .await;
    // Somebody made both by hand before.
    project
        .apply(
            "",
            "Service",
            json!({"apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "aip-headless", "namespace": namespace},
        "spec": {"ports": [{"name": "x", "port": 1}], "selector": {"a": "b"}}}),
        )
        .await;
    project.apply("apps", "Deployment", json!({"apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "aip", "namespace": namespace},
        "spec": {"replicas": 0, "selector": {"matchLabels": {"a": "b"}}, "template": {
            "metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "c"}]}}}}))
        .await;
    let context = ControlPlane::shared().await.context();
    let out =
        |what: &str| format!("kubectl --context {context} --namespace {namespace} delete {what}");
    project
        .run(&["preview", "--take-ownership"])
        .await
        .exits(1)
        .says("may not change once set")
        .says(&out("service aip-headless"))
        .says(&out("deployment aip"));
}

#[tokio::test(flavor = "multi_thread")]
async fn whom_the_cluster_does_not_know_is_told_so_with_an_exit_code_of_its_own() {
    let mut project = TestProject::new("nobody").await;
    let text = std::fs::read_to_string(ControlPlane::shared().await.kubeconfig()).unwrap();
    let mut kubeconfig: serde_json::Value = serde_json::from_str(&text).unwrap();
    kubeconfig["users"][0]["user"] = json!({"token": "no-such-token"});
    let path = project.state().join("../nobody.conf");
    std::fs::write(&path, kubeconfig.to_string()).unwrap();
    project.use_kubeconfig(path);
    for command in [&["preview"][..], &["up", "--yes"], &["rollout"]] {
        project
            .run(command)
            .await
            .exits(3)
            .says("log in again")
            .does_not_say("no-such-token");
    }
}
