//! The commands that need no cluster, run as a person runs them.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

mod aws;
mod cert;
mod documented;
mod edges;
mod environment;
mod fixes;
mod flags;
mod gitops;
mod history;
mod image;
mod key_rotation;
mod keys;
mod mentions;
mod options;
mod outputs;
mod refresh;
mod secrets;
mod test_project;

use test_project::{PASSPHRASE, STACK, TestProject};

#[test]
fn the_way_from_the_login_to_the_new_tag() {
    let project = TestProject::empty();
    std::fs::write(project.file("main"), STACK).unwrap();
    let login = project.run(&["login", &project.url()]).ok();
    assert!(login.err.starts_with("Logged in to "), "{}", login.err);
    project.run(&["stack", "select", "main"]).ok();
    project
        .run_with(
            &[
                "config",
                "set",
                "--path",
                "--secret",
                "aip_config.required_env.SOME_SECURE_VAR",
            ],
            PASSPHRASE,
            Some("some-secure-value\n"),
        )
        .ok();
    project
        .run(&["config", "set", "--path", "aip_config.image_tag", "v0.1.2"])
        .ok();
    let shown = project
        .run(&[
            "config",
            "get",
            "--path",
            "aip_config.required_env.SOME_SECURE_VAR",
        ])
        .ok();
    assert_eq!(shown.out, "some-secure-value\n");
    assert!(!project.text("main").contains("some-secure-value"));
    let tag = project.text("main").replace("v0.1.2", "v0.1.1");
    let added: Vec<_> = tag
        .lines()
        .filter(|line| !STACK.lines().any(|old| old == *line))
        .collect();
    assert_eq!(added.len(), 2, "only the new value was added: {added:?}");
    // The original program had it built in.
    project
        .run(&["config", "check"])
        .fails(2, "aip_config.image_repo: is missing");
    project.set_repository();
    project.run(&["config", "check"]).ok();
}

#[test]
fn a_version_is_text_and_a_count_is_a_number() {
    let project = TestProject::new();
    project
        .run(&["config", "set", "--path", "aip_config.image_tag", "1.10"])
        .ok();
    project
        .run(&[
            "config",
            "set",
            "--path",
            "aip_config.extra_env.DEBUG",
            "false",
        ])
        .ok();
    project
        .run(&["config", "set", "--path", "aip_config.replicas", "2"])
        .ok();
    let text = project.text("main");
    assert!(
        text.contains("image_tag: \"1.10\"\n")
            && text.contains("DEBUG: \"false\"\n")
            && text.contains("replicas: 2\n")
    );
    assert_eq!(
        project
            .run(&["config", "get", "--path", "aip_config.image_tag"])
            .ok()
            .out,
        "1.10\n"
    );
    project
        .run(&["config", "set", "--path", "aip_config.replicas", "many"])
        .fails(2, "`aip_config.replicas` must be an integer from 1 to 1000");
    assert_eq!(project.text("main"), text);
}

#[test]
fn secrets_are_hidden_unless_asked_for() {
    let project = TestProject::new();
    for arguments in [&["config"][..], &["config", "--json"]] {
        let out = project.run(arguments).ok().out;
        assert!(
            !out.contains("not-a-real-password") && !out.contains("v1:"),
            "{out}"
        );
    }
    let table = project.run_with(&["config"], "wrong", None).ok().out;
    assert!(
        table.starts_with("KEY ") && table.contains("\"REDIS_DSN\":\"[secret]\""),
        "no passphrase is needed: {table}"
    );
    let shown = project
        .run(&["config", "--json", "--show-secrets"])
        .ok()
        .out;
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown["aip:aip_config"]["secret"], true);
    assert_eq!(shown["aip:k8s_context"]["value"], "aip-test");
    let database = &shown["aip:aip_config"]["objectValue"]["required_env"]["REDIS_DSN"];
    assert!(database.as_str().unwrap().starts_with("redis://"));
}

#[test]
fn what_looks_like_a_secret_is_not_stored_in_plain_text_by_accident() {
    let project = TestProject::new();
    let value = "hQ9$kx2!vT7&pL0z";
    project
        .run(&["config", "set", "db_password", value])
        .fails(1, "looks like a secret; rerun with --secret");
    assert_eq!(project.text("main"), STACK);
    project
        .run(&["config", "set", "--plaintext", "db_password", value])
        .ok();
    project.run(&["config", "rm", "db_password"]).ok();
    assert_eq!(project.text("main"), STACK);
}

#[test]
fn a_secret_on_the_command_line_is_warned_about_and_never_printed() {
    let project = TestProject::new();
    let ended = project
        .run(&["config", "set", "--secret", "key", "hunter2hunter2"])
        .ok();
    assert!(
        ended.err.contains("can see secrets on the command line") && !ended.err.contains("hunter2")
    );
}

#[test]
fn without_a_value_and_without_anybody_to_ask_nothing_is_set() {
    let project = TestProject::new();
    project
        .run(&["config", "get", "nothing"])
        .fails(1, "configuration key 'nothing' not found for stack 'main'");
    project
        .run(&["config", "set", "--path", "aip_config.", "x"])
        .fails(2, "it ends with a dot");
    assert_eq!(project.text("main"), STACK);
}

