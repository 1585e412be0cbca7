//! The wrong cluster is never touched.

use cluster::ControlPlane;

use crate::test_project::TestProject;

/// Every command that may reach a cluster.
const COMMANDS: [&[&str]; 6] = [
    &["preview"],
    &["up", "--yes"],
    &["drift"],
    &["destroy", "--yes"],
    &["rollback", "1", "--yes"],
    &["rollout"],
];

#[tokio::test(flavor = "multi_thread")]
async fn the_right_name_on_another_cluster_stops_every_command() {
    let mut project = TestProject::new("guard").await;
    project.up().await.exits(0);
    let before = project.versions().await;

    let other = ControlPlane::start_as(ControlPlane::shared().await.context()).await;
    let right = ControlPlane::shared().await.kubeconfig();
    project.use_kubeconfig(other.kubeconfig());
    let audit = other.audit();
    for command in COMMANDS {
        let ran = project.run(command).await.exits(1);
        assert!(
            ran.err.contains("leads to another cluster"),
            "{command:?}: {}",
            ran.err
        );
        assert!(
            ran.err.contains("pinned:") && ran.err.contains("found:"),
            "{}",
            ran.err
        );
    }
    let writes: Vec<_> = audit
        .by("admin")
        .into_iter()
        .filter(cluster::AuditEvent::is_write)
        .collect();
    assert!(writes.is_empty(), "{writes:?}");

    // Only the command for it pins again, and it wants the name.
    project.run(&["repin"]).await.exits(2);
    project.run(&["repin", "--confirm", "other"]).await.exits(1);
    project.use_kubeconfig(right);
    assert_eq!(project.versions().await, before);
    project.run(&["preview"]).await.exits(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_context_that_does_not_exist_is_an_error_and_never_the_current_one() {
    let project = TestProject::new("context").await;
    let text = std::fs::read_to_string(project.stack_file()).unwrap();
    let context = ControlPlane::shared().await.context().to_owned();
    let elsewhere = text.replace(
        &format!("k8s_context: {context}"),
        "k8s_context: production",
    );
    std::fs::write(project.stack_file(), elsewhere).unwrap();
    for command in COMMANDS
        .into_iter()
        .filter(|command| command[0] != "rollback")
    {
        let ran = project.run(command).await.exits(1);
        assert!(
            ran.err.contains("no context `production`"),
            "{command:?}: {}",
            ran.err
        );
    }
    assert_eq!(project.versions().await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_never_deployed_cannot_be_destroyed() {
    let project = TestProject::new("unpinned").await;
    project
        .run(&["destroy", "--yes"])
        .await
        .exits(1)
        .says("not pinned");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_server_that_does_not_answer_is_said_and_nothing_is_stored() {
    let mut project = TestProject::new("down").await;
    let other = ControlPlane::start_as(ControlPlane::shared().await.context()).await;
    let copy = project.state().join("../down.conf");
    std::fs::copy(other.kubeconfig(), &copy).unwrap();
    drop(other);
    project.use_kubeconfig(copy);
    project
        .run(&["up", "--yes"])
        .await
        .exits(1)
        .says("cannot be reached");
    assert_eq!(std::fs::read_dir(project.state()).unwrap().count(), 0);
}
