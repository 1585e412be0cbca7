//! `keys rotate --auto`, as far as it goes without a cluster: when nothing is due, and what it refuses.

use std::collections::BTreeMap;
use std::path::Path;

use crate::history::{deployed, recorded};
use crate::test_project::{CommandOutput, TestProject};

fn auto(project: &TestProject, more: &[&str]) -> CommandOutput {
    let command = ["keys", "rotate", "--auto"];
    project.run(&[&command[..], more].concat())
}

fn set(project: &TestProject, path: &str, value: &str) {
    let command = ["config", "set", "--path", path, value];
    project.run(&command).ok();
}

/// Every file below a folder.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.insert(path.display().to_string(), std::fs::read(&path).unwrap());
        }
    }
    found
}

/// A stack whose key was activated just now, and deployed.
fn rotated() -> TestProject {
    let project = TestProject::new();
    project.set_repository();
    set(&project, "aip_config.keys.rotate_every", "90d");
    project.run(&["keys", "rotate"]).ok();
    project
        .run(&["keys", "rotate", "--activate", "--force"])
        .ok();
    deployed(
        &project,
        1,
        "succeeded",
        &project.text("main"),
        "2026-01-01T00:00:00Z",
    );
    project
}

#[test]
fn with_nothing_due_it_succeeds_and_writes_nothing() {
    let project = rotated();
    let before = files(project.folder.path());
    for purpose in [&[][..], &["--purpose", "upstream"], &["--every", "12w"]] {
        let said = auto(&project, purpose).ok();
        assert!(
            said.out
                .contains("nothing is due now; the next step is due at 20"),
            "{}",
            said.out
        );
    }
    assert!(files(project.folder.path()) == before, "a file was written");
}

#[test]
fn a_period_that_is_missing_or_wrong_is_refused_with_the_command_that_sets_it() {
    let project = TestProject::new();
    auto(&project, &[]).fails(
        2,
        "run `aip-deploy config set --path aip_config.keys.rotate_every 90d`, or pass --every",
    );
    for every in ["", "90", "6d", "1y", "-90d", "9999w"] {
        let given = format!("--every={every}");
        auto(&project, &[&given]).fails(2, "--every");
    }
    project
        .run(&["keys", "rotate", "--every", "90d"])
        .fails(2, "--auto");
    auto(&project, &["--activate"]).fails(2, "cannot be used with");
    project.set_repository();
    for (field, value, reason) in [
        ("rotate_every", "3d", "is 3d, and has to be at least 7d"),
        ("overlap", "24h", "is 24h, and has to be at least 25h"),
        ("overlap", "100d", "is 100d, and has to be shorter than"),
    ] {
        set(&project, "aip_config.keys.rotate_every", "90d");
        set(&project, "aip_config.keys.overlap", "2d");
        project.run(&["config", "check"]).ok();
        set(&project, &format!("aip_config.keys.{field}"), value);
        auto(&project, &[]).fails(2, &format!("aip_config.keys.{field} {reason}"));
        project.run(&["config", "check"]).fails(2, reason);
    }
}

#[test]
fn what_was_never_deployed_or_is_changed_otherwise_is_left_to_up() {
    let project = TestProject::new();
    project.set_repository();
    set(&project, "aip_config.keys.rotate_every", "90d");
    auto(&project, &[]).fails(1, "run `aip-deploy up` first");
    deployed(
        &project,
        1,
        "failed",
        &project.text("main"),
        "2026-01-01T00:00:00Z",
    );
    auto(&project, &[]).fails(1, "run `aip-deploy up` first");
    deployed(
        &project,
        2,
        "succeeded",
        &project.text("main"),
        "2026-01-01T00:00:00Z",
    );
    set(&project, "aip_config.image_tag", "v9");
    let before = project.text("main");
    auto(&project, &[]).fails(1, "differ in more than the keys");
    assert_eq!(project.text("main"), before);
    // A cluster that is out of reach: nothing is written, and the lease is free again.
    set(&project, "aip_config.image_tag", "v0.1.1");
    let before = project.text("main");
    for _ in 0..2 {
        let failed = auto(&project, &[]);
        assert_eq!(failed.code, 1, "{}", failed.err);
        assert!(!failed.err.contains("in use"), "{}", failed.err);
        assert_eq!(project.text("main"), before);
    }
    let other = ["keys", "rotate", "--auto", "--purpose", "oidc"];
    project
        .run(&other)
        .fails(2, "no oidc key of the set is active");
}

#[test]
fn an_older_copy_of_the_stack_file_is_refused() {
    let project = rotated();
    let newest = project.text("main");
    let file = project.file("main");
    project.run(&["keys", "rotate"]).ok();
    deployed(
        &project,
        2,
        "succeeded",
        &project.text("main"),
        "2026-02-01T00:00:00Z",
    );
    // Of another machine, which lacks the key.
    std::fs::write(&file, &newest).unwrap();
    auto(&project, &[]).fails(1, "which the stack file lacks");
    project.run(&["config", "refresh", "--force"]).ok();
    // The copy that was deployed is not: its key waits for ten minutes and more, and the cluster is asked.
    let taken_over = auto(&project, &[]);
    assert_eq!(taken_over.code, 1, "{}", taken_over.err);
    assert!(!taken_over.err.contains("lacks"), "{}", taken_over.err);
}

#[test]
fn a_stack_that_was_destroyed_is_not_brought_back() {
    let project = rotated();
    let text = project.text("main");
    let destroyed = |revision: u64, outcome: &str| {
        let at = "2026-01-02T00:00:00Z";
        recorded(&project, revision, "destroy", outcome, &text, at);
    };
    destroyed(2, "failed");
    auto(&project, &[]).ok();
    destroyed(3, "succeeded");
    let before = files(project.folder.path());
    auto(&project, &[]).fails(1, "was destroyed: run `aip-deploy up` first");
    assert!(files(project.folder.path()) == before, "a file was written");
    deployed(&project, 4, "succeeded", &text, "2026-01-03T00:00:00Z");
    auto(&project, &[]).ok();
}
