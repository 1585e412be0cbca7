//! A history, as `up` writes it.

use crate::test_project::TestProject;

/// Writes an entry of the history of `main`, by `up`.
pub(crate) fn deployed(
    project: &TestProject,
    revision: u64,
    outcome: &str,
    stack_file: &str,
    at: &str,
) {
    recorded(project, revision, "up", outcome, stack_file, at);
}

/// Writes an entry of the history of `main`.
pub(crate) fn recorded(
    project: &TestProject,
    revision: u64,
    command: &str,
    outcome: &str,
    stack_file: &str,
    at: &str,
) {
    let record = serde_json::json!({
        "command": command, "user": "ann", "host": "here", "git_commit": null, "image": "i:1",
        "started": at, "ended": at, "outcome": outcome,
        "counts": {"create": 1, "update": 0, "delete": 0, "replace": 0, "same": 0},
        "stack_file": stack_file,
    });
    let folder = project
        .folder
        .path()
        .join("state/.aip-deploy/aip/main/history");
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join(format!("{revision:010}.json"));
    std::fs::write(file, record.to_string()).unwrap();
}
