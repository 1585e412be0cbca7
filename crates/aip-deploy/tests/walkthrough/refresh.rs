//! `config refresh`: back to what was deployed.

use crate::history::deployed;
use crate::test_project::{PASSPHRASE, STACK, TestProject};

const REFRESH: &[&str] = &["config", "refresh"];
const LONG_AGO: &str = "2026-01-01T00:00:00Z";

#[test]
fn the_configuration_of_the_last_success_comes_back_and_the_present_one_is_kept() {
    let project = TestProject::new();
    project.run(REFRESH).fails(
        1,
        "has no successful deployment to restore the configuration from",
    );
    let tag = ["config", "set", "--path", "aip_config.image_tag", "v9"];
    project.run(&tag).ok();
    let edited = project.text("main");
    deployed(&project, 1, "succeeded", STACK, LONG_AGO);
    deployed(&project, 2, "failed", &edited, LONG_AGO);
    let history = project.run(&["stack", "history", "--json"]).ok().out;
    assert!(history.contains("\"version\": 2") && !history.contains("aip_config"));
    // The same key: no passphrase is needed.
    let ended = project.run_with(REFRESH, "wrong", None).ok();
    assert!(ended.err.contains("from revision 1"), "{}", ended.err);
    assert_eq!(project.text("main"), STACK);
    let backup = project.folder.path().join("Pulumi.main.yaml.bak");
    assert_eq!(std::fs::read_to_string(backup).unwrap(), edited);
    assert!(project.run(REFRESH).ok().err.contains("already"));
    project.run(&tag).ok();
    project.run(&["config", "refresh", "--force"]).ok();
    assert_eq!(project.text("main"), STACK);
    assert!(
        !project
            .folder
            .path()
            .join("Pulumi.main.yaml.bak.bak")
            .exists()
    );
}

#[test]
fn a_lost_file_is_written_again() {
    let project = TestProject::new();
    deployed(&project, 1, "succeeded", STACK, LONG_AGO);
    std::fs::remove_file(project.file("main")).unwrap();
    project
        .run_with(&["-s", "main", "config", "refresh"], "wrong", None)
        .ok();
    assert_eq!(project.text("main"), STACK);
}

#[test]
fn values_that_nobody_can_open_do_not_replace_those_that_somebody_can() {
    let project = TestProject::new();
    deployed(&project, 1, "succeeded", STACK, LONG_AGO);
    let change = ["stack", "change-secrets-provider", "passphrase"];
    project.run_with(&change, PASSPHRASE, Some("new\n")).ok();
    let now = project.text("main");
    project
        .run_with(REFRESH, "new", None)
        .fails(1, "revision 1 was encrypted with another key");
    assert_eq!(project.text("main"), now);
    assert!(!project.folder.path().join("Pulumi.main.yaml.bak").exists());
    project.run_with(REFRESH, PASSPHRASE, None).ok();
    assert_eq!(project.text("main"), STACK);
}
