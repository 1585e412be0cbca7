//! What commands say: enough to go on with, where it was done, and in the form that was asked for.

use std::fs::{Permissions, set_permissions};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;

use crate::command::{CommandOutput, aip, command};
use crate::server::Server;

const CREATE: [&str; 8] = [
    "clients",
    "create",
    "--id",
    "book",
    "--name",
    "Photo Book",
    "--redirect-uri",
    "https://photos.example/cb",
];

fn json(output: &CommandOutput) -> Value {
    serde_json::from_str(output.ok()).unwrap()
}

fn mode(path: &Path, mode: u32) {
    set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

#[test]
fn an_app_is_shown_with_its_secret_first_and_what_comes_next() {
    let folder = TempDir::new().unwrap();
    let output = aip(folder.path(), &[], &CREATE);
    let names: Vec<&str> = output
        .ok()
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert_eq!(names[..3], ["client_id", "client_secret", "client_name"]);
    let created = output
        .stdout
        .lines()
        .find(|it| it.starts_with("created_at"));
    assert!(created.unwrap().ends_with('Z'), "{}", output.stdout);
    let issuer = "http://127.0.0.1:8080/.well-known/openid-configuration (issuer";
    assert!(output.stderr.contains(issuer), "{}", output.stderr);
    let database = folder.path().join("aip-data/aip.db");
    let registered = format!("Registered in {}", database.display());
    assert!(output.stderr.contains(&registered), "{}", output.stderr);
    let number = &json(&aip(
        folder.path(),
        &[],
        &["clients", "show", "book", "--output", "json"],
    ));
    assert!(number["client_id_issued_at"].is_number(), "RFC 7591 §3.2.1");
}

#[test]
fn an_app_that_says_nothing_of_scopes_may_ask_who_somebody_is() {
    let folder = TempDir::new().unwrap();
    let output = aip(
        folder.path(),
        &[],
        &[&CREATE[..], &["--output", "json"]].concat(),
    );
    assert_eq!(json(&output)["scope"], "atproto openid profile");
}

#[test]
fn a_command_that_makes_a_database_or_keys_says_so() {
    for (words, made) in [
        (&["clients", "list"][..], "aip-data/aip.db"),
        (&["sessions", "list"], "aip-data/aip.db"),
        (
            &["keys", "generate", "--purpose", "upstream"],
            "aip-data/keys.json",
        ),
    ] {
        let folder = TempDir::new().unwrap();
        let first = aip(folder.path(), &[], words);
        first.ok();
        let path = folder.path().join(made);
        assert!(
            first.stderr.contains(&path.display().to_string()),
            "{}",
            first.stderr
        );
        assert!(first.stderr.contains("AIP_DATA_DIR"), "{}", first.stderr);
        let second = aip(folder.path(), &[], words);
        second.ok();
        assert!(!second.stderr.contains("This made"), "{}", second.stderr);
    }
}

#[test]
fn an_empty_list_says_so_and_is_an_empty_array_for_programs() {
    let folder = TempDir::new().unwrap();
    for (words, none) in [
        (["clients", "list"], "There is no app; `aip clients create`"),
        (["sessions", "list"], "There is no such session."),
    ] {
        let output = aip(folder.path(), &[], &words);
        assert_eq!(output.ok(), "");
        assert!(output.stderr.contains(none), "{}", output.stderr);
        let output = aip(
            folder.path(),
            &[],
            &[&words[..], &["--output", "json"]].concat(),
        );
        assert_eq!(output.ok(), "[]");
    }
}

#[test]
fn every_command_answers_programs_in_json() {
    let folder = TempDir::new().unwrap();
    let run = |words: &[&str]| {
        json(&aip(
            folder.path(),
            &[],
            &[words, &["--output", "json"]].concat(),
        ))
    };
    assert_eq!(run(&["migrate"])[0]["applied"], true);
    assert_eq!(run(&["migrate"]), serde_json::json!([]));
    let checked = run(&["config", "check"]);
    assert_eq!(checked["external_base"], "http://127.0.0.1:8080");
    run(&CREATE);
    assert_eq!(run(&["clients", "delete", "book"])["deleted"], true);
    let kid = run(&["keys", "generate", "--purpose", "master"])["kid"].clone();
    let kid = kid.as_str().unwrap();
    assert_eq!(run(&["keys", "activate", kid])["state"], "active");

    let wrong = [("AIP_LISTEN", "0.0.0.0:8080")];
    let output = aip(
        folder.path(),
        &wrong,
        &["config", "check", "--output", "json"],
    );
    assert_eq!(output.code, 2);
    let found: Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!(found["problems"][0]["setting"], "server.external_base");
}

#[test]
fn the_status_of_a_database_that_is_behind_is_a_failure() {
    let folder = TempDir::new().unwrap();
    let status = aip(folder.path(), &[], &["migrate", "--status"]);
    status.failed_with("run `aip migrate`");
    assert!(status.stdout.contains("VERSION"), "{}", status.stdout);
    aip(folder.path(), &[], &["migrate"]).ok();
    aip(folder.path(), &[], &["migrate", "--status"]).ok();
}

#[test]
fn what_is_no_id_of_a_session_is_reported_in_words() {
    let folder = TempDir::new().unwrap();
    for words in [["sessions", "show", "nope"], ["sessions", "revoke", "-1"]] {
        let output = aip(folder.path(), &[], &words);
        assert_eq!(output.code, 2, "{}", output.stderr);
    }
    let output = aip(folder.path(), &[], &["sessions", "show", "nope"]);
    assert!(
        output.stderr.contains("`aip sessions list`"),
        "{}",
        output.stderr
    );
}

#[test]
fn a_listener_for_others_without_an_external_base_is_refused_with_the_remedy() {
    let folder = TempDir::new().unwrap();
    for variable in [("AIP_LISTEN", "0.0.0.0:0"), ("HTTP_PORT", "8080")] {
        for words in [&["serve"][..], &["config", "check"]] {
            let output = aip(folder.path(), &[variable], words);
            assert_eq!(output.code, 2, "{}", output.stderr);
            let remedy = "AIP_EXTERNAL_BASE=https://HOST";
            assert!(output.stderr.contains(remedy), "{}", output.stderr);
        }
    }
    assert!(!folder.path().join("aip-data").exists());
}

#[test]
fn what_is_wrong_on_this_machine_is_reported_before_the_database_is_made() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let base = ("AIP_EXTERNAL_BASE", "http://127.0.0.1:8080");
    for (name, value, words) in [
        ("AIP_LISTEN", &*taken, "cannot listen on"),
        ("AIP_INTERNAL_LISTEN", &taken, "cannot listen on"),
        (
            "AIP_JSON_WEB_KEYS",
            "nowhere.json",
            "there is no file nowhere.json",
        ),
        ("AIP_MASTER_KEYS", "{}", "AIP_MASTER_KEYS"),
        ("AIP_CERTIFICATE_BUNDLES", "nowhere.pem", "nowhere.pem"),
    ] {
        let folder = TempDir::new().unwrap();
        let mut variables = vec![base];
        for listener in ["AIP_LISTEN", "AIP_INTERNAL_LISTEN"] {
            let free = if listener == name {
                value
            } else {
                "127.0.0.1:0"
            };
            variables.push((listener, free));
        }
        variables.push((name, value));
        let output = aip(folder.path(), &variables, &["serve"]);
        output.failed_with(words);
        assert!(!folder.path().join("aip-data/aip.db").exists(), "{name}");
    }
}

