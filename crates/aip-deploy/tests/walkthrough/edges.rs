//! Files that Pulumi's users have, as commands meet them.

use crate::test_project::{STACK, TestProject};

#[test]
fn removing_the_last_key_and_setting_another_keeps_block_style() {
    let project = TestProject::new();
    std::fs::write(
        project.file("main"),
        "config:\n  aip:aip_config:\n    replicas: 2\n",
    )
    .unwrap();
    project
        .run(&["config", "rm", "--path", "aip_config.replicas"])
        .ok();
    project
        .run(&["config", "set", "--path", "aip_config.replicas", "3"])
        .ok();
    assert_eq!(
        project.text("main"),
        "config:\n  aip:aip_config:\n    replicas: 3\n"
    );
    project.run(&["config", "rm", "aip_config"]).ok();
    project.run(&["config", "set", "a", "b"]).ok();
    project.run(&["config", "set", "c", "d"]).ok();
    assert_eq!(project.text("main"), "config:\n  aip:a: b\n  aip:c: d\n");
}

#[test]
fn a_tab_behind_a_colon_is_read_and_stays() {
    let project = TestProject::new();
    std::fs::write(
        project.file("main"),
        "config:\n  aip:a:\tone\n  aip:b:\ttwo\n",
    )
    .unwrap();
    assert_eq!(project.run(&["config", "get", "a"]).ok().out, "one\n");
    project.run(&["config", "set", "a", "1"]).ok();
    assert_eq!(
        project.text("main"),
        "config:\n  aip:a:\t\"1\"\n  aip:b:\ttwo\n"
    );
}

#[test]
fn bytes_are_shown_as_the_text_they_are() {
    let project = TestProject::new();
    std::fs::write(
        project.file("main"),
        "config:\n  aip:a: !!binary aGVsbG8=\n",
    )
    .unwrap();
    assert_eq!(project.run(&["config", "get", "a"]).ok().out, "hello\n");
    let json = project.run(&["config", "--json"]).ok().out;
    assert!(json.contains("\"value\": \"hello\""), "{json}");
}

#[test]
fn an_encryption_that_is_no_text_is_refused_before_anything_is_written() {
    let project = TestProject::new();
    let damaged = STACK.replacen("encryptionsalt: ", "encryptionsalt:\n  was: ", 1);
    std::fs::write(project.file("main"), &damaged).unwrap();
    for arguments in [
        &["config", "set", "--secret", "a", "b"][..],
        &["stack", "change-secrets-provider", "passphrase"],
        &["stack", "init", "main"],
    ] {
        let ended = project.run(arguments);
        assert_eq!(ended.code, 2, "{}", ended.err);
        assert!(
            ended.err.contains("`encryptionsalt` must be a string"),
            "{}",
            ended.err
        );
        assert_eq!(project.text("main"), damaged);
    }
}

#[test]
fn keys_with_an_equals_sign_are_set_in_quotes() {
    let project = TestProject::new();
    let set = [
        "config",
        "set-all",
        "--plaintext",
        "\"a=b\"=c",
        "--plaintext",
        "d=e=f",
    ];
    project.run(&set).ok();
    assert_eq!(project.run(&["config", "get", "a=b"]).ok().out, "c\n");
    assert_eq!(project.run(&["config", "get", "d"]).ok().out, "e=f\n");
    let set = ["config", "set-all", "--path", "--plaintext", "m[\"x=y\"]=z"];
    project.run(&set).ok();
    assert_eq!(
        project
            .run(&["config", "get", "--path", "m[\"x=y\"]"])
            .ok()
            .out,
        "z\n"
    );
}

#[test]
fn the_project_may_keep_its_stacks_in_a_folder_that_is_not_there_yet() {
    let project = TestProject::new();
    let project_file = project.folder.path().join("Pulumi.yaml");
    std::fs::write(&project_file, "name: aip\nstackConfigDir: deploy/stacks\n").unwrap();
    project.run(&["stack", "init", "dev"]).ok();
    let made = project.folder.path().join("deploy/stacks/Pulumi.dev.yaml");
    assert!(
        std::fs::read_to_string(made)
            .unwrap()
            .contains("profile: restricted")
    );
}

#[test]
fn a_project_without_a_runtime_is_enough_and_impossible_defaults_are_refused() {
    let project = TestProject::new();
    let project_file = project.folder.path().join("Pulumi.yaml");
    std::fs::write(&project_file, "name: aip\n").unwrap();
    project.run(&["config", "set", "a", "b"]).ok();
    assert_eq!(project.run(&["config", "get", "a"]).ok().out, "b\n");
    std::fs::write(
        &project_file,
        "name: aip\nconfig:\n  n: {type: integer, default: many}\n",
    )
    .unwrap();
    project.run(&["config"]).fails(
        2,
        "Pulumi.yaml:3: the default of `n` is not of type integer",
    );
}

#[test]
fn a_copied_configuration_says_what_it_leaves_out() {
    let project = TestProject::new();
    let init = ["stack", "init", "dev", "--copy-config-from", "main"];
    let ended = project.run(&init).ok();
    assert!(
        ended
            .err
            .contains("note: `aip_config` was not copied because it contains secrets"),
        "{}",
        ended.err
    );
    assert!(project.text("dev").contains("k8s_context: aip-test"));
    project
        .run(&["-s", "main", "config", "cp", "aip_config", "--dest", "dev"])
        .ok();
    assert!(project.text("dev").contains("image_tag: v0.1.1"));
}

#[test]
fn a_folder_without_a_project_gets_one_with_its_first_stack() {
    let project = TestProject::empty();
    std::fs::remove_file(project.folder.path().join("Pulumi.yaml")).unwrap();
    project.run(&["login", &project.url()]).ok();
    project
        .run(&["stack", "init", "main"])
        .fails(1, "`aip-deploy stack init NAME --project aip` creates one");
    project
        .run(&["stack", "init", "main", "--project", "a b"])
        .fails(2, "a project name is");
    assert!(!project.folder.path().join("Pulumi.yaml").exists());
    project
        .run(&["stack", "init", "main", "--project", "aip"])
        .ok();
    let project_file = std::fs::read_to_string(project.folder.path().join("Pulumi.yaml")).unwrap();
    assert!(
        project_file.contains("name: aip\n") && project_file.contains("runtime: "),
        "{project_file}"
    );
    assert!(project.file("main").exists());
    project
        .run(&["stack", "init", "dev", "--project", "other"])
        .fails(2, "belongs to the project `aip`");
    project
        .run(&["stack", "init", "dev", "--project", "aip"])
        .ok();
}
