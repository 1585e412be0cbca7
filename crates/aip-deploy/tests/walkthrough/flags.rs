//! The flags and words of scripts that were written for Pulumi.

use std::process::Command;

use crate::test_project::{PASSPHRASE, STACK, TestProject};

/// A place with a second stack, which is not selected.
fn two_stacks() -> TestProject {
    let project = TestProject::new();
    project.run(&["stack", "init", "dev", "--no-select"]).ok();
    project
        .run(&["-s", "dev", "config", "set", "key", "of-dev"])
        .ok();
    project.run(&["config", "set", "key", "of-main"]).ok();
    project
}

#[test]
fn global_flags_may_stand_between_config_and_its_subcommand() {
    let project = two_stacks();
    let folder = project.folder.path().to_str().unwrap().to_owned();
    for (arguments, value) in [
        (&["config", "get", "key"][..], "of-main"),
        (&["config", "-s", "dev", "get", "key"], "of-dev"),
        (&["config", "--stack", "dev", "get", "key"], "of-dev"),
        (&["config", "get", "-s", "dev", "key"], "of-dev"),
        (&["config", "--cwd", &folder, "get", "key"], "of-main"),
        (
            &["config", "-C", &folder, "-s", "dev", "get", "key"],
            "of-dev",
        ),
        (
            &["config", "--config-file", "Pulumi.dev.yaml", "get", "key"],
            "of-dev",
        ),
        (
            &["config", "--non-interactive", "--color=never", "get", "key"],
            "of-main",
        ),
    ] {
        assert_eq!(
            project.run(arguments).ok().out,
            format!("{value}\n"),
            "{arguments:?}"
        );
    }
    project
        .run(&["config", "-s", "dev", "set", "key", "new"])
        .ok();
    assert_eq!(
        project.run(&["config", "-s", "dev", "get", "key"]).ok().out,
        "new\n"
    );
    assert_eq!(project.run(&["config", "get", "key"]).ok().out, "of-main\n");
    project
        .run(&["config", "--json", "get", "key"])
        .fails(2, "put them after it");
    // In another folder the project is found through --cwd.
    let other = TestProject::empty();
    std::fs::remove_file(other.folder.path().join("Pulumi.yaml")).unwrap();
    let get = ["config", "--cwd", &folder, "--stack", "dev", "get", "key"];
    assert_eq!(other.run(&get).ok().out, "new\n");
}

#[test]
fn yes_and_no_may_be_spelled_out() {
    let project = two_stacks();
    project
        .run(&["stack", "rm", "dev", "--yes=false"])
        .fails(2, "pass --yes");
    project
        .run(&[
            "stack",
            "rm",
            "dev",
            "--yes",
            "--yes=false",
            "--non-interactive=true",
        ])
        .fails(2, "pass --yes");
    let set = [
        "config",
        "set",
        "--secret=false",
        "--path=false",
        "a.b",
        "plain",
    ];
    project.run(&set).ok();
    assert!(project.text("main").contains("aip:a.b: plain"));
    project
        .run(&["stack", "rm", "dev", "--yes=perhaps"])
        .fails(2, "--yes must be true or false");
    project.run(&["stack", "rm", "dev", "--yes=true"]).ok();
    assert!(!project.file("dev").exists());
}

#[test]
fn flags_of_a_deployment_that_mean_nothing_here_are_taken_with_a_note() {
    let project = TestProject::new();
    // The stack is not complete: the command gets as far as its configuration.
    for (arguments, notes) in [
        (&["preview", "-d"][..], 1),
        (&["up", "--yes=true", "-m", "a message", "--refresh"], 2),
        (
            &["up", "-y", "--parallel", "4", "--suppress-outputs", "-r"],
            3,
        ),
        (
            &["preview", "--refresh=true", "--parallel=4", "--message=x"],
            3,
        ),
        (&["-v", "9", "--logtostderr", "destroy", "-f"], 3),
    ] {
        let ended = project.run(arguments);
        assert!(!ended.err.contains("unexpected argument"), "{}", ended.err);
        assert_eq!(
            ended.err.matches("note: `--").count(),
            notes,
            "{}",
            ended.err
        );
    }
}