#[test]
fn a_log_for_machines_holds_nothing_else() {
    let folder = TempDir::new().unwrap();
    let server = Server::start(folder.path(), &[("SVG_LOGO", "<svg/>")]);
    let log = server.log();
    let lines: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).expect(line))
        .collect();
    let serving = lines.iter().find(|line| line["message"] == "serving");
    assert!(serving.unwrap()["external_base"].is_string());
    assert!(
        log.contains("SVG_LOGO: a name of an older version"),
        "{log}"
    );

    let json = ("AIP_LOG_FORMAT", "json");
    let taken = server.public.to_string();
    for (variable, code) in [
        (("AIP_DATA_DIR", "aip-data"), 1),
        (("AIP_LISTEN", &*taken), 1),
        (("AIP_DRAIN_TIMEOUT", "soon"), 2),
        (("AIP_OTLP_TRACES_URL", "collector"), 2),
    ] {
        let output = aip(folder.path(), &[json, variable], &["serve"]);
        assert_eq!(output.code, code, "{}", output.stderr);
        let lines = output.stderr.lines().map(serde_json::from_str::<Value>);
        let lines: Vec<Value> = lines.map(|line| line.expect(&output.stderr)).collect();
        assert_eq!(lines.last().unwrap()["level"], "ERROR", "{}", output.stderr);
    }
}

