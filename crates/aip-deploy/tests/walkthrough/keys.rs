//! `keys`: a rotation, step by step.

use serde_json::Value;

use crate::history::deployed;
use crate::test_project::TestProject;

const SERVICE: &str = "aip_config.required_env.SERVICE_AUTH_KEYS";

fn status(project: &TestProject) -> Vec<(String, String)> {
    let shown = project.run(&["keys", "status", "--json"]).ok().out;
    let list: Vec<Value> = serde_json::from_str(&shown).unwrap();
    let text = |key: &Value, member: &str| key[member].as_str().unwrap().to_owned();
    list.iter()
        .map(|key| (text(key, "kid"), text(key, "state")))
        .collect()
}

fn rotate(project: &TestProject, more: &[&str]) -> crate::test_project::CommandOutput {
    project.run(&[&["keys", "rotate"][..], more].concat())
}

#[test]
fn a_key_is_added_deployed_activated_and_the_old_one_removed() {
    let project = TestProject::new();
    let [(old, state)] = &status(&project)[..] else {
        panic!("the recorded stack has one key");
    };
    assert_eq!(state, "active");

    let added = rotate(&project, &[]).ok();
    let new = added.out.trim().to_owned();
    assert!(
        added.err.contains(&format!("keys rotate --activate {new}")),
        "{}",
        added.err
    );
    assert_eq!(status(&project)[1], (new.clone(), "published".to_owned()));
    assert!(
        !project.text("main").contains(&new),
        "the key set is encrypted"
    );

    // Not before the Pods have it, and everybody who verifies.
    let before = project.text("main");
    rotate(&project, &["--activate"]).fails(1, "is not deployed yet");
    deployed(&project, 1, "succeeded", &before, "2100-01-01T00:00:00Z");
    rotate(&project, &["--activate"]).fails(1, "Try again in ");
    assert_eq!(project.text("main"), before);
    deployed(&project, 1, "succeeded", &before, "2026-01-01T00:00:00Z");
    rotate(&project, &["--remove", old, "--yes"]).fails(2, "is active");
    rotate(&project, &["--activate"]).ok();
    let states: Vec<String> = status(&project)
        .into_iter()
        .map(|(_, state)| state)
        .collect();
    assert_eq!(states, ["published", "active"]);
    project.set_repository();
    project.run(&["config", "check"]).ok();

    // Something else may sign with it still.
    let service = ["config", "set", "--path", SERVICE];
    project.run(&[&service[..], &[old.as_str()]].concat()).ok();
    rotate(&project, &["--remove", old, "--yes"]).fails(2, "SERVICE_AUTH_KEYS");
    project.run(&[&service[..], &[new.as_str()]].concat()).ok();
    rotate(&project, &["--remove", old]).fails(2, "pass --yes");
    rotate(&project, &["--remove", old, "--yes"]).ok();
    assert_eq!(status(&project), [(new, "active".to_owned())]);
    project.run(&["config", "check"]).ok();
}

#[test]
fn nothing_private_is_shown_and_a_stack_without_keys_says_so() {
    let project = TestProject::new();
    rotate(&project, &["--activate", "nope"]).fails(2, "there is no key `nope`");
    rotate(&project, &["--purpose", "oidc"]).fails(2, "have no purposes yet");
    let shown = project.run(&["keys", "status"]).ok().out;
    assert!(
        shown.contains("ES256") && shown.contains("for PDSs"),
        "{shown}"
    );
    let set = [
        "config",
        "get",
        "--path",
        "aip_config.signing_keys_json_string",
    ];
    let set: Value = serde_json::from_str(&project.run(&set).ok().out).unwrap();
    assert!(!shown.contains(set["keys"][0]["d"].as_str().unwrap()));
    project.run(&["stack", "init", "dev"]).ok();
    project
        .run(&["keys", "status"])
        .fails(2, "signing_keys_json_string is missing");
}
