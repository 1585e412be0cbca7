//! The real `aip` in the `restricted` profile, Pods on one PostgreSQL and one Valkey: deployed,
//! signed in to, rolled under load; and its secrets, which stay where they belong.

mod aip_project;
mod edge;
mod failures;
mod master_keys;
mod moving;
mod person;
mod search;
mod secrets;
mod usage;

use std::time::Duration;

use aip_sandbox::Endpoint;
use cluster::eventually;
use http::StatusCode;

use aip_project::AipProject;
use search::{objects, secrets, without_data};
use usage::Usage;

#[tokio::test(flavor = "multi_thread")]
async fn a_new_tag_rolls_three_pods_without_a_lost_request_or_session() {
    let aip_project = AipProject::new("real", 3).await;
    aip_project.up().await.exits(0);
    aip_project.balancer.wait_for(3).await;
    let alice = &aip_project.sandbox.accounts.alice;
    // Every few seconds another Pod finds that the session at the PDS must be refreshed.
    aip_project
        .sandbox
        .pds
        .set_lifetimes(|lifetimes| lifetimes.access_token = Duration::from_secs(10));
    let app = aip_project.sign_in(alice).await;

    let usage = Usage::start(&app).await;
    aip_project.push("v2");
    aip_project.set_tag("v2").await;
    aip_project.up().await.exits(0).says("updated (");
    aip_project.balancer.wait_for(3).await;
    eventually("refreshes at the PDS", async || {
        match refreshes(&aip_project) {
            count @ 0..3 => Err(format!("{count} of them")),
            _ => Ok(()),
        }
    })
    .await;
    usage.stop_without_a_loss().await;
    let connections = aip_project.valkey_connections().await;
    assert!(connections >= 3, "{connections} connections to Valkey");

    let live = aip_project.project.deployment().await;
    let pod = &live.data["spec"]["template"]["spec"];
    assert_eq!(
        pod["containers"][0]["image"],
        aip_project.project.image("v2")
    );
    assert_eq!(live.data["status"]["updatedReplicas"], 3);
    // The session at the PDS is the one that began with the sign-in.
    assert_eq!(aip_project.sandbox.pds.live_sessions(&alice.did), 1);
    app.refresh().await.unwrap();
    app.session().await.unwrap();
    app.write("after the roll-out").await.unwrap();
}

/// How often the PDS has refreshed a session.
fn refreshes(aip_project: &AipProject) -> usize {
    let requests = aip_project.sandbox.pds.requests_to(Endpoint::Token);
    let done = requests.iter().filter(|request| {
        request.form().get("grant_type") == Some("refresh_token")
            && request.answered() == Some(StatusCode::OK)
    });
    done.count()
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_in_the_data_of_secrets_and_nowhere_else() {
    let aip_project = AipProject::new("quiet", 1).await;
    let needles = aip_project.needles();
    aip_project.deploy(&["preview", "--diff"]).await.exits(0);
    aip_project.up().await.exits(0);

    // Every secret changes, and a program that cannot reach its database complains about it.
    let good = aip_project.database_url().to_owned();
    aip_project
        .set_secret(
            "required_env.DATABASE_URL",
            &aip_project.wrong_database_url(),
        )
        .await;
    aip_project
        .set_secret("extra_env.ANOTHER", "with another value")
        .await;
    aip_project.deploy(&["preview", "--diff"]).await.exits(0);
    aip_project.deploy(&["preview", "--json"]).await.exits(0);
    aip_project.up().await.exits(4).says("the migration failed");
    aip_project
        .set_secret("required_env.DATABASE_URL", &good)
        .await;
    aip_project.up().await.exits(0);
    for arguments in [
        &["config"][..],
        &["config", "--json"],
        &["stack"],
        &["stack", "history"],
        &["drift"],
        &["doctor"],
        &["rollout"],
        &["render", "--secrets", "stub"],
        &["render", "--secrets", "skip"],
    ] {
        aip_project.deploy(arguments).await;
    }

    assert_eq!(needles.found_in(&aip_project.said()), [""; 0]);
    assert_eq!(needles.found_below(&aip_project.project.state()), [""; 0]);
    let stack_file = std::fs::read_to_string(aip_project.project.stack_file()).unwrap();
    assert_eq!(needles.found_in(&stack_file), [""; 0]);
    let all = objects(
        &aip_project.project.client,
        &aip_project.project.namespace(),
    )
    .await;
    assert!(
        all.iter()
            .any(|object| object.metadata.managed_fields.is_some())
    );
    let rest: Vec<_> = all.into_iter().map(without_data).collect();
    assert_eq!(needles.found_in_objects(&rest), [""; 0]);

    // The search finds what there is to find.
    let shown = ["config", "--show-secrets"];
    let shown = aip_project.run_aside(&shown, "").await.exits(0);
    assert_ne!(needles.found_in(&shown.out), [""; 0]);
    let data = secrets(
        &aip_project.project.client,
        &aip_project.project.namespace(),
    )
    .await;
    assert_ne!(needles.found_in_objects(&data), [""; 0]);
    std::fs::write(aip_project.project.state().join("planted"), shown.out).unwrap();
    assert_ne!(needles.found_below(&aip_project.project.state()), [""; 0]);
}