#[test]
fn the_log_has_colours_unless_no_color_says_otherwise() {
    let folder = TempDir::new().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let base = ("AIP_EXTERNAL_BASE", "https://id.example.org");
    let stderr = |more: &[(&str, &str)]| {
        let variables = [&[base, ("AIP_LISTEN", &*taken), ("DEBUG", "1")], more].concat();
        aip(folder.path(), &variables, &["serve"]).stderr
    };
    let forced = ("CLICOLOR_FORCE", "1");
    assert!(stderr(&[forced]).contains('\u{1b}'));
    for quiet in [&[forced, ("NO_COLOR", "1")][..], &[]] {
        let stderr = stderr(quiet);
        assert!(
            stderr.contains("WARN") && !stderr.contains('\u{1b}'),
            "{stderr:?}"
        );
    }
}

#[test]
fn files_with_secrets_that_are_open_to_others_are_reported() {
    let folder = TempDir::new().unwrap();
    let data = folder.path().join("aip-data");
    let named = folder.path().join("aip.toml");
    std::fs::write(&named, "[redis]\nurl = \"redis://:hunter2@127.0.0.1:1\"\n").unwrap();
    mode(&named, 0o600);
    let doctor =
        || aip(folder.path(), &[], &["doctor", "--offline", "--json"]).rows_of("file modes");
    aip(folder.path(), &[], &["clients", "list"]).ok();
    assert_eq!(doctor()["status"], "ok");
    mode(&data, 0o755);
    mode(&data.join("keys.json"), 0o644);
    mode(&data.join("master-keys.json"), 0o640);
    mode(&named, 0o644);
    let found = doctor();
    assert_eq!(found["status"], "warn");
    let found = found["found"].as_str().unwrap();
    for words in [
        "mode 0755): chmod 700 ",
        "keys.json holds secrets and is open to others (mode 0644): chmod 600 ",
        "master-keys.json holds secrets and is open to others (mode 0640)",
        "aip.toml holds secrets and is open to others (mode 0644): chmod o-rwx ",
    ] {
        assert!(found.contains(words), "{words}: {found}");
    }
    let server = Server::start(folder.path(), &[]);
    assert!(server.log().contains("master-keys.json holds secrets"));
}

