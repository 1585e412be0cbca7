//! `doctor --inside`: what a Pod of the stack sees, with the settings of those that run.

use cluster::eventually;
use serde_json::Value;

use crate::test_project::TestProject;

const INSIDE: [&str; 4] = ["doctor", "--inside", "--handle", "alice.example"];

/// The Jobs that look around are gone.
async fn leaves_nothing(project: &TestProject) {
    eventually("the Job is deleted", async || {
        let mut names = project.names("batch", "Job").await;
        names.retain(|name| name.starts_with("aip-doctor-"));
        if names.is_empty() {
            Ok(())
        } else {
            Err(names.join(", "))
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_of_the_stack_says_what_it_reaches() {
    let project = TestProject::new("inside").await;
    project
        .run(&INSIDE)
        .await
        .exits(1)
        .says("not pinned to a cluster yet: run `aip-deploy up` first");
    project.write("v1", "extra_env: {GREETING: hello}");
    project.up().await.exits(0);
    let fine = project.run(&INSIDE).await.exits(0);
    fine.says("ok  in a Pod: arguments  --json --servers=2 --handle=alice.example at hello");
    leaves_nothing(&project).await;

    // It is the deployed configuration that is looked at, not the one that is being written.
    project.write(
        "v1",
        "extra_env: {GREETING: later, DOCTOR_FAILS: PLC directory}",
    );
    project.run(&INSIDE).await.exits(0).says("at hello");
    project.up().await.exits(0);
    let failed = project
        .run(&["doctor", "--inside", "--json"])
        .await
        .exits(1);
    let report: Value = serde_json::from_str(&failed.out).unwrap();
    let checks = report["checks"].as_array().unwrap();
    let of_plc = checks
        .iter()
        .find(|check| check["check"] == "in a Pod: PLC directory")
        .unwrap();
    assert_eq!(
        (&of_plc["ok"], &of_plc["found"]),
        (&false.into(), &"timeout\nopen it".into())
    );
    // Without the flag nobody starts a Pod.
    project
        .run(&["doctor"])
        .await
        .exits(0)
        .does_not_say("in a Pod");
    leaves_nothing(&project).await;
}
