//! The database goes to another server while an app is used.

use super::aip_project::AipProject;
use super::secrets::Secrets;
use super::usage::Usage;

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

    assert_eq!(aip_project.sandbox.pds.live_sessions(&alice.did), 1);
    app.refresh().await.unwrap();
    app.session().await.unwrap();
    app.write("after the move").await.unwrap();
    assert!(!aip_project.said().contains(&next));
}