#[test]
fn no_command_repeats_the_password_of_a_url() {
    let folder = TempDir::new().unwrap();
    let url = "http://aip:hunter2@127.0.0.1:1/v1/traces";
    let otlp = [("AIP_OTLP_TRACES_URL", url)];
    let shown = aip(folder.path(), &otlp, &["config", "show"]);
    assert!(shown.ok().contains("http://***@127.0.0.1:1/v1/traces"));
    for (variables, words) in [
        (&otlp[..], &["config", "show", "--output", "json"][..]),
        (&[], &["healthcheck", "--url", url]),
        (&[], &["healthcheck", "--url", "aip:hunter2@127.0.0.1"]),
        (
            &[],
            &[
                "config",
                "check",
                "--set",
                "redis.url:redis://:hunter2@valkey",
            ],
        ),
        (
            &[("AIP_EXTERNAL_BASE", "https://aip:hunter2@id.example.org")],
            &["serve"],
        ),
        (
            &[("AIP_DATABASE_URL", "postgres://aip:hunter2@127.0.0.1:1/aip")],
            &["migrate"],
        ),
    ] {
        let output = aip(folder.path(), variables, words);
        let all = format!("{}{}", output.stdout, output.stderr);
        assert!(!all.contains("hunter2"), "{words:?}: {all}");
    }
}

#[test]
fn a_log_word_that_is_no_level_is_refused_before_anything_starts() {
    let folder = TempDir::new().unwrap();
    for word in ["warning", "VERBOSE", "trace="] {
        for words in [&["config", "check"][..], &["serve"]] {
            let output = command(folder.path(), &[("AIP_LOG", word)], words).output();
            let output = output.unwrap();
            assert_eq!(output.status.code(), Some(2));
            let stderr = String::from_utf8(output.stderr).unwrap();
            assert!(stderr.contains("is no level"), "{stderr}");
        }
    }
}

#[tokio::test]
async fn a_refusal_of_postgresql_is_reported_in_its_own_words() {
    let folder = TempDir::new().unwrap();
    let url = aip_testkit::postgres::create_database().await;
    let (server, rest) = url.split_once('?').unwrap_or((&url, ""));
    let missing = format!("{server}_that_is_not_there?{rest}");
    let output = aip(
        folder.path(),
        &[("AIP_DATABASE_URL", &missing)],
        &["migrate"],
    );
    output.failed_with("does not exist");
    assert!(!output.stderr.contains(" at line "), "{}", output.stderr);
    let doctor = aip(
        folder.path(),
        &[("AIP_DATABASE_URL", &missing)],
        &["doctor", "--offline"],
    );
    assert!(!doctor.stdout.contains(" at line "), "{}", doctor.stdout);
}

#[test]
fn keys_that_a_file_variable_names_are_reported_as_that() {
    let folder = TempDir::new().unwrap();
    aip(folder.path(), &[], &["clients", "list"]).ok();
    std::fs::rename(
        folder.path().join("aip-data/keys.json"),
        folder.path().join("k.json"),
    )
    .unwrap();
    let keys = [("AIP_JSON_WEB_KEYS_FILE", "k.json")];
    let output = aip(
        folder.path(),
        &keys,
        &["keys", "generate", "--purpose", "upstream"],
    );
    output.failed_with("or the file that AIP_JSON_WEB_KEYS_FILE names");
}

#[test]
fn an_active_key_of_another_purpose_is_reported_with_those_that_would_do() {
    let folder = TempDir::new().unwrap();
    let rows = aip(folder.path(), &[], &["keys", "list", "--output", "json"]).rows();
    let kid = |purpose: &str| {
        let row = rows.iter().find(|row| row["purpose"] == purpose);
        row.unwrap()["kid"].as_str().unwrap().to_owned()
    };
    let (upstream, oidc) = (kid("upstream"), kid("oidc"));
    for (active, why) in [
        (&*oidc, "it is a key for oidc"),
        ("nope", "there is no such key"),
    ] {
        let output = aip(
            folder.path(),
            &[("ACTIVE_SIGNING_KEYS", active)],
            &["clients", "list"],
        );
        output.failed_with(&format!("`{active}` cannot sign towards PDSs"));
        assert!(output.stderr.contains(why), "{}", output.stderr);
        assert!(
            output.stderr.contains(&format!("these can: {upstream}")),
            "{}",
            output.stderr
        );
    }
}
