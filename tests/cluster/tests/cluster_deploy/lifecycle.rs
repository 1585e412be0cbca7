//! From nothing to ready Pods, to the next tag, back, and to nothing again.

use cluster::eventually;

use crate::test_project::{SECRET, TestProject, server};

#[tokio::test(flavor = "multi_thread")]
async fn a_stack_is_deployed_changed_rolled_back_and_destroyed() {
    let project = TestProject::new("life").await;

    let preview = project.run(&["preview"]).await.exits(0).says("estimate:");
    assert!(
        preview.out.contains("kubernetes:core/v1:Namespace"),
        "{}",
        preview.out
    );
    assert!(project.versions().await.is_empty());

    project
        .up()
        .await
        .exits(0)
        .says("Duration:")
        .says("migrated");
    let first = project.deployment().await;
    assert_eq!(first.data["spec"]["replicas"], 2);
    project
        .run(&["preview", "--expect-no-changes"])
        .await
        .exits(0)
        .says("unchanged");

    // Nothing to do: nothing is written.
    let before = project.versions().await;
    project.up().await.exits(0);
    assert_eq!(project.versions().await, before);

    project.push("v2", server());
    project.write("v2", "");
    project
        .run(&["preview", "--expect-no-changes"])
        .await
        .exits(7);
    let digest = project.run(&["preview", "--json"]).await.exits(0).out;
    let digest: serde_json::Value = serde_json::from_str(&digest).unwrap();
    assert_eq!(digest["changeSummary"]["update"], 1);
    let diff = project.run(&["preview", "--diff"]).await.exits(0);
    let change = format!(
        "~ image: \"{}\" => \"{}\"",
        project.image("v1"),
        project.image("v2")
    );
    assert!(diff.out.contains(&change), "{}", diff.out);
    project.up().await.exits(0).says("updated (");
    let second = project.deployment().await;
    assert_eq!(second.metadata.uid, first.metadata.uid);
    assert_eq!(
        second.data["spec"]["template"]["spec"]["containers"][0]["image"],
        project.image("v2")
    );
    eventually("the old Job is pruned", async || {
        let jobs = project.names("batch", "Job").await;
        if jobs.len() == 1 {
            Ok(())
        } else {
            Err(jobs.join(", "))
        }
    })
    .await;

    project.run(&["stack", "history"]).await.exits(0).says("v2");
    project.run(&["rollback", "--yes"]).await.exits(0);
    assert_eq!(
        project.deployment().await.data["spec"]["template"]["spec"]["containers"][0]["image"],
        project.image("v1")
    );

    project
        .run(&["destroy", "--yes"])
        .await
        .exits(0)
        .says("deleted");
    assert_eq!(project.versions().await, []);
    project.run(&["destroy", "--yes"]).await.exits(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_secret_rolls_the_pods_and_the_old_one_stays_for_a_rollback() {
    let project = TestProject::new("secret").await;
    project.up().await.exits(0);
    let before = project.names("", "Secret").await;

    project.write("v1", "extra_env: {PLAIN: changed-value}");
    let details = project
        .run(&["preview", "--diff"])
        .await
        .exits(0)
        .does_not_say("changed-value");
    assert!(details.out.contains("[secret]"), "{}", details.out);
    project.up().await.exits(0).does_not_say("changed-value");
    let after = project.names("", "Secret").await;
    assert!(
        before.iter().all(|name| after.contains(name)),
        "{before:?} {after:?}"
    );
    assert_eq!(after.len(), before.len() + 1);

    // The state knows names, never values.
    for file in walk(&project.state()) {
        let content = std::fs::read(&file).unwrap();
        let text = String::from_utf8_lossy(&content);
        let is_history = file.to_string_lossy().contains("history");
        // The stack file of this story has its values in the clear, and the history keeps it as it is.
        assert!(is_history || !text.contains(SECRET), "{}", file.display());
    }
}

fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(walk(&path));
        } else {
            files.push(path);
        }
    }
    files
}
