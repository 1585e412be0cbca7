//! A stack that Pulumi deployed is taken over: nothing is recreated but the Secrets, and Pulumi's
//! claims are gone.

use cluster::eventually;
use k8s_openapi::api::core::v1::Namespace;
use kube::ResourceExt as _;
use kube::api::{Api, DynamicObject, ObjectMeta, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::site::{Site, server};

/// What the compat profile deploys, as Pulumi made it: objects created by `Update`, the Deployment
/// updated once by `Apply`.
async fn deploy_like_pulumi(site: &Site) {
    let namespaces = Api::<Namespace>::all(site.client.clone());
    let namespace = Namespace {
        metadata: ObjectMeta {
            name: Some(site.namespace()),
            ..ObjectMeta::default()
        },
        ..Namespace::default()
    };
    namespaces
        .create(&PostParams::default(), &namespace)
        .await
        .unwrap();
    let rendered = site.run_unchecked(&["render"]).await.exits(0).out;
    for document in rendered.split("---\n") {
        let mut object: Value = yaml(document);
        let kind = object["kind"].as_str().unwrap().to_owned();
        let group = object["apiVersion"]
            .as_str()
            .unwrap()
            .split_once('/')
            .map_or("", |(group, _)| group)
            .to_owned();
        if kind == "Secret" {
            let name = object["metadata"]["name"]
                .as_str()
                .unwrap()
                .rsplit_once('-')
                .unwrap()
                .0
                .to_owned();
            object["metadata"]["name"] = format!("{name}-5bc058ed").into();
            object["metadata"]["annotations"] = json!({"pulumi.com/autonamed": "true"});
            object.as_object_mut().unwrap().remove("immutable");
        }
        if kind == "Deployment" {
            let text = object.to_string();
            object = serde_json::from_str(&renamed(&text)).unwrap();
        }
        let typed: DynamicObject = serde_json::from_value(object.clone()).unwrap();
        let created = PostParams {
            field_manager: Some("pulumi-kubernetes".to_owned()),
            ..PostParams::default()
        };
        site.api(&group, &kind)
            .create(&created, &typed)
            .await
            .unwrap();
        if kind == "Deployment" {
            object["spec"]["template"]["metadata"]["annotations"] = json!({"dropped": "later"});
            let manager = PatchParams::apply("pulumi-kubernetes-1410ffbe").force();
            site.api(&group, &kind)
                .patch("aip", &manager, &Patch::Apply(&object))
                .await
                .unwrap();
        }
    }
}

/// The Deployment refers to the Secrets by the names that Pulumi made up.
fn renamed(text: &str) -> String {
    let mut text = text.to_owned();
    for logical in [
        "aip-env-adopt-",
        "aip-extra-env-adopt-",
        "aip-signing-keys-json-adopt-",
    ] {
        while let Some(at) = text.find(logical) {
            let end = at + logical.len() + 10;
            text.replace_range(
                at..end,
                &format!("{}_5bc058ed", &logical[..logical.len() - 1]),
            );
        }
    }
    text.replace("_5bc058ed", "-5bc058ed")
}

fn yaml(text: &str) -> Value {
    let document = pulumi_files::yaml::Document::parse(text).unwrap();
    value(&document.root().to_tree())
}

fn value(tree: &pulumi_files::yaml::Tree) -> Value {
    use pulumi_files::yaml::Tree;
    match tree {
        Tree::Text(text) => text.clone().into(),
        Tree::Plain(text) => serde_json::from_str(text).unwrap(),
        Tree::List(items) => items.iter().map(value).collect(),
        Tree::Map(entries) => entries
            .iter()
            .map(|(key, below)| (key.clone(), value(below)))
            .collect(),
    }
}

/// The checkpoint that Pulumi would have left, as far as an adoption reads it.
async fn write_checkpoint(site: &Site) {
    let mut resources = vec![json!({
        "urn": "urn:pulumi:adopt::aip::pulumi:pulumi:Stack::aip-adopt", "type": "pulumi:pulumi:Stack",
    })];
    for (token, group, kind) in [
        ("kubernetes:core/v1:Secret", "", "Secret"),
        ("kubernetes:core/v1:Service", "", "Service"),
        ("kubernetes:apps/v1:Deployment", "apps", "Deployment"),
    ] {
        for name in site.names(group, kind).await {
            let logical = name.strip_suffix("-5bc058ed").unwrap_or(&name);
            resources.push(json!({
                "urn": format!("urn:pulumi:adopt::aip::aip:index:AIPService${token}::{logical}"),
                "type": token,
                "id": format!("{}/{name}", site.namespace()),
            }));
        }
    }
    let checkpoint = json!({"version": 3, "checkpoint": {"stack": "organization/aip/adopt", "latest": {"resources": resources}}});
    let folder = site.state().join(".pulumi/stacks/aip");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("adopt.json"), checkpoint.to_string()).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_stack_is_adopted_without_recreating_anything_but_the_secrets() {
    let site = Site::new("adopt").await;
    let text = std::fs::read_to_string(site.stack_file()).unwrap();
    // The image of this story has no /app to copy the keys to, and probes of its own.
    let compat = text
        .replace("profile: restricted", "profile: compat")
        .replace("    drain_seconds: 1\n    grace_seconds: 5\n", "");
    let compat = compat.replace(
        "migrations: {args: [exit, \"0\", migrated]}",
        "migrations: {mode: none}",
    );
    std::fs::write(
        site.stack_file(),
        compat.replace(
            "    required_env:\n",
            "    required_env:\n      WORKER_ID: main01\n      JSON_WEB_KEYS: /tmp/keys.json\n",
        ),
    )
    .unwrap();
    site.run(&["adopt", "--yes"])
        .await
        .exits(1)
        .says("no checkpoint");
    deploy_like_pulumi(&site).await;
    write_checkpoint(&site).await;
    let deployments = site.api("apps", "Deployment");
    let before = deployments.get("aip").await.unwrap();
    let services: Vec<_> = site
        .api("", "Service")
        .list(&kube::api::ListParams::default())
        .await
        .unwrap()
        .items;

    let lock = site.state().join(".pulumi/locks/organization/aip/adopt");
    std::fs::create_dir_all(&lock).unwrap();
    let held = json!({"pid": 1, "username": "somebody", "hostname": "ci", "timestamp": "2026-11-22T12:00:00Z"});
    std::fs::write(lock.join("x.json"), held.to_string()).unwrap();
    site.run(&["adopt", "--yes"])
        .await
        .exits(1)
        .says("somebody");
    std::fs::remove_file(lock.join("x.json")).unwrap();

    site.run(&["adopt", "--yes", "--no-wait"])
        .await
        .exits(0)
        .says("change their owner");
    let after = deployments.get("aip").await.unwrap();
    assert_eq!(after.metadata.uid, before.metadata.uid);
    for service in services {
        let now = site
            .api("", "Service")
            .get(&service.name_any())
            .await
            .unwrap();
        assert_eq!(
            (now.metadata.uid, &now.data["spec"]),
            (service.metadata.uid, &service.data["spec"])
        );
    }
    let managers: Vec<_> = after
        .managed_fields()
        .iter()
        .filter_map(|entry| entry.manager.clone())
        .collect();
    assert!(
        !managers.iter().any(|manager| manager.starts_with("pulumi")),
        "{managers:?}"
    );
    assert!(
        managers.iter().any(|manager| manager == "aip-deploy"),
        "{managers:?}"
    );

    // From here on it is a stack like any other, and a field that is dropped goes away.
    site.push("v1", server());
    let text = std::fs::read_to_string(site.stack_file()).unwrap();
    std::fs::write(
        site.stack_file(),
        format!("{text}    limits: {{cpu: \"2\", memory: 1Gi}}\n"),
    )
    .unwrap();
    site.run(&["up", "--yes", "--no-wait"]).await.exits(0);
    eventually("nothing is left to do", async || {
        let ran = site.run(&["preview", "--expect-no-changes"]).await;
        if ran.code == 0 { Ok(()) } else { Err(ran.out) }
    })
    .await;
}
