//! What a plan makes of a stack: what is changed, replaced, kept and pruned.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

mod recorded;

use aip_apply::plan::{Namespace, Observed, Op, Proposed, Stale, build, fields};
use aip_stack::desired::{Desired, ObjectRef, PROTECT_ANNOTATION, Phase};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use recorded::{after_a_rotation, desired, new_tag, observed, plan_after};
use serde_json::{Value, json};

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
fn an_approval_holds_although_former_replica_sets_were_trimmed_meanwhile() {
    let trimmed = after_a_rotation(&["older"]);
    assert!(after_a_rotation(&["old", "older"]).does_the_same_as(&trimmed));
    assert!(!trimmed.does_the_same_as(&plan_after("Deployment", new_tag)));
}

#[test]
fn an_object_that_the_stack_gives_up_is_a_change() {
    let pairs = recorded::objects()
        .into_iter()
        .map(|live| (desired(&live), observed(Some(live.clone()), live)))
        .collect();
    let given_up = Stale {
        object: ObjectRef {
            name: "extra".to_owned(),
            logical_name: "extra".to_owned(),
            ..desired(&recorded::objects()[1]).object().clone()
        },
        live: Some(json!({"metadata": {"uid": "u"}})),
    };
    let plan = build(pairs, vec![given_up], &[], Namespace::Exists);
    assert_eq!(plan.counts().delete, 1);
    assert_eq!(plan.counts().changes(), 1);
}

#[test]
fn a_protected_object_that_the_stack_gives_up_is_kept() {
    let database = Desired::namespace("n").protected();
    let mut live = database.manifest().clone();
    live["metadata"]["uid"] = "u".into();
    let given_up = |live: &Value| Stale {
        object: database.object().clone(),
        live: Some(live.clone()),
    };
    let plan = |live: &Value| build(Vec::new(), vec![given_up(live)], &[], Namespace::Exists);
    assert_eq!(plan(&live).steps[0].op, Op::Protect);
    assert_eq!(plan(&live).counts().changes(), 0);
    live["metadata"]["annotations"][PROTECT_ANNOTATION] = "false".into();
    assert_eq!(plan(&live).steps[0].op, Op::Delete);
}

#[test]
fn a_claim_is_kept_whatever_annotation_it_has_until_it_is_named() {
    const NAME: &str = "data-aip-valkey-0";
    for annotations in [
        Value::Null,
        json!({}),
        json!({PROTECT_ANNOTATION: "false"}),
        json!({PROTECT_ANNOTATION: "true"}),
    ] {
        let claim = Stale {
            object: ObjectRef::of::<PersistentVolumeClaim>(Some("aip-main"), NAME),
            live: Some(json!({"metadata": {"uid": "u", "annotations": annotations}})),
        };
        let mut plan = build(Vec::new(), vec![claim], &[], Namespace::Exists);
        assert_eq!(plan.steps[0].op, Op::Protect, "{annotations}");
        plan.delete_protected(&[NAME.to_owned()]).unwrap();
        assert_eq!(plan.steps[0].op, Op::Delete, "{annotations}");
    }
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
fn the_end_of_autoscaling_takes_the_replicas_back_and_somebody_elses_autoscaler_keeps_them() {
    let scaled_by_others = |autoscaler: &str| {
        let pairs = recorded::objects()
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

#[test]
fn a_schedule_of_backups_that_is_kept_without_its_store_is_reported_with_the_way_out() {
    let of_kind = |kind: &str, plural: &str| ObjectRef {
        api_version: "postgresql.cnpg.io/v1".to_owned(),
        kind: kind.to_owned(),
        plural: plural.to_owned(),
        namespace: Some("aip-main".to_owned()),
        name: "aip-postgres".to_owned(),
        logical_name: "aip-postgres".to_owned(),
    };
    let secret = ObjectRef {
        name: "aip-postgres".to_owned(),
        ..ObjectRef::of::<k8s_openapi::api::core::v1::Secret>(Some("aip-main"), "aip-postgres")
    };
    let cluster = of_kind("Cluster", "clusters");
    let live = json!({"metadata": {"uid": "u", "annotations": {PROTECT_ANNOTATION: "true"}}});
    let plan = |desires_cluster: bool| {
        let desired = Desired::new(cluster.clone(), live.clone(), Phase::Dependency);
        let pairs = desires_cluster.then(|| (desired, observed(Some(live.clone()), live.clone())));
        let stale = [
            of_kind("ScheduledBackup", "scheduledbackups"),
            secret.clone(),
        ];
        let stale = stale.map(|object| Stale {
            object,
            live: Some(live.clone()),
        });
        build(
            Vec::from_iter(pairs),
            stale.to_vec(),
            &[],
            Namespace::Exists,
        )
    };
    let without_store = plan(true);
    let kept: Vec<_> = without_store
        .steps
        .iter()
        .filter(|step| step.op == Op::Protect)
        .collect();
    assert_eq!(kept.len(), 2);
    for step in kept {
        let said = step.warnings.join("");
        assert!(
            said.contains("aip_config.dependencies.cnpg.backup"),
            "{said}"
        );
        assert!(
            said.contains("/aip-postgres aip-deploy/protect-`"),
            "{said}"
        );
    }
    // The Cluster is given up, too: its backups go on.
    assert!(
        plan(false)
            .steps
            .iter()
            .all(|step| step.warnings.is_empty())
    );
}