#[test]
fn what_cannot_be_kept_is_refused_with_the_reason() {
    let project = TestProject::new();
    for (arguments, said) in [
        (
            &["up", "--target", "urn:x"][..],
            "the Pulumi flag `--target` is not supported: all objects",
        ),
        (&["up", "-c", "a=b"], "set the value in the stack file"),
        (
            &["up", "--plan=plan.json"],
            "`up` plans again after confirmation",
        ),
        (
            &["refresh", "--yes"],
            "`aip-deploy drift` shows what was changed by hand",
        ),
        (
            &["stack", "rename", "other"],
            "the namespace and the Secrets are named after the stack",
        ),
        (&["import"], "`aip-deploy adopt` takes over"),
    ] {
        project.run(arguments).fails(2, said);
    }
    assert_eq!(project.text("main"), STACK);
}

#[test]
fn the_words_of_stack_commands_are_pulumis() {
    let project = two_stacks();
    assert_eq!(project.run(&["stack", "--show-name"]).ok().out, "main\n");
    assert_eq!(
        project.run(&["-s", "dev", "stack", "--show-name"]).ok().out,
        "dev\n"
    );
    let listed = project.run(&["stack", "ls"]).ok().out;
    assert_eq!(project.run(&["stack", "list"]).ok().out, listed);
    let version = project.run(&["version"]).ok().out;
    assert_eq!(version, concat!("v", env!("CARGO_PKG_VERSION"), "\n"));
    // Another project keeps its state in the same store.
    let other = project.folder.path().join("other");
    std::fs::create_dir(&other).unwrap();
    std::fs::write(other.join("Pulumi.yaml"), "name: other\nruntime: python\n").unwrap();
    project.run(&["-C", "other", "stack", "init", "prod"]).ok();
    let all = project.run(&["stack", "ls", "-a"]).ok().out;
    for name in [
        "organization/aip/dev ",
        "organization/aip/main*",
        "organization/other/prod ",
    ] {
        assert!(all.contains(name), "{all}");
    }
    let listed = project.run(&["stack", "ls"]).ok().out;
    assert!(!listed.contains("prod"), "{listed}");
}

#[test]
fn two_stacks_on_one_command_line_are_refused() {
    let project = two_stacks();
    for arguments in [
        &["stack", "select", "main", "-s", "dev"][..],
        &["-s", "dev", "stack", "rm", "main", "--yes"],
        &["stack", "init", "new", "--stack=other"],
        &["-s", "main", "config", "-s", "dev"],
    ] {
        let ended = project.run(arguments).fails(2, "conflicting stacks");
        assert!(ended.out.is_empty());
    }
    assert!(project.file("main").exists() && !project.file("new").exists());
    project
        .run(&["stack", "select", "dev", "-s", "organization/aip/dev"])
        .ok();
    assert_eq!(project.run(&["stack", "--show-name"]).ok().out, "dev\n");
}

#[test]
fn a_stack_is_named_by_its_flag_or_at_the_terminal() {
    let project = TestProject::new();
    project.run(&["stack", "init", "-s", "flagged"]).ok();
    assert!(project.file("flagged").exists());
    project
        .run(&["stack", "init"])
        .fails(2, "missing stack name: aip-deploy stack init NAME");

    // `script` gives the command a terminal.
    let program = env!("CARGO_BIN_EXE_aip-deploy");
    let output = Command::new("script")
        .args(["-qefc", &format!("{program} stack init"), "/dev/null"])
        .current_dir(project.folder.path())
        .env_clear()
        .env("HOME", project.folder.path())
        .env("PATH", "/usr/bin:/bin")
        .env("PULUMI_CONFIG_PASSPHRASE", PASSPHRASE)
        .stdin({
            let (reader, mut writer) = std::io::pipe().unwrap();
            std::io::Write::write_all(&mut writer, b"asked\n").unwrap();
            reader
        })
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("Name of the new stack"), "{said}");
    assert!(project.file("asked").exists(), "{said}");
}

#[test]
fn outputs_of_a_stack_that_was_never_deployed_need_no_complete_configuration() {
    let project = TestProject::new();
    project.run(&["stack", "init", "new"]).ok();
    let all = project.run(&["stack", "output"]).ok().out;
    assert!(
        all.contains("namespace  aip-new") && all.contains("stack      new"),
        "{all}"
    );
    assert_eq!(
        project.run(&["stack", "output", "namespace"]).ok().out,
        "aip-new\n"
    );
    project
        .run(&["stack", "output", "address"])
        .fails(1, "stack 'new' has no output named 'address'");
    project.run(&["config", "set", "k8s_context", "there"]).ok();
    let json = project.run(&["stack", "output", "--json"]).ok().out;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        json,
        serde_json::json!({"context": "there", "namespace": "aip-new", "stack": "new"})
    );
}
