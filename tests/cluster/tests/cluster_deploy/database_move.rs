//! `deps migrate postgres`: two deployments and a Job, killed in between. What the Job does to the data is shown
//! with the real `aip` (`real_aip/moving.rs`) and with two servers (`aip-storage-sql`).

use aip_apply::apply::FailPoint;
use serde_json::Value;

use crate::key_rotation::live;
use crate::test_project::TestProject;

const MOVE: [&str; 6] = ["deps", "migrate", "postgres", "--to", "external", "--yes"];
const NEXT: &str = "AIP_DATABASE_NEXT_URL";

fn next_url(round: &str) -> String {
    format!("postgresql://aip:next@127.0.0.1:5433/{round}")
}

/// A deployed stack, and then a stack file that names a database to move to.
async fn deployed(project: &TestProject, round: &str, more: &str) {
    project.write("v1", &format!("extra_env: {{ROUND: {round}{more}}}"));
    project.up().await.exits(0);
    let next = next_url(round);
    let with_next = format!("{NEXT}: '{next}', ROUND: {round}");
    project.edit(&format!("ROUND: {round}"), &with_next);
}

/// The Pods have the new database, and know no other.
async fn is_moved(project: &TestProject, round: &str) {
    assert_eq!(
        live(project, "aip-env", "DATABASE_URL").await,
        next_url(round)
    );
    let deployment = project.deployment().await;
    let text = deployment.data.to_string();
    assert!(!text.contains("aip-database-move"), "{text}");
    let file = std::fs::read_to_string(project.stack_file()).unwrap();
    assert!(
        !file.contains(NEXT) && !file.contains(&next_url(round)),
        "{file}"
    );
    let pod: &Value = &deployment.data["spec"]["template"]["spec"];
    assert_eq!(pod["containers"][0]["image"], project.image("v1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_kill_at_any_point_the_next_move_of_the_database_completes() {
    let project = TestProject::new("move").await;
    for (point, pass) in [
        (FailPoint::LeaseAcquired, 1),
        (FailPoint::WorkloadApplied, 1),
        // Of the Job.
        (FailPoint::MigrationApplied, 2),
        (FailPoint::DatabaseMoved, 1),
        (FailPoint::MoveWritten, 1),
        (FailPoint::HistoryRecorded, 3),
    ] {
        let round = format!("{point}");
        deployed(&project, &round, "").await;
        project.kill_at_pass(point, pass, &MOVE).await;
        if point == FailPoint::HistoryRecorded {
            // It was done but for the lease.
            project.run(&MOVE).await.exits(2).says("is missing");
        } else {
            project.run(&MOVE).await.exits(0).says("was moved");
        }
        is_moved(&project, &round).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_of_the_database_is_asked_for_and_told_why_it_cannot_be() {
    let project = TestProject::new("moveno").await;
    let missing = "aip_config.extra_env.AIP_DATABASE_NEXT_URL is missing";
    project.run(&MOVE).await.exits(1).says("not deployed");
    deployed(&project, "r", ", MOVE_EXIT_CODE: '1'").await;
    let asked = project.run(&MOVE[..5]).await.exits(2);
    asked
        .says("Writes wait for at most 10 s")
        .says("--yes must be passed");
    let to_cluster = ["deps", "migrate", "postgres", "--to", "cnpg", "--yes"];
    let refused = project.run(&to_cluster).await.exits(2);
    refused.says("names another database");

    // What the Job says is shown; the Pods go on with the database they have.
    let before = live(&project, "aip-env", "DATABASE_URL").await;
    let failed = project.run(&MOVE).await.exits(4);
    failed.says("the database was not moved");
    assert_eq!(live(&project, "aip-env", "DATABASE_URL").await, before);
    project.edit("MOVE_EXIT_CODE: '1'", "MOVE_EXIT_CODE: '0'");
    project.run(&MOVE).await.exits(0).says("was moved");
    is_moved(&project, "r").await;
    project.run(&MOVE).await.exits(2).says(missing);
}
