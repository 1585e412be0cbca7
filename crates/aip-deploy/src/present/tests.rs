//! What a reader of the plan sees, from recorded objects of a live stack.

#[path = "../../../aip-apply/tests/recorded/mod.rs"]
mod recorded;
mod rollout;

use aip_apply::apply::Progress;
use aip_apply::plan::{
    Incomplete, Namespace, Observed, Op, Plan, Proposed, Stale, Step, build, fields,
};
use recorded::{after_a_rotation, desired, new_tag, observed, plan_after};
use serde_json::{Value, json};

use crate::exit::{ErrorExit as _, Exit};
use crate::ui::style::plain;

use super::summary::{Tense, diagnostics, image_lines, summary_lines};
use super::tree::{StackInfo, tree};
use super::{details, json, resource_counts};

const STACK_INFO: StackInfo<'static> = StackInfo {
    project: "aip",
    stack: "main",
    notices: &[],
    image: None,
};

fn page(lines: &[String]) -> String {
    plain(&lines.join("\n"))
}

fn preview(plan: &Plan) -> String {
    let mut lines = tree(plan, STACK_INFO, None);
    lines.extend(diagnostics(plan, STACK_INFO));
    lines.push(String::new());
    lines.extend(summary_lines(
        resource_counts(plan.counts()),
        Tense::Planned,
        0,
    ));
    page(&lines)
}

