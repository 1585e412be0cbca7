//! What a reader of the plan sees, from recorded objects of a live stack.

use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use pulumi_files::yaml::{Document, Tree};
use serde_json::{Value, json};

use crate::desired::{Desired, ObjectRef, Phase};
use crate::ui::style::plain;

use super::summary::{Tense, diagnostics, summary_lines};
use super::tree::{Progress, StackInfo, tree};
use super::*;

const LIVE: &str = include_str!("../../tests/fixtures/live-objects-after-update.yaml");
const STACK_INFO: StackInfo<'static> = StackInfo {
    project: "aip",
    stack: "main",
    notices: &[],
};

fn value_of(tree: &Tree) -> Value {
    match tree {
        Tree::String(text) => text.clone().into(),
        Tree::Plain(text) => serde_json::from_str(text).unwrap(),
        Tree::List(items) => items.iter().map(value_of).collect(),
        Tree::Map(entries) => entries
            .iter()
            .map(|(k, v)| (k.clone(), value_of(v)))
            .collect(),
    }
}

/// The six recorded objects, in the order of the recording.
fn recorded() -> Vec<Value> {
    let document = Document::parse(LIVE).unwrap();
    let items = value_of(&document.root().to_tree())["items"].take();
    let items = items.as_array().unwrap().clone();
    assert_eq!(items.len(), 6);
    items
}

fn desired(value: &Value) -> Desired {
    let (api_version, kind) = (
        value["apiVersion"].as_str().unwrap(),
        value["kind"].as_str().unwrap(),
    );
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
    let name = value["metadata"]["name"].as_str().unwrap();
    let hashed = kind.kind == "Secret";
    Desired {
        logical_name: match name.rsplit_once('-') {
            Some((logical, _)) if hashed => logical.to_owned(),
            _ => name.to_owned(),
        },
        object: serde_json::from_value::<DynamicObject>(server_fields::strip_server_fields(value))
            .unwrap(),
        kind,
        phase: Phase::Workload,
    }
}

fn observed(live: Option<Value>, proposed: Value) -> Observed {
    Observed {
        autoscaler_replicas: None,
        finished: false,
        live,
        proposed: Proposed::Server(proposed),
        warnings: Vec::new(),
        applied: None,
    }
}

/// The plan for the recorded stack after `change` was made to one of its objects.
fn plan_after(kind: &str, change: impl Fn(&mut Value)) -> Plan {
    let pairs = recorded()
        .into_iter()
        .map(|live| {
            let mut updated = live.clone();
            if live["kind"] == kind {
                change(&mut updated);
            }
            (desired(&updated), observed(Some(live), updated))
        })
        .collect();
    build(pairs, Vec::new(), &[], Namespace::Exists)
}

fn new_tag(deployment: &mut Value) {
    for list in ["containers", "initContainers"] {
        deployment["spec"]["template"]["spec"][list][0]["image"] =
            "registry.example.com/aip:v0.1.4".into();
    }
}

fn page(lines: &[String]) -> String {
    plain(&lines.join("\n"))
}

fn preview(plan: &Plan) -> String {
    let mut lines = tree(plan, STACK_INFO, None);
    lines.extend(diagnostics(plan, STACK_INFO));
    lines.push(String::new());
    lines.extend(summary_lines(plan.counts(), Tense::Planned, 0));
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
    let pairs = recorded()
        .iter()
        .map(|object| (desired(object), observed(None, object.clone())))
        .collect();
    let plan = build(pairs, Vec::new(), &[], Namespace::Exists);
    insta::assert_snapshot!(preview(&plan));
}

