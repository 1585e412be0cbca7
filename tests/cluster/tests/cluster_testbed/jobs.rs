//! Jobs end as their Pods do.

use k8s_openapi::api::batch::v1::Job;
use kube::ResourceExt as _;
use serde_json::{Value, json};

use crate::test_namespace::{TestNamespace, container, phase, pods_that, tiny_server};

fn job(image: &str, arguments: &[&str]) -> Value {
    json!({
        "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "migrate"},
        "spec": {
            "backoffLimit": 0,
            "template": {"spec": {
                "restartPolicy": "Never",
                "containers": [{"name": "migrate", "image": image, "args": arguments}],
            }},
        },
    })
}

/// The condition of the Job that holds in the end, and its reason.
async fn ended(ns: &TestNamespace) -> (String, String) {
    let jobs = ns.api::<Job>();
    cluster::eventually("the Job has ended", async || {
        let status = jobs
            .get("migrate")
            .await
            .map_err(|error| error.to_string())?
            .status;
        let status = status.unwrap_or_default();
        let conditions = status.conditions.iter().flatten();
        let mut last =
            conditions.filter(|condition| ["Complete", "Failed"].contains(&&*condition.type_));
        let found = last.find(|condition| condition.status == "True");
        let found = found.map(|found| {
            (
                found.type_.clone(),
                found.reason.clone().unwrap_or_default(),
            )
        });
        found.ok_or_else(|| format!("{status:#?}"))
    })
    .await
}

#[tokio::test]
async fn a_job_whose_program_succeeds_is_complete_and_keeps_its_log() {
    let ns = TestNamespace::create("job").await;
    let image = ns.push("1", tiny_server());
    ns.apply(job(&image, &["exit", "0", "3 migrations applied"]))
        .await;
    assert_eq!(ended(&ns).await.0, "Complete");
    let pod = &ns.pods().await[0];
    assert_eq!(phase(pod), "Succeeded");
    assert_eq!(
        ns.logs(&pod.name_any(), false).await,
        "3 migrations applied\n"
    );
}

#[tokio::test]
async fn a_job_whose_program_fails_has_failed() {
    let ns = TestNamespace::create("failed-job").await;
    let image = ns.push("1", tiny_server());
    ns.apply(job(&image, &["exit", "7", "no database"])).await;
    assert_eq!(
        ended(&ns).await,
        ("Failed".to_owned(), "BackoffLimitExceeded".to_owned())
    );
    let end = pods_that(&ns, "the failed Pod", |pods| match pods {
        [pod] if phase(pod) == "Failed" => Ok(container(pod).state.unwrap().terminated.unwrap()),
        _ => Err(format!("{} Pods", pods.len())),
    })
    .await;
    assert_eq!((end.exit_code, end.reason.as_deref()), (7, Some("Error")));
}