#[test]
fn a_new_tag_is_shown_as_the_walk_through_prints_it() {
    let plan = plan_after("Deployment", new_tag);
    assert_eq!(plan.check(false), Ok(()));
    insta::assert_snapshot!(preview(&plan), @r"
         Type                                 Name      Plan       Info
         pulumi:pulumi:Stack                  aip-main
         └─ aip:index:AIPService              aip
     ~      └─ kubernetes:apps/v1:Deployment  aip       update     [diff: ~spec]

        ~ 1 to update
        8 unchanged
    ");
}

#[test]
fn the_details_of_a_new_tag_are_those_of_the_recorded_terminal() {
    let plan = plan_after("Deployment", new_tag);
    insta::assert_snapshot!(page(&details::details(&plan, STACK_INFO, "cacd8301")));
}

#[test]
fn nothing_to_do_is_one_row_and_one_figure() {
    let plan = plan_after("none", |_| {});
    insta::assert_snapshot!(preview(&plan));
    assert_eq!(plan.counts().changes(), 0);
}

#[test]
fn a_stack_that_does_not_exist_is_created_whole() {
    let pairs = recorded::objects()
        .iter()
        .map(|object| (desired(object), observed(None, object.clone())))
        .collect();
    let plan = build(pairs, Vec::new(), &[], Namespace::Exists);
    insta::assert_snapshot!(preview(&plan));
}

#[test]
fn a_created_secret_shows_its_keys_and_no_value() {
    let pairs = recorded::objects()
        .iter()
        .filter(|object| object["kind"] == "Secret")
        .take(1)
        .map(|object| (desired(object), observed(None, object.clone())))
        .collect();
    let plan = build(pairs, Vec::new(), &[], Namespace::Exists);
    insta::assert_snapshot!(page(&details::details(&plan, STACK_INFO, "cacd8301")));
}

/// The recorded stack with another value of one Secret, which gets another name.
fn rotated(replica_sets: &[Value]) -> Plan {
    let mut stale = Vec::new();
    let pairs = recorded::objects()
        .into_iter()
        .map(|live| {
            let mut updated = live.clone();
            if live["metadata"]["name"] == "aip-env-main-5bc058ed" {
                updated["metadata"]["name"] = "aip-env-main-9fae3b82".into();
                updated["data"]["REDIS_DSN"] = "bmV3IHZhbHVl".into();
                stale.push(Stale {
                    object: desired(&live).object().clone(),
                    live: Some(live),
                });
                return (desired(&updated), observed(None, updated));
            }
            if live["kind"] == "Deployment" {
                for list in ["containers", "initContainers"] {
                    updated["spec"]["template"]["spec"][list][0]["envFrom"][0]["secretRef"]["name"] =
                        "aip-env-main-9fae3b82".into();
                }
            }
            (desired(&updated), observed(Some(live), updated))
        })
        .collect();
    build(pairs, stale, replica_sets, Namespace::Exists)
}

#[test]
fn a_changed_secret_is_one_replacement_with_masked_leaves() {
    let plan = rotated(&[]);
    insta::assert_snapshot!(preview(&plan));
    let details = page(&details::details(&plan, STACK_INFO, "cacd8301"));
    assert!(!details.contains("bmV3IHZhbHVl"), "{details}");
    insta::assert_snapshot!(details);
    let digest = json::to_json(&plan, STACK_INFO).to_string();
    assert!(!digest.contains("bmV3IHZhbHVl"), "{digest}");
    assert!(digest.contains("\"old\":\"[secret]\""), "{digest}");
}

#[test]
fn what_is_pruned_is_shown_and_is_no_change_of_the_stack() {
    let plan = after_a_rotation(&["old", "older"]);
    insta::assert_snapshot!(preview(&plan), @r"
         Type                             Name          Plan      Info
         pulumi:pulumi:Stack              aip-main
         └─ aip:index:AIPService          aip
     -      └─ kubernetes:core/v1:Secret  aip-env-main  prune     superseded

        9 unchanged
        1 superseded to prune
    ");
    assert_eq!(plan.counts().changes(), 0);
    assert!(!plan.steps.iter().any(Step::is_change));
    let digest = json::to_json(&plan, STACK_INFO);
    assert_eq!(digest["changeSummary"], json!({"same": 9, "prune": 1}));
}

#[test]
fn drift_and_conflicts_are_told_apart_and_a_foreign_field_cannot_be_approved() {
    let mut live = recorded::objects().remove(0);
    live["spec"]["replicas"] = 5.into();
    let mut updated = live.clone();
    updated["spec"]["replicas"] = 3.into();
    updated["spec"]["paused"] = true.into();
    let applied = json!({"f:spec": {"f:replicas": {}}});
    let message = "conflict with \"kubectl\" with subresource \"scale\" using apps/v1";
    let conflicts = vec![
        fields::conflict(".spec.replicas", message, Some(&applied)),
        fields::conflict(
            ".spec.paused",
            "conflict with \"helm\" using apps/v1",
            Some(&applied),
        ),
    ];
    let observed = Observed {
        autoscaler_replicas: None,
        finished: false,
        live: Some(live),
        proposed: Proposed::Forced(updated.clone(), conflicts),
        warnings: vec!["would violate PodSecurity \"restricted:latest\"".to_owned()],
        applied: Some(applied),
    };
    let plan = build(
        vec![(desired(&updated), observed)],
        Vec::new(),
        &[],
        Namespace::Exists,
    );
    insta::assert_snapshot!(preview(&plan));
    assert!(matches!(plan.check(false), Err(Incomplete::Conflicts(of)) if of.len() == 1));
    assert_eq!(plan.check(true), Ok(()));
}

#[test]
fn a_plan_with_an_object_the_api_server_refuses_is_incomplete_even_by_force() {
    let updated = recorded::objects().remove(1);
    let observed = Observed {
        autoscaler_replicas: None,
        finished: false,
        live: None,
        proposed: Proposed::Refused("spec.ports: Required value".to_owned()),
        warnings: Vec::new(),
        applied: None,
    };
    let plan = build(
        vec![(desired(&updated), observed)],
        Vec::new(),
        &[],
        Namespace::Exists,
    );
    assert!(matches!(plan.check(true), Err(Incomplete::Refused(_))));
    assert!(preview(&plan).contains("error: spec.ports: Required value"));
}

#[test]
fn the_state_of_the_work_stands_where_the_plan_stood() {
    use std::time::Duration;
    let plan = rotated(&[]);
    let mut progress = vec![Progress::Done(Duration::ZERO); plan.steps.len()];
    progress[0] = Progress::Failed;
    progress[3] = Progress::Done(Duration::from_millis(80));
    progress[4] = Progress::Running(Duration::from_secs(5));
    insta::assert_snapshot!(page(&tree(&plan, STACK_INFO, Some(&progress))));
}

#[test]
fn a_config_map_with_a_document_is_compared_by_its_content() {
    let object = |text: &str| {
        json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "c"}, "data": {"settings.json": text, "settings.yaml": "a: 1\nb: 2\n"}})
    };
    let (live, updated) = (
        object("{\"a\": 1, \"b\": [1]}"),
        object("{\"b\":[1,2],\"a\":1}"),
    );
    let pair = (desired(&updated), observed(Some(live), updated));
    let plan = build(vec![pair], Vec::new(), &[], Namespace::Exists);
    insta::assert_snapshot!(page(&details::details(&plan, STACK_INFO, "cacd8301")));
}

