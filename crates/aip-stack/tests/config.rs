//! The typed configuration: what it accepts, and how it says no.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

mod common;

use aip_stack::config::fields::{
    CPU_LIMIT, MEMORY_LIMIT, PROFILE, REPLICAS, REQUESTED_CPU, SERVER_ARGS,
};
use aip_stack::config::{MigrationMode, Profile, Shape, schema, shape_at};
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
    assert_eq!(config.aip.get(&PROFILE), Profile::Restricted);
    assert_eq!(config.aip.image, "registry.example.com/aip:v0.1.1");
    assert_eq!(config.aip.get(&REPLICAS), 2);
    assert_eq!(config.aip.migration_mode, MigrationMode::Job);
    assert!(config.aip.extra_env.contains_key("DEBUG"));
}

#[test]
fn a_field_that_is_not_set_has_the_default_of_the_profile() {
    for (profile, args) in [
        ("compat", vec!["pdm", "run", "aipserver"]),
        ("restricted", vec!["serve"]),
    ] {
        let config = config(&stack(profile, "server_args:\nreplicas:\n"));
        let aip = config.unwrap_or_else(|e| panic!("{e}")).aip;
        assert_eq!(aip.get(&SERVER_ARGS), args, "{profile}");
        assert_eq!(aip.get(&REPLICAS), 3, "{profile}");
    }
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
            said.contains("Pulumi.main.yaml:6: aip_config.image_tag: must be a string"),
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
        problems(&both).contains("aip_config.env_config: is an alias of aip_config.required_env")
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
            .any(|notice| notice.contains("SOME_SECURE_VAR is not a known variable"))
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
fn keys_that_cannot_sign_are_refused_with_their_ids() {
    for (from, to, words) in [
        (
            "\"d\":\"d\"}",
            "\"e\":\"d\"}",
            "has only the public half of the key `k1`",
        ),
        (
            "\"kty\":\"EC\"",
            "\"kty\":\"oct\"",
            "has the symmetric key `k1`",
        ),
        (
            "\"d\":\"d\"}",
            "\"d\":\"d\"},{\"kid\":\"k1\",\"kty\":\"RSA\"}",
            "has two keys with the `kid` `k1`",
        ),
    ] {
        let text = stack("restricted", "").replace(from, to);
        let said = problems(&text);
        assert!(said.contains(words), "{said}");
        assert!(
            said.contains(
                "config set --path --secret aip_config.signing_keys_json_string < keys.json"
            ),
            "{said}"
        );
    }
    // The original program may have had such keys.
    let text = stack("compat", "").replace("\"d\":\"d\"}", "\"e\":\"d\"}");
    assert!(config(&text).is_ok());
}

#[test]
fn sqlite_serves_one_pod() {
    let sqlite =
        stack("restricted", "").replace("postgresql://u:p@db:5432/aip", "sqlite:///data/aip.db");
    assert!(problems(&sqlite).contains("SQLite supports only one Pod"));
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
        "Pulumi.main.yaml:4: aip_config.extra_env.AIP_MASTER_KEYS: is missing: each Pod would encrypt the database with its own keys\n    fix: aip-deploy config set --path --secret aip_config.extra_env.AIP_MASTER_KEYS < master-keys.json"
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
        all.iter().any(|notice| notice.contains("no keys for apps"))
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
        "Pulumi.main.yaml:4: aip_config.image_repo: is missing: the image repository (or set aip_config.image_slug)\n    fix: aip-deploy config set --path aip_config.image_repo"
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
    assert!(matches!(shape("aip_config.image_tag"), Some(Shape::String)));
    assert!(matches!(
        shape("aip_config.replicas"),
        Some(Shape::Int { .. })
    ));
    assert!(matches!(
        shape("aip_config.extra_env.ANY"),
        Some(Shape::String)
    ));
    assert!(matches!(
        shape("aip_config.required_env.WORKER_ID"),
        Some(Shape::String)
    ));
    assert!(matches!(
        shape("aip_config.pull_secrets[0]"),
        Some(Shape::String)
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

#[test]
fn pods_that_do_not_know_their_public_address_are_refused() {
    let with =
        |line: &str| stack("restricted", "").replace("EXTERNAL_HOSTNAME: auth.example.com", line);
    let said = problems(&with("X: y"));
    assert!(
        said.contains("aip_config.extra_env.EXTERNAL_HOSTNAME: is missing: the public host name"),
        "{said}"
    );
    for wrong in [
        "EXTERNAL_HOSTNAME: 0.0.0.0",
        "EXTERNAL_BASE: http://127.0.0.1:8080",
        "AIP_EXTERNAL_BASE: http://auth.example.com",
        "AIP_EXTERNAL_BASE: https://auth.example.com/aip",
    ] {
        let (name, _) = wrong.split_once(':').unwrap();
        let said = problems(&with(wrong));
        assert!(
            said.contains(&format!("aip_config.required_env.{name}: is ")),
            "{said}"
        );
    }
    for fine in [
        "EXTERNAL_BASE: https://auth.example.com",
        "AIP_EXTERNAL_BASE: https://auth.example.com:8443",
        "AIP_EXTERNAL_BASE: {secure: \"v1:a:b\"}",
        "AIP_EXTERNAL_BASE: http://127.0.0.1:8080\n      AIP_DEVELOPMENT: \"true\"",
    ] {
        config(&with(fine)).unwrap_or_else(|e| panic!("{fine}: {e}"));
    }
    let argument = with("X: y")
        + "    server_args: [serve, --set, server.external_base=https://a.example.com]\n";
    config(&argument).unwrap_or_else(|e| panic!("{e}"));
    // The original program's objects are taken over as they are.
    assert!(config(&stack("compat", "")).is_ok());
}

#[test]
fn a_key_that_signs_for_somebody_else_does_not_sign_towards_pdss() {
    let key = |kid: &str, rest: &str| format!("{{\"kid\":\"{kid}\",{rest}}}");
    let upstream = key(
        "k1",
        "\"kty\":\"EC\",\"crv\":\"P-256\",\"aip_purpose\":\"upstream\",\"aip_state\":\"active\"",
    );
    let set = |keys: &[String], active: &str| {
        stack("restricted", "replicas: 1")
            .replace(common::KEYS, &format!("{{\"keys\":[{}]}}", keys.join(",")))
            .replace("'[\"k1\"]'", &format!("'[\"{active}\"]'"))
    };
    for (rest, what) in [
        (
            "\"kty\":\"EC\",\"crv\":\"P-256\",\"aip_purpose\":\"oidc\"",
            "a key for apps",
        ),
        ("\"kty\":\"RSA\"", "a key for apps"),
        (
            "\"kty\":\"EC\",\"crv\":\"P-256\",\"aip_purpose\":\"upstream\",\"aip_state\":\"retired\"",
            "a retired key",
        ),
        (
            "\"kty\":\"EC\",\"crv\":\"secp256k1\"",
            "a key whose algorithm PDSs do not accept",
        ),
    ] {
        let said = problems(&set(&[upstream.clone(), key("other", rest)], "other"));
        assert_eq!(
            said,
            format!(
                "Pulumi.main.yaml:14: aip_config.required_env.ACTIVE_SIGNING_KEYS: names `other`, {what}: the key for PDSs is `k1`\n    fix: aip-deploy config set --path aip_config.required_env.ACTIVE_SIGNING_KEYS k1"
            )
        );
    }
    assert!(config(&set(&[upstream], "k1")).is_ok());
}

#[test]
fn a_stack_behind_an_unknown_edge_is_asked_for_its_proxies() {
    let notices = |more: &str| {
        config(&stack("restricted", more))
            .unwrap_or_else(|e| panic!("{e}"))
            .notices
    };
    let asked = |more: &str| {
        notices(more)
            .iter()
            .any(|notice| notice.contains("trusted_proxies is not set"))
    };
    assert!(asked("service: {type: cluster_ip}"));
    assert!(!asked(
        "service: {type: cluster_ip}\ntrusted_proxies: [10.0.0.0/8]"
    ));
    assert!(!asked("service: {type: cluster_ip}\ntrusted_proxies: []"));
    assert!(!asked(
        "service: {type: cluster_ip}\nextra_env: {AIP_TRUSTED_PROXIES: 10.0.0.1}"
    ));
    assert!(!asked(""), "the load balancer of the stack is known");
    for (wrong, said) in [
        (
            "[10.0.0.1]",
            "aip_config.trusted_proxies[0]: is not a CIDR block",
        ),
        (
            "[10.0.0.0/8, 0.0.0.0/0]",
            "aip_config.trusted_proxies[1]: trusts X-Forwarded-For from every client",
        ),
        (
            "[\"::/0\"]",
            "aip_config.trusted_proxies[0]: trusts X-Forwarded-For from every client",
        ),
    ] {
        let problems = problems(&stack("restricted", &format!("trusted_proxies: {wrong}")));
        assert!(problems.contains(said), "{problems}");
    }
}

#[test]
fn what_kubernetes_would_refuse_is_refused_before() {
    for (more, said) in [
        (
            "image_slug: Repo/AIP:v1",
            "aip_config.image_slug: is not a valid image repository: only lowercase letters are allowed",
        ),
        (
            "image_slug: repo/aip:a:b",
            "aip_config.image_slug: is not a valid image reference: invalid tag after `:`",
        ),
        (
            "pull_secrets: [\"\"]",
            "aip_config.pull_secrets[0]: is empty",
        ),
        (
            "pull_secrets: [fine, Not_Fine]",
            "aip_config.pull_secrets[1]: is not a valid RFC 1123 subdomain",
        ),
        (
            "requests: {memory: 3Gi}",
            "aip_config.requests.memory: is 3Gi, which exceeds aip_config.limits.memory (2Gi)",
        ),
        (
            "requests: {cpu: 600m}\nlimits: {cpu: 0.5}",
            "aip_config.requests.cpu: is 600m, which exceeds aip_config.limits.cpu (0.5)",
        ),
    ] {
        let problems = problems(&stack("restricted", more));
        assert!(problems.contains(said), "{problems}");
    }
    let tagged = stack("restricted", "").replace("example.com/aip\n", "example.com/aip:v1\n");
    assert!(problems(&tagged).contains("a tag or digest belongs in aip_config.image_tag"));
    let bare = config(&stack(
        "restricted",
        "limits: {cpu: 2, memory: 4294967296}\nrequests: {cpu: 0.5}",
    ));
    let bare = bare.unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(
        (bare.aip.get(&CPU_LIMIT), bare.aip.get(&REQUESTED_CPU)),
        ("2".to_owned(), "0.5".to_owned())
    );
    assert_eq!(bare.aip.get(&MEMORY_LIMIT), "4294967296");
}

#[test]
fn secrets_in_plain_text_are_reported_once() {
    let notices = config(&stack("restricted", ""))
        .unwrap_or_else(|e| panic!("{e}"))
        .notices;
    let plain: Vec<_> = notices
        .iter()
        .filter(|notice| notice.contains("in plain text"))
        .collect();
    assert_eq!(
        plain,
        [
            "Pulumi.main.yaml:8: aip_config.signing_keys_json_string and 3 more are in plain text: `aip-deploy config \
          set --path --secret aip_config.signing_keys_json_string` encrypts it"
        ]
    );
}

#[test]
fn what_the_project_file_says_is_reported_there() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("Pulumi.yaml");
    let text = "name: aip\nruntime: python\nconfig:\n  k8s_context: 5\n  aip_config:\n    replicas: many\n";
    std::fs::write(&file, text).unwrap();
    let project = pulumi_files::Project::load(&file).unwrap();
    let stack = pulumi_files::StackFile::parse(
        std::path::Path::new("Pulumi.main.yaml"),
        String::new(),
        "aip",
    );
    let Err(problems) = aip_stack::config::resolve(aip_stack::config::ConfigInput {
        file: &stack.unwrap(),
        project: &project,
        stack: &"main".parse().unwrap(),
        secrets: aip_stack::config::SecretsAccess::Placeholder,
        now: common::NOW,
    }) else {
        panic!("accepted")
    };
    let said = problems.to_string();
    assert!(
        said.contains("Pulumi.yaml:4: k8s_context: must be a string"),
        "{said}"
    );
    assert!(
        said.contains("Pulumi.yaml:6: aip_config.replicas: must be an integer"),
        "{said}"
    );
    // A value set in the stack would hide the whole of the project's.
    assert!(
        problems.0.iter().all(|problem| problem.fix.is_none()),
        "{said}"
    );
}
