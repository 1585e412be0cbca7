//! The commands that need no cluster, run as a person runs them.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

mod documented;
mod edges;
mod environment;
mod fixes;
mod flags;
mod history;
mod keys;
mod mentions;
mod options;
mod outputs;
mod place;
mod refresh;
mod secrets;

use place::{PASSPHRASE, Place, STACK};

#[test]
fn the_way_from_the_login_to_the_new_tag() {
    let place = Place::empty();
    std::fs::write(place.file("main"), STACK).unwrap();
    let login = place.run(&["login", &place.url()]).ok();
    assert!(login.err.starts_with("Logged in to "), "{}", login.err);
    place.run(&["stack", "select", "main"]).ok();
    place
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
    place
        .run(&["config", "set", "--path", "aip_config.image_tag", "v0.1.2"])
        .ok();
    let shown = place
        .run(&[
            "config",
            "get",
            "--path",
            "aip_config.required_env.SOME_SECURE_VAR",
        ])
        .ok();
    assert_eq!(shown.out, "some-secure-value\n");
    assert!(!place.text("main").contains("some-secure-value"));
    let tag = place.text("main").replace("v0.1.2", "v0.1.1");
    let added: Vec<_> = tag
        .lines()
        .filter(|line| !STACK.lines().any(|old| old == *line))
        .collect();
    assert_eq!(added.len(), 2, "only the new value was added: {added:?}");
    // The original program had it built in.
    place
        .run(&["config", "check"])
        .fails(2, "aip_config.image_repo: is missing");
    place.set_repository();
    place.run(&["config", "check"]).ok();
}

#[test]
fn a_version_is_text_and_a_count_is_a_number() {
    let place = Place::new();
    place
        .run(&["config", "set", "--path", "aip_config.image_tag", "1.10"])
        .ok();
    place
        .run(&[
            "config",
            "set",
            "--path",
            "aip_config.extra_env.DEBUG",
            "false",
        ])
        .ok();
    place
        .run(&["config", "set", "--path", "aip_config.replicas", "2"])
        .ok();
    let text = place.text("main");
    assert!(
        text.contains("image_tag: \"1.10\"\n")
            && text.contains("DEBUG: \"false\"\n")
            && text.contains("replicas: 2\n")
    );
    assert_eq!(
        place
            .run(&["config", "get", "--path", "aip_config.image_tag"])
            .ok()
            .out,
        "1.10\n"
    );
    place
        .run(&["config", "set", "--path", "aip_config.replicas", "many"])
        .fails(
            2,
            "`aip_config.replicas` must be a whole number from 1 to 1000",
        );
    assert_eq!(place.text("main"), text);
}

#[test]
fn secrets_are_hidden_unless_asked_for() {
    let place = Place::new();
    for arguments in [&["config"][..], &["config", "--json"]] {
        let out = place.run(arguments).ok().out;
        assert!(
            !out.contains("not-a-real-password") && !out.contains("v1:"),
            "{out}"
        );
    }
    let table = place.run_with(&["config"], "wrong", None).ok().out;
    assert!(
        table.starts_with("KEY ") && table.contains("\"REDIS_DSN\":\"[secret]\""),
        "no passphrase is needed: {table}"
    );
    let shown = place.run(&["config", "--json", "--show-secrets"]).ok().out;
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown["aip:aip_config"]["secret"], true);
    assert_eq!(shown["aip:k8s_context"]["value"], "aip-test");
    let database = &shown["aip:aip_config"]["objectValue"]["required_env"]["REDIS_DSN"];
    assert!(database.as_str().unwrap().starts_with("redis://"));
}

#[test]
fn what_looks_like_a_secret_is_not_stored_in_plain_text_by_accident() {
    let place = Place::new();
    let value = "hQ9$kx2!vT7&pL0z";
    place
        .run(&["config", "set", "db_password", value])
        .fails(1, "looks like a secret; rerun with --secret");
    assert_eq!(place.text("main"), STACK);
    place
        .run(&["config", "set", "--plaintext", "db_password", value])
        .ok();
    place.run(&["config", "rm", "db_password"]).ok();
    assert_eq!(place.text("main"), STACK);
}

#[test]
fn a_secret_on_the_command_line_is_warned_about_and_never_printed() {
    let place = Place::new();
    let ended = place
        .run(&["config", "set", "--secret", "key", "hunter2hunter2"])
        .ok();
    assert!(
        ended.err.contains("warning: a secret on the command line")
            && !ended.err.contains("hunter2")
    );
}

#[test]
fn without_a_value_and_without_anybody_to_ask_nothing_is_set() {
    let place = Place::new();
    place
        .run(&["config", "get", "nothing"])
        .fails(1, "configuration key 'nothing' not found for stack 'main'");
    place
        .run(&["config", "set", "--path", "aip_config.", "x"])
        .fails(2, "it ends with a dot");
    assert_eq!(place.text("main"), STACK);
}

