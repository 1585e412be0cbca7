//! The database goes to another server while an app is used.

use aip_testkit::postgres::TlsCluster;

use super::aip_project::AipProject;
use super::person::SignedIn;
use super::secrets::Secrets;
use super::usage::Usage;
use crate::dependencies::{cloudnative_pg, operate};

#[tokio::test(flavor = "multi_thread")]
async fn the_database_is_moved_to_another_server_under_load_and_nobody_signs_in_again() {
    let aip_project = AipProject::new("realmove", 2).await;
    aip_project.up().await.exits(0);
    aip_project.balancer.wait_for(2).await;
    let alice = &aip_project.sandbox.accounts.alice;
    let app = aip_project.sign_in(alice).await;
    let next = Secrets::database_elsewhere().await;
    aip_project
        .set_secret("extra_env.AIP_DATABASE_NEXT_URL", &next)
        .await;

    let usage = Usage::start(&app).await;
    let migrate = ["deps", "migrate", "postgres", "--to", "external", "--yes"];
    aip_project
        .deploy(&migrate)
        .await
        .exits(0)
        .says("The database was moved");
    aip_project.balancer.wait_for(2).await;
    usage.stop_without_a_loss().await;

    goes_on(&aip_project, &app).await;
    assert!(!aip_project.said().contains(&next));
}

/// Nothing of what the person allowed was lost.
async fn goes_on(aip_project: &AipProject, app: &SignedIn) {
    let alice = &aip_project.sandbox.accounts.alice;
    assert_eq!(aip_project.sandbox.pds.live_sessions(&alice.did), 1);
    app.refresh().await.unwrap();
    app.session().await.unwrap();
    app.write("after the move").await.unwrap();
}

/// The test is the operator of the Cluster, and PostgreSQL is real: it takes TLS alone, with a certificate of its own
/// authority.
#[tokio::test(flavor = "multi_thread")]
async fn the_database_is_moved_into_a_cluster_of_cloudnativepg_under_load() {
    cloudnative_pg().await;
    let aip_project = AipProject::new("realcnpg", 2).await;
    aip_project.up().await.exits(0);
    aip_project.balancer.wait_for(2).await;
    let app = aip_project
        .sign_in(&aip_project.sandbox.accounts.alice)
        .await;
    let before = aip_project.database_url().to_owned();
    let server = TlsCluster::start().await;
    let url = server.url("localhost", "trusted.pem");
    let (url, file) = url.split_once("?sslmode=verify-full&sslrootcert=").unwrap();
    let authority = std::fs::read_to_string(file).unwrap();

    let usage = Usage::start(&app).await;
    let migrate = ["deps", "migrate", "postgres", "--to", "cnpg", "--yes"];
    let (migrated, ()) = tokio::join!(
        aip_project.deploy(&migrate),
        operate(&aip_project.project, url, &authority)
    );
    migrated.exits(0).says("The database was moved");
    aip_project.balancer.wait_for(2).await;
    usage.stop_without_a_loss().await;
    goes_on(&aip_project, &app).await;

    // The stack file and the Pods know the Cluster alone.
    let file = std::fs::read_to_string(aip_project.project.stack_file()).unwrap();
    assert!(
        file.contains("postgres: cnpg\n") && !file.contains("DATABASE_URL"),
        "{file}"
    );
    let pod = aip_project.project.deployment().await.data.to_string();
    assert!(
        pod.contains("aip-postgres-app") && !pod.contains("AIP_DATABASE_NEXT_URL"),
        "{pod}"
    );
    aip_project
        .deploy(&["preview", "--expect-no-changes"])
        .await
        .exits(0);
    aip_project.deploy(&migrate).await.exits(1);
    assert!(!aip_project.said().contains(&before));
}
