//! The typed configuration: what it accepts, and how it says no.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

mod common;

use aip_deploy::config::{MigrationMode, Profile, Shape, schema, shape_at};
use common::{MASTER_KEYS, config, stack};
use proptest::prelude::*;
use pulumi_files::ConfigPath;

/// The problems of a stack, one per line.
fn problems(text: &str) -> String {
    match config(text) {
        Ok(_) => panic!("accepted:\n{text}"),
        Err(problems) => problems.to_string(),
    }
}

#[test]
fn a_complete_stack_is_read() {
    let config = config(&stack(
        "restricted",
        "replicas: 2\nextra_env: {DEBUG: \"true\"}",
    ))
    .unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(
        (config.context.as_str(), config.namespace.as_str()),
        ("here", "aip-main")
    );
    assert_eq!(config.aip.profile, Profile::Restricted);
    assert_eq!(config.aip.image, "registry.example.com/aip:v0.1.1");
    assert_eq!(config.aip.replicas, 2);
    assert_eq!(config.aip.migrations.mode, MigrationMode::Job);
    assert!(config.aip.extra_env.contains_key("DEBUG"));
}

#[test]
fn the_whole_image_beats_repository_and_tag() {
    let config = config(&stack("compat", "image_slug: other.example.com/aip:v9"))
        .unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(config.aip.image, "other.example.com/aip:v9");
}

#[test]
fn every_missing_value_is_reported_at_once_with_the_command_that_sets_it() {
    insta::assert_snapshot!(problems("config:\n  aip:aip_config:\n    replicas: 3\n"));
}

#[test]
fn every_mistake_is_reported_at_once_with_its_line() {
    let text = stack("compat", "replicas: 0\nextra_env: {A: 5, \"b c\": x, DATABASE_URL: y}\nimage_tga: v1\nenable_init_containers: maybe\n\
         autoscaling: {min_replicas: 9, max_replicas: 2}\nlimits: {cpu: lots}")
        .replace("image_tag: v0.1.1", "image_tag: 1.10")
        .replace("postgresql://u:p@db:5432/aip", "mysql://u:hunter2@db/aip")
        .replace("certificate/1", "wrong/1");
    insta::assert_snapshot!(problems(&text));
}

#[test]
fn numbers_and_dates_are_no_tags() {
    for tag in ["1.10", "20240101", "2024-01-01", "true", "1e5"] {
        let said = problems(
            &stack("compat", "").replace("image_tag: v0.1.1", &format!("image_tag: {tag}")),
        );
        assert!(
            said.contains("Pulumi.main.yaml:6: aip_config.image_tag: must be text"),
            "{said}"
        );
        assert!(
            said.contains(&format!(
                "aip-deploy config set --path aip_config.image_tag {tag}"
            )),
            "{said}"
        );
        config(&stack("compat", "").replace("image_tag: v0.1.1", &format!("image_tag: \"{tag}\"")))
            .unwrap_or_else(|e| panic!("{e}"));
    }
}

#[test]
fn the_documented_name_of_the_environment_is_accepted_but_not_both() {
    let documented = stack("compat", "").replace("required_env:", "env_config:");
    assert!(config(&documented).is_ok());
    let both = stack("compat", "env_config: {WORKER_ID: x}");
    assert!(
        problems(&both)
            .contains("aip_config.env_config: is another name of aip_config.required_env")
    );
}

#[test]
fn other_names_in_the_environment_are_passed_on_unless_they_look_like_a_slip() {
    let more = |line: &str| {
        stack("compat", "").replace("      WORKER_ID", &format!("      {line}\n      WORKER_ID"))
    };
    let config =
        config(&more("SOME_SECURE_VAR: some-secure-value")).unwrap_or_else(|e| panic!("{e}"));
    assert!(config.aip.required_env.contains_key("SOME_SECURE_VAR"));
    assert!(
        config
            .notices
            .iter()
            .any(|notice| notice.contains("SOME_SECURE_VAR is not known"))
    );
    assert!(problems(&more("REDIS_DNS: x")).contains("did you mean `REDIS_DSN`?"));
}

#[test]
fn keys_must_hold_what_the_active_ones_name() {
    let text = stack("compat", "").replace("'[\"k1\"]'", "'[\"k1\",\"k2\"]'");
    assert!(problems(&text).contains("has no key `k2`, which ACTIVE_SIGNING_KEYS names"));
    let text = stack("compat", "").replace("{\"keys\":[", "{\"kexs\":[");
    assert!(problems(&text).contains("is not a JWK Set"));
}

#[test]
fn sqlite_serves_one_pod() {
    let sqlite =
        stack("restricted", "").replace("postgresql://u:p@db:5432/aip", "sqlite:///data/aip.db");
    assert!(problems(&sqlite).contains("SQLite serves one Pod only"));
    let one = format!("{sqlite}    replicas: 1\n").replace(&master_keys(), "");
    assert!(config(&one).is_ok());
}

fn master_keys() -> String {
    format!("      AIP_MASTER_KEYS: '{MASTER_KEYS}'\n")
}