#[test]
fn a_wrong_passphrase_is_one_clear_message() {
    let place = Place::new();
    let get = [
        "config",
        "get",
        "--path",
        "aip_config.required_env.REDIS_DSN",
    ];
    let ended = place
        .run_with(&get, "wrong", None)
        .fails(2, "incorrect passphrase (from PULUMI_CONFIG_PASSPHRASE)");
    assert_eq!(ended.err.lines().count(), 1);
    place
        .run_with(
            &["config", "set", "--path", "--secret", "aip_config.x"],
            "wrong",
            Some("y"),
        )
        .fails(2, "incorrect passphrase");
    assert_eq!(place.text("main"), STACK);
}

#[test]
fn a_stack_is_made_selected_filled_and_removed() {
    let place = Place::new();
    place.run(&["stack", "init", "dev"]).ok();
    assert!(
        place.text("dev").contains("profile: restricted")
            && place.text("dev").contains("encryptionsalt: v1:")
    );
    place
        .run(&["stack", "init", "dev"])
        .fails(1, "stack 'dev' already exists");
    let list = place.run(&["stack", "ls"]).ok().out;
    assert!(list.contains("dev*") && list.contains("main "), "{list}");
    place
        .run(&["-s", "main", "config", "cp", "--dest", "dev"])
        .ok();
    let ours = place
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
        place.text("dev").lines().next(),
        place.text("main").lines().next(),
        "each stack has its own salt"
    );
    place.run(&["stack", "rm", "dev"]).fails(2, "pass --yes");
    place.run(&["stack", "rm", "dev", "--yes"]).ok();
    assert!(!place.file("dev").exists());
    place.run(&["config"]).fails(6, "no stack selected");
    place
        .run(&["stack", "select", "dev"])
        .fails(6, "no stack named 'dev' found");
}

#[test]
fn a_new_passphrase_needs_the_old_one_and_changes_every_value() {
    let place = Place::new();
    let change = ["stack", "change-secrets-provider", "passphrase"];
    place
        .run_with(&change, PASSPHRASE, None)
        .fails(1, "expected on standard input");
    place
        .run_with(&change, "wrong", Some("new\n"))
        .fails(2, "incorrect passphrase");
    assert_eq!(place.text("main"), STACK);
    place.run_with(&change, PASSPHRASE, Some("new\n")).ok();
    let get = [
        "config",
        "get",
        "--path",
        "aip_config.required_env.REDIS_DSN",
    ];
    place
        .run_with(&get, PASSPHRASE, None)
        .fails(2, "incorrect passphrase");
    place.run_with(&get, "new", None).ok();
}

#[test]
fn render_prints_objects_and_nothing_else() {
    let place = Place::new();
    place.set_repository();
    let ended = place.run(&["render", "--secrets=include"]).ok();
    assert!(
        ended.out.starts_with("apiVersion: v1\ndata:\n"),
        "{}",
        ended.out
    );
    assert_eq!(ended.out.matches("\n---\n").count(), 5);
    assert!(!ended.out.contains("DATABASE_URL: c3R1Yg=="));
    for arguments in [&["render"][..], &["render", "--secrets=stub"]] {
        let stub = place.run_with(arguments, "wrong", None).ok();
        assert!(stub.out.contains("DATABASE_URL: c3R1Yg=="));
        assert!(!stub.out.contains("bm90LWEtcmVhbC1wYXNzd29yZ"));
        assert!(
            stub.err.contains("`--secrets include` prints their values"),
            "{}",
            stub.err
        );
    }
    let skipped = place.run(&["render", "--secrets=skip"]).ok().out;
    assert!(!skipped.contains("kind: Secret"));
}

#[test]
fn wrong_places_have_their_own_exit_codes() {
    let place = Place::empty();
    place.run(&["stack", "ls"]).fails(3, "not logged in");
    place
        .run(&["login", "gs://bucket"])
        .fails(2, "state in gs:// is not supported");
    place.run(&["login", "file://state"]).ok();
    place.run(&["config"]).fails(6, "no stack selected");
    place
        .run(&["-s", "nope", "config"])
        .fails(6, "no stack named 'nope' found");
    place
        .run(&["config", "--no-such-flag"])
        .fails(2, "unexpected argument");
    std::fs::remove_file(place.folder.path().join("Pulumi.yaml")).unwrap();
    place
        .run(&["stack", "ls"])
        .fails(1, "no Pulumi.yaml project file found");
}

#[test]
fn bad_stack_files_are_refused_with_their_line_and_left_alone() {
    let place = Place::new();
    for (text, message) in [
        (
            "config:\n  a: 1\n  a: 2\n",
            "Pulumi.main.yaml:3: the key `a` is already on line 2",
        ),
        ("config:\n\ta: 1\n", "Pulumi.main.yaml:2: a tab"),
        (
            "config:\n  aip:aip_config:\n    image_tag: 2024-01-01\n",
            "must be text, and without quotes this is a date",
        ),
    ] {
        std::fs::write(place.file("main"), text).unwrap();
        place.run(&["config", "check"]).fails(2, message);
        assert_eq!(place.text("main"), text);
    }
}

#[test]
fn completions_and_the_manual_know_every_command() {
    let place = Place::empty();
    let script = place.run(&["completions", "bash"]).ok().out;
    let page = place.run(&["man"]).ok().out;
    for command in ["login", "config", "preview", "up", "rollback"] {
        assert!(
            script.contains(command) && page.contains(command),
            "{command}"
        );
    }
}