#[test]
fn a_wrong_passphrase_is_one_clear_message() {
    let project = TestProject::new();
    let get = [
        "config",
        "get",
        "--path",
        "aip_config.required_env.REDIS_DSN",
    ];
    let ended = project
        .run_with(&get, "wrong", None)
        .fails(2, "incorrect passphrase (from PULUMI_CONFIG_PASSPHRASE)");
    assert_eq!(ended.err.lines().count(), 1);
    project
        .run_with(
            &["config", "set", "--path", "--secret", "aip_config.x"],
            "wrong",
            Some("y"),
        )
        .fails(2, "incorrect passphrase");
    assert_eq!(project.text("main"), STACK);
}

#[test]
fn a_stack_is_made_selected_filled_and_removed() {
    let project = TestProject::new();
    project.run(&["stack", "init", "dev"]).ok();
    assert!(
        project.text("dev").contains("profile: restricted")
            && project.text("dev").contains("encryptionsalt: v1:")
    );
    project
        .run(&["stack", "init", "dev"])
        .fails(1, "stack 'dev' already exists");
    let list = project.run(&["stack", "ls"]).ok().out;
    assert!(list.contains("dev*") && list.contains("main "), "{list}");
    project
        .run(&["-s", "main", "config", "cp", "--dest", "dev"])
        .ok();
    let ours = project
        .run(&[
            "config",
            "get",
            "--path",
            "aip_config.required_env.REDIS_DSN",
        ])
        .ok()
        .out;
    assert!(ours.starts_with("redis://"));
    assert_ne!(
        project.text("dev").lines().next(),
        project.text("main").lines().next(),
        "each stack has its own salt"
    );
    project.run(&["stack", "rm", "dev"]).fails(2, "pass --yes");
    project.run(&["stack", "rm", "dev", "--yes"]).ok();
    assert!(!project.file("dev").exists());
    project.run(&["config"]).fails(6, "no stack selected");
    project
        .run(&["stack", "select", "dev"])
        .fails(6, "no stack named 'dev' found");
}

#[test]
fn a_new_passphrase_needs_the_old_one_and_changes_every_value() {
    let project = TestProject::new();
    let change = ["stack", "change-secrets-provider", "passphrase"];
    project
        .run_with(&change, PASSPHRASE, None)
        .fails(1, "no new passphrase on standard input");
    project
        .run_with(&change, "wrong", Some("new\n"))
        .fails(2, "incorrect passphrase");
    assert_eq!(project.text("main"), STACK);
    project.run_with(&change, PASSPHRASE, Some("new\n")).ok();
    let get = [
        "config",
        "get",
        "--path",
        "aip_config.required_env.REDIS_DSN",
    ];
    project
        .run_with(&get, PASSPHRASE, None)
        .fails(2, "incorrect passphrase");
    project.run_with(&get, "new", None).ok();
}

#[test]
fn render_prints_objects_and_nothing_else() {
    let project = TestProject::new();
    project.set_repository();
    let ended = project.run(&["render", "--secrets=include"]).ok();
    assert!(
        ended.out.starts_with("apiVersion: v1\ndata:\n"),
        "{}",
        ended.out
    );
    assert_eq!(ended.out.matches("\n---\n").count(), 5);
    assert!(!ended.out.contains("DATABASE_URL: c3R1Yu+3kA=="));
    for arguments in [&["render"][..], &["render", "--secrets=stub"]] {
        let stub = project.run_with(arguments, "wrong", None).ok();
        assert!(stub.out.contains("DATABASE_URL: c3R1Yu+3kA=="));
        assert!(!stub.out.contains("bm90LWEtcmVhbC1wYXNzd29yZ"));
        assert!(
            stub.err.contains("`--secrets include` prints the values"),
            "{}",
            stub.err
        );
    }
    let skipped = project.run(&["render", "--secrets=skip"]).ok().out;
    assert!(!skipped.contains("kind: Secret"));
}

#[test]
fn wrong_places_have_their_own_exit_codes() {
    let project = TestProject::empty();
    project.run(&["stack", "ls"]).fails(3, "not logged in");
    project
        .run(&["login", "gs://bucket"])
        .fails(2, "state in gs:// is not supported");
    project.run(&["login", "file://state"]).ok();
    project.run(&["config"]).fails(6, "no stack selected");
    project
        .run(&["-s", "nope", "config"])
        .fails(6, "no stack named 'nope' found");
    project
        .run(&["config", "--no-such-flag"])
        .fails(2, "unexpected argument");
    std::fs::remove_file(project.folder.path().join("Pulumi.yaml")).unwrap();
    project
        .run(&["stack", "ls"])
        .fails(1, "no Pulumi.yaml project file found");
}

#[test]
fn bad_stack_files_are_refused_with_their_line_and_left_alone() {
    let project = TestProject::new();
    for (text, message) in [
        (
            "config:\n  a: 1\n  a: 2\n",
            "Pulumi.main.yaml:3: the key `a` is already on line 2",
        ),
        (
            "config:\n\ta: 1\n",
            "Pulumi.main.yaml:2: this line is indented with a tab",
        ),
        (
            "config:\n  aip:aip_config:\n    image_tag: 2024-01-01\n",
            "must be a string; quote it, since unquoted it is a date",
        ),
    ] {
        std::fs::write(project.file("main"), text).unwrap();
        project.run(&["config", "check"]).fails(2, message);
        assert_eq!(project.text("main"), text);
    }
}

#[test]
fn completions_and_the_manual_know_every_command() {
    let project = TestProject::empty();
    let script = project.run(&["completions", "bash"]).ok().out;
    let page = project.run(&["man"]).ok().out;
    for command in ["login", "config", "preview", "up", "rollback"] {
        assert!(
            script.contains(command) && page.contains(command),
            "{command}"
        );
    }
}