#[test]
fn a_created_secret_shows_its_keys_and_no_value() {
    let pairs = recorded()
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
    let pairs = recorded()
        .into_iter()
        .map(|live| {
            let mut updated = live.clone();
            if live["metadata"]["name"] == "aip-env-main-5bc058ed" {
                updated["metadata"]["name"] = "aip-env-main-9fae3b82".into();
                updated["data"]["REDIS_DSN"] = "bmV3IHZhbHVl".into();
                stale.push(Stale {
                    object: desired(&live).reference(),
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

/// The recorded stack as it is wanted, with former versions of a Secret: `old` is of a
/// `ReplicaSet`, `older` of none any more.
fn after_a_rotation(former: &[&str]) -> Plan {
    let stale = former.iter().map(|version| Stale {
        object: ObjectRef {
            name: format!("aip-env-main-{version}"),
            logical_name: "aip-env-main".to_owned(),
            ..desired(&recorded()[3]).reference()
        },
        live: (*version != "gone").then(|| json!({"metadata": {"uid": version}})),
    });
    let replica_set = json!({"spec": {"template": {"spec": {
        "containers": [{"envFrom": [{"secretRef": {"name": "aip-env-main-old"}}]}]}}}});
    let pairs = recorded()
        .into_iter()
        .map(|live| (desired(&live), observed(Some(live.clone()), live)))
        .collect();
    build(pairs, stale.collect(), &[replica_set], Namespace::Exists)
}

#[test]
fn a_former_secret_is_kept_while_a_replica_set_refers_to_it_and_pruned_afterwards() {
    let plan = after_a_rotation(&["old", "older", "gone"]);
    let leftovers: Vec<(&str, &Op)> = plan
        .steps
        .iter()
        .filter(|step| step.desired.is_none())
        .map(|step| (step.object.name.as_str(), &step.op))
        .collect();
    assert_eq!(
        leftovers,
        [
            ("aip-env-main-old", &Op::Retain),
            ("aip-env-main-older", &Op::Prune)
        ]
    );
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
fn an_approval_holds_although_former_replica_sets_were_trimmed_meanwhile() {
    let trimmed = after_a_rotation(&["older"]);
    assert!(after_a_rotation(&["old", "older"]).does_the_same_as(&trimmed));
    assert!(!trimmed.does_the_same_as(&plan_after("Deployment", new_tag)));
}

#[test]
fn an_object_that_the_stack_gives_up_is_a_change() {
    let pairs = recorded()
        .into_iter()
        .map(|live| (desired(&live), observed(Some(live.clone()), live)))
        .collect();
    let given_up = Stale {
        object: ObjectRef {
            name: "extra".to_owned(),
            logical_name: "extra".to_owned(),
            ..desired(&recorded()[1]).reference()
        },
        live: Some(json!({"metadata": {"uid": "u"}})),
    };
    let plan = build(pairs, vec![given_up], &[], Namespace::Exists);
    assert_eq!(plan.counts().delete, 1);
    assert_eq!(plan.counts().changes(), 1);
}

#[test]
fn drift_and_conflicts_are_told_apart_and_a_foreign_field_cannot_be_approved() {
    let mut live = recorded().remove(0);
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
    let updated = recorded().remove(1);
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
fn a_plan_stands_for_another_one_only_if_it_does_the_same_to_the_same_objects() {
    let plan = plan_after("Deployment", new_tag);
    assert!(plan.does_the_same_as(&plan_after("Deployment", new_tag)));
    assert!(!plan.does_the_same_as(&plan_after("none", |_| {})));
    let mut recreated = plan_after("Deployment", new_tag);
    recreated.steps[0].uid = Some("another".to_owned());
    assert!(!plan.does_the_same_as(&recreated));
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
        let pairs: Vec<_> = recorded()
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
        let pairs = recorded()
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
    assert_eq!(error.exit(), crate::exit::Exit::Rollout);
}

#[test]
fn a_job_that_came_to_its_end_is_unchanged_even_if_it_was_cleaned_away() {
    let job = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "aip-migrate-1", "namespace": "n"}});
    let observed = |finished| Observed {
        finished,
        ..observed(None, job.clone())
    };
    let plan = |finished| {
        let pair = (desired(&job), observed(finished));
        build(vec![pair], Vec::new(), &[], Namespace::Exists)
    };
    assert_eq!(plan(false).steps[0].op, Op::Create);
    let step = &plan(true).steps[0];
    assert!(step.op == Op::Same && !step.must_be_sent());
}

#[test]
fn a_namespace_that_cannot_be_made_makes_the_plan_incomplete() {
    let pairs = recorded()
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
fn the_end_of_autoscaling_takes_the_replicas_back_and_somebody_elses_autoscaler_keeps_them() {
    let scaled_by_others = |autoscaler: &str| {
        let pairs = recorded()
            .into_iter()
            .filter(|live| live["kind"] == "Deployment")
            .map(|live| {
                let message =
                    "conflict with \"kube-controller-manager\" with subresource \"scale\"";
                let conflict = fields::conflict(fields::REPLICAS_PATH, message, None);
                let observed = Observed {
                    proposed: Proposed::Forced(live.clone(), vec![conflict]),
                    ..observed(Some(live.clone()), live.clone())
                };
                (desired(&live), observed)
            })
            .collect();
        let object = ObjectRef {
            api_version: "autoscaling/v2".to_owned(),
            kind: "HorizontalPodAutoscaler".to_owned(),
            plural: "horizontalpodautoscalers".to_owned(),
            namespace: Some("aip-main".to_owned()),
            name: autoscaler.to_owned(),
            logical_name: autoscaler.to_owned(),
        };
        let stale = Stale {
            live: Some(json!({"metadata": {"uid": "h"}})),
            object,
        };
        build(pairs, vec![stale], &[], Namespace::Exists)
    };
    assert_eq!(scaled_by_others("aip").check(false), Ok(()));
    assert!(scaled_by_others("other").check(false).is_err());
}
