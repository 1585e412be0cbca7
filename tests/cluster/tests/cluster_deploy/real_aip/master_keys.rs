//! The rotation of master keys with the real `aip keys rekey` as a Job, while an app is used.

use super::aip_project::AipProject;
use super::usage::Usage;
use crate::key_rotation::time_passes;

const AUTO: [&str; 7] = [
    "keys",
    "rotate",
    "--auto",
    "--purpose",
    "master",
    "--every",
    "90d",
];

#[tokio::test(flavor = "multi_thread")]
async fn master_keys_are_rotated_under_load_and_nothing_is_sealed_with_the_old_one() {
    let aip_project = AipProject::new("realmaster", 2).await;
    aip_project.up().await.exits(0);
    aip_project.balancer.wait_for(2).await;
    let alice = &aip_project.sandbox.accounts.alice;
    let app = aip_project.sign_in(alice).await;
    let sealed_with_old = format!(".{}.", aip_project.first_master_key());
    assert!(aip_project.dump().await.contains(&sealed_with_old));

    let usage = Usage::start(&app).await;
    aip_project.deploy(&AUTO).await.exits(0).says("published: ");
    time_passes(&aip_project.project);
    aip_project.deploy(&AUTO).await.exits(0).says("activated: ");
    time_passes(&aip_project.project);
    let removed = aip_project.deploy(&AUTO).await.exits(0);
    removed.says("everything is sealed again; removed: ");
    aip_project.balancer.wait_for(2).await;
    usage.stop_without_a_loss().await;

    assert!(!aip_project.dump().await.contains(&sealed_with_old));
    assert_eq!(aip_project.sandbox.pds.live_sessions(&alice.did), 1);
    app.refresh().await.unwrap();
    app.session().await.unwrap();
    aip_project
        .deploy(&AUTO)
        .await
        .exits(0)
        .says("nothing is due now");
}