#[test]
fn an_object_that_is_being_deleted_is_created_again_and_says_what_keeps_it() {
    for kind in ["Service", "Deployment", "Secret"] {
        let pairs: Vec<_> = recorded::objects()
            .into_iter()
            .map(|mut live| {
                let updated = live.clone();
                if live["kind"] == kind {
                    live["metadata"]["deletionTimestamp"] = "2026-11-22T12:00:00Z".into();
                    live["metadata"]["finalizers"] = json!(["example.com/hold"]);
                }
                // The API server answers a dry run with the dying object.
                (desired(&updated), observed(Some(live.clone()), live))
            })
            .collect();
        let plan = build(pairs, Vec::new(), &[], Namespace::Exists);
        let dying: Vec<&Step> = plan
            .steps
            .iter()
            .filter(|step| step.object.kind == kind)
            .collect();
        assert!(!dying.is_empty());
        for step in dying {
            assert!(step.op == Op::Create && step.must_be_sent(), "{kind}");
            assert_eq!(step.uid, None, "what is created has no identity yet");
        }
        let said = plain(&diagnostics(&plan, STACK_INFO).join("\n"));
        assert!(
            said.contains("deleting: it is being deleted (finalizers: example.com/hold)"),
            "{said}"
        );
    }
}

#[test]
fn a_paused_deployment_is_said_and_holds_back_only_what_changes_its_pods() {
    let paused = |image: &str| {
        let pairs = recorded::objects()
            .into_iter()
            .map(|mut live| {
                if live["kind"] == "Deployment" {
                    live["spec"]["paused"] = true.into();
                    live["metadata"]["managedFields"] = json!([{"manager": "kubectl-rollout",
                        "operation": "Update", "fieldsV1": {"f:spec": {"f:paused": {}}}}]);
                }
                let mut updated = live.clone();
                if live["kind"] == "Deployment" && !image.is_empty() {
                    updated["spec"]["template"]["spec"]["containers"][0]["image"] = image.into();
                }
                (desired(&updated), observed(Some(live), updated))
            })
            .collect();
        build(pairs, Vec::new(), &[], Namespace::Exists)
    };
    for image in ["", "registry.example/aip:v9"] {
        let plan = paused(image);
        assert_eq!(plan.check(false), Ok(()), "a preview is complete");
        let said = plain(&diagnostics(&plan, STACK_INFO).join("\n"));
        assert!(
            said.contains("paused: \"kubectl-rollout\" paused it"),
            "{said}"
        );
        assert_eq!(plan.check_paused().is_err(), !image.is_empty());
    }
    let error = paused("registry.example/aip:v9")
        .check_paused()
        .unwrap_err();
    assert_eq!(error.exit(), Exit::Rollout);
}

#[test]
fn a_namespace_that_cannot_be_made_makes_the_plan_incomplete() {
    let pairs = recorded::objects()
        .into_iter()
        .map(|live| (desired(&live), observed(None, live)))
        .collect();
    let why = "namespaces is forbidden: User \"x\" cannot create resource \"namespaces\"";
    let plan = build(pairs, Vec::new(), &[], Namespace::Refused(why.to_owned()));
    let refused = plan.check(true).unwrap_err().to_string();
    assert!(refused.contains("Namespace aip-main"), "{refused}");
    let said = plain(&diagnostics(&plan, STACK_INFO).join("\n"));
    assert!(said.contains(why), "{said}");
}

#[test]
fn the_digest_of_the_image_is_shown_and_that_its_tag_has_moved() {
    let mut image = aip_stack::ResolvedImage {
        image: "registry.example/aip:v1@sha256:0b".to_owned(),
        moved_from: None,
    };
    assert_eq!(
        page(&image_lines(&image)),
        "    registry.example/aip:v1@sha256:0b"
    );
    image.moved_from = Some("sha256:0a".to_owned());
    let lines = image_lines(&image);
    assert_eq!(
        plain(&lines[1]),
        "    moved: the tag was sha256:0a when it was deployed last"
    );
    let plan = plan_after("Deployment", new_tag);
    let info = StackInfo {
        image: Some(&image),
        ..STACK_INFO
    };
    assert_eq!(
        json::to_json(&plan, info)["image"],
        json!({"reference": "registry.example/aip:v1@sha256:0b", "movedFrom": "sha256:0a"})
    );
    assert!(json::to_json(&plan, STACK_INFO).get("image").is_none());
}
