//! What is secret does not get into a file in plain text by accident, and out of one only if asked.

use crate::test_project::{STACK, TestProject};

const SET: &[&str] = &["config", "set", "--path"];
const MASTER_KEYS: &str = r#"{"primary":"m","keys":[],"token_pepper":"p"}"#;

#[test]
fn what_aip_keeps_secret_is_stored_in_plain_text_only_if_that_is_said() {
    let project = TestProject::new();
    for (path, value) in [
        ("aip_config.extra_env.AIP_MASTER_KEYS", MASTER_KEYS),
        (
            "aip_config.required_env.DATABASE_URL",
            "postgresql://u:pass@db/aip",
        ),
        (
            "aip_config.required_env.REDIS_DSN",
            "redis://:pass@valkey:6379/0",
        ),
        ("aip_config.signing_keys_json_string", r#"{"keys":[]}"#),
    ] {
        let ended = project.run(&[SET, &[path, value]].concat());
        let ended = ended.fails(1, "looks like a secret; rerun with --secret");
        assert!(!ended.err.contains("pass@"), "{}", ended.err);
        project
            .run_in(
                &[SET, &[path]].concat(),
                &[("PULUMI_CONFIG_PASSPHRASE", "wrong")],
                Some(value),
            )
            .fails(1, "looks like a secret");
        assert_eq!(project.text("main"), STACK, "{path}");
        project
            .run(&[SET, &["--plaintext", path, value]].concat())
            .ok();
        assert_ne!(project.text("main"), STACK);
        std::fs::write(project.file("main"), STACK).unwrap();
        let secret = [SET, &["--secret", path]].concat();
        project
            .run_with(&secret, crate::test_project::PASSPHRASE, Some(value))
            .ok();
        assert!(!project.text("main").contains(value), "{path}");
        std::fs::write(project.file("main"), STACK).unwrap();
    }
    let open = [
        "aip_config.required_env.DATABASE_URL",
        "postgresql://u@db/aip",
    ];
    project.run(&[SET, &open].concat()).ok();
}

#[test]
fn a_type_does_not_make_a_secret_less_secret() {
    let project = TestProject::new();
    for value in ["hQ9$kx2!vT7&pL0z", "我的数据库密码"] {
        let set = ["config", "set", "--type", "string", "db_password", value];
        project.run(&set).fails(1, "looks like a secret");
    }
    assert_eq!(project.text("main"), STACK);
    project
        .run(&["config", "set", "--type", "int", "token_ttl", "86400"])
        .ok();
}

#[test]
fn no_path_leads_to_a_ciphertext() {
    let project = TestProject::new();
    project
        .run(&["config", "set", "--secret", "top", "hidden-value"])
        .ok();
    for path in ["top.secure", "aip_config.required_env.REDIS_DSN.secure"] {
        for more in [&[][..], &["--json"]] {
            let get = [&["config", "get", "--path", path][..], more].concat();
            let ended = project.run(&get).fails(1, "not found for stack 'main'");
            assert!(!ended.out.contains("v1:") && !ended.err.contains("v1:"));
        }
    }
    assert_eq!(
        project.run(&["config", "get", "top"]).ok().out,
        "hidden-value\n"
    );
}

#[test]
fn doctor_fails_for_a_locked_stack_and_lists_one_problem_per_line() {
    let project = TestProject::new();
    project.set_repository();
    let free = project.run(&["doctor"]);
    assert!(free.out.contains("lease          free"), "{}", free.out);
    project
        .run(&["lock", "--reason", "the database moves"])
        .ok();
    let locked = project.run(&["doctor"]);
    let line = locked
        .out
        .lines()
        .find(|line| line.contains(" lease "))
        .unwrap();
    assert!(line.starts_with("FAIL"), "{line}");
    assert!(
        line.contains(": the database moves; `aip-deploy unlock` releases it"),
        "{line}"
    );
    project
        .run(&["lock", "--reason", "two\nlines"])
        .fails(2, "one line of at most 200 characters");
    project.run(&["unlock", "--yes"]).ok();

    std::fs::write(
        project.file("main"),
        "config:\n  aip:aip_config:\n    replicas: many\n",
    )
    .unwrap();
    let broken = project.run(&["doctor"]);
    for problem in [
        "k8s_context: is missing",
        "aip_config.replicas: must be",
        "DATABASE_URL: is missing",
    ] {
        let lines = broken.out.lines().filter(|line| line.contains(problem));
        assert_eq!(lines.count(), 1, "{problem}\n{}", broken.out);
    }
    let whole = broken
        .out
        .lines()
        .filter(|line| line.contains("is missing"));
    assert!(whole.clone().count() > 3);
    assert!(
        whole
            .into_iter()
            .all(|line| line.matches("is missing").count() == 1)
    );
}

#[test]
fn a_stack_that_would_read_as_a_flag_is_refused() {
    let project = TestProject::new();
    for arguments in [
        &["stack", "init", "--", "-x"][..],
        &["stack", "init", "-s=-x"],
        &["stack", "select", "--", "-x"],
        &["--stack=-x", "config"],
    ] {
        project.run(arguments).fails(2, "does not begin with `-`");
    }
    assert!(!project.file("-x").exists());
}