#[test]
fn pods_that_share_a_database_share_the_keys_that_seal_it() {
    let without = stack("restricted", "").replace(&master_keys(), "");
    let said = problems(&without);
    assert_eq!(
        said,
        "Pulumi.main.yaml:4: aip_config.extra_env.AIP_MASTER_KEYS: is missing: each Pod would seal the \
         database with keys of its own\n    \
         fix: aip-deploy config set --path --secret aip_config.extra_env.AIP_MASTER_KEYS < master-keys.json"
    );
    // The next Pod finds what this one has sealed.
    assert_eq!(problems(&format!("{without}    replicas: 1\n")), said);
    for (name, value) in [
        ("AIP_MASTER_KEYS", MASTER_KEYS),
        ("AIP_MASTER_KEYS_FILE", "/keys.json"),
    ] {
        let with = format!("{without}    extra_env: {{{name}: '{value}'}}\n");
        assert!(config(&with).is_ok(), "{name}");
    }
    let bad = stack("restricted", "").replace(MASTER_KEYS, "{\"keys\": \"hunter2\"}");
    let said = problems(&bad);
    assert!(said.contains("aip_config.required_env.AIP_MASTER_KEYS: is not JSON with"));
    assert!(!said.contains("hunter2"), "{said}");
}

#[test]
fn pods_that_would_each_make_keys_towards_apps_are_warned_of() {
    let notices = |text: &str| config(text).unwrap_or_else(|e| panic!("{e}")).notices;
    let warned = |text: &str| {
        let all = notices(text);
        all.iter()
            .any(|notice| notice.contains("no keys towards apps"))
    };
    let upstream_alone = stack("restricted", "");
    assert!(warned(&upstream_alone));
    assert!(!warned(&format!("{upstream_alone}    replicas: 1\n")));
    let complete =
        upstream_alone.replace("{\"keys\":[", "{\"keys\":[{\"kid\":\"r\",\"kty\":\"RSA\"},");
    assert!(!warned(&complete));
    assert!(!warned(&stack("compat", "")));
}

#[test]
fn only_the_original_cannot_do_without_valkey() {
    let without =
        |profile| stack(profile, "").replace("      REDIS_DSN: redis://valkey:6379/0\n", "");
    assert!(config(&without("restricted")).is_ok());
    assert!(problems(&without("compat")).contains("REDIS_DSN: is missing"));
}

#[test]
fn an_image_needs_a_repository() {
    let without = stack("compat", "").replace("    image_repo: registry.example.com/aip\n", "");
    assert_eq!(
        problems(&without),
        "Pulumi.main.yaml:4: aip_config.image_repo: is missing: say where the images come from (or set \
         aip_config.image_slug)\n    fix: aip-deploy config set --path aip_config.image_repo REPOSITORY"
    );
    assert!(
        config(&format!(
            "{without}    image_slug: registry.example.com/aip:v9\n"
        ))
        .is_ok()
    );
}

#[test]
fn the_guard_has_no_back_door() {
    let text =
        stack("compat", "").replacen("config:\n", "config:\n  aip:import_kubeconfig: true\n", 1);
    let notices = config(&text).unwrap_or_else(|e| panic!("{e}")).notices;
    assert!(
        notices
            .iter()
            .any(|notice| notice.starts_with("`import_kubeconfig` is ignored")),
        "{notices:?}"
    );
    let without = stack("compat", "").replace("  aip:k8s_context: here\n", "");
    assert!(problems(&without).contains("k8s_context: is missing"));
}

#[test]
fn no_value_is_repeated_in_a_message() {
    let text = stack("compat", "extra_env: {TOKEN: 12345678}")
        .replace("postgresql://u:p@db:5432/aip", "hunter2")
        .replace("redis://valkey:6379/0", "hunter2")
        .replace("'[\"k1\"]'", "'[hunter2'");
    assert!(!problems(&text).contains("hunter2"));
}

#[test]
fn the_table_knows_the_type_of_every_path() {
    let shape = |path: &str| shape_at(&ConfigPath::parse(path, "aip").unwrap().steps);
    assert!(matches!(shape("aip_config.image_tag"), Some(Shape::Text)));
    assert!(matches!(
        shape("aip_config.replicas"),
        Some(Shape::Int { .. })
    ));
    assert!(matches!(
        shape("aip_config.extra_env.ANY"),
        Some(Shape::Text)
    ));
    assert!(matches!(
        shape("aip_config.required_env.WORKER_ID"),
        Some(Shape::Text)
    ));
    assert!(matches!(
        shape("aip_config.pull_secrets[0]"),
        Some(Shape::Text)
    ));
    assert!(shape("aip_config.unknown").is_none());
}

#[test]
fn editors_get_a_schema_of_every_field() {
    let schema = schema("aip");
    let fields = &schema["properties"]["config"]["properties"]["aip:aip_config"]["properties"];
    assert_eq!(fields["replicas"]["minimum"], 1);
    assert_eq!(fields["profile"]["enum"][1], "restricted");
    assert_eq!(fields["service"]["additionalProperties"], false);
    assert!(fields["required_env"]["properties"]["DATABASE_URL"].is_object());
    assert!(fields["image_tag"]["description"].is_string());
}

proptest! {
    #[test]
    fn no_stack_file_makes_the_reader_panic(
        field in "profile|image_tag|replicas|required_env|extra_env|migrations|service|probes|autoscaling|pull_secrets|limits",
        value in "[a-z0-9.:/@ -]{0,12}|\\{[a-z]{1,6}: [a-z0-9]{0,4}\\}|\\[[a-z0-9, ]{0,8}\\]|'\\PC{0,8}'",
        line in 0_usize..12,
    ) {
        let text = stack("restricted", "");
        let mut lines: Vec<&str> = text.lines().collect();
        let more = format!("    {field}: {value}");
        lines.insert(line.min(lines.len()).max(4), &more);
        let text = lines.join("\n");
        if let Ok(file) = pulumi_files::StackFile::parse("Pulumi.main.yaml".as_ref(), text.clone(), "aip") {
            drop(file);
            let _ = config(&text);
        }
    }
}
