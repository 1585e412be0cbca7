//! The built program on its command line: what it prints where, and with which exit code.

#![allow(clippy::unwrap_used, reason = "a set-up step that fails ends the test")]

use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

struct Said {
    code: i32,
    result: String,
    talk: String,
}

/// Runs `aip` in `folder` with nothing but these variables.
fn aip(folder: &Path, variables: &[(&str, &str)], words: &[&str]) -> Said {
    let output = Command::new(env!("CARGO_BIN_EXE_aip"))
        .args(words)
        .env_clear()
        .envs(variables.iter().copied())
        .current_dir(folder)
        .output()
        .unwrap();
    Said {
        code: output.status.code().unwrap(),
        result: String::from_utf8(output.stdout).unwrap(),
        talk: String::from_utf8(output.stderr).unwrap(),
    }
}

fn setting(shown: &str, name: &str) -> Value {
    let settings: Vec<Value> = serde_json::from_str(shown).unwrap();
    let found = settings.into_iter().find(|line| line["setting"] == name);
    found.unwrap()
}

#[test]
fn the_version_says_number_commit_and_day() {
    let said = aip(Path::new("."), &[], &["--version"]);
    assert_eq!(said.code, 0, "{}", said.talk);
    let begin = concat!("aip ", env!("CARGO_PKG_VERSION"), " (");
    let rest = said.result.trim_end().strip_prefix(begin).unwrap();
    let (commit, day) = rest.strip_suffix(')').unwrap().split_once(' ').unwrap();
    assert!(commit.len() == 12 || commit == "commit", "{rest}");
    assert!(day.len() == 10 || day == "unknown", "{rest}");
}

#[test]
fn config_show_tells_value_and_source_and_hides_secrets() {
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("aip.toml"), "[log]\nformat = \"json\"\n").unwrap();
    let variables = [
        ("AIP_LISTEN", "127.0.0.1:3000"),
        ("DATABASE_URL", "postgres://aip:hunter2@db/aip"),
    ];
    let words = [
        "config",
        "show",
        "--output",
        "json",
        "--set",
        "log.filter=debug",
    ];
    let said = aip(folder.path(), &variables, &words);
    assert_eq!(said.code, 0, "{}", said.talk);
    for (name, value, source) in [
        ("server.listen", "127.0.0.1:3000", "AIP_LISTEN"),
        ("server.external_base", "http://127.0.0.1:3000", "default"),
        ("database.url", "(secret, set)", "DATABASE_URL"),
        ("log.format", "json", "aip.toml:2"),
        ("log.filter", "debug", "--set log.filter"),
        ("tokens.refresh_grace", "30s", "default"),
    ] {
        let shown = setting(&said.result, name);
        assert_eq!(shown["value"], value);
        assert_eq!(shown["source"], source);
    }
    assert!(!said.result.contains("hunter2"));

    let table = aip(folder.path(), &variables, &["config", "show"]);
    assert!(table.result.contains("(secret, set)"), "{}", table.result);
    assert!(!table.result.contains("hunter2"));
}

#[test]
fn bad_settings_are_all_named_on_standard_error_with_exit_code_2() {
    let folder = TempDir::new().unwrap();
    let variables = [
        ("AIP_LISTN", "127.0.0.1:1"),
        ("AIP_DATABASE_URL", "mysql://hunter2"),
    ];
    let words = ["config", "check", "--set", "tokens.access_ttl=soon"];
    let said = aip(folder.path(), &variables, &words);
    assert_eq!(said.code, 2);
    assert_eq!(said.result, "");
    for part in [
        "AIP_LISTN",
        "`AIP_LISTEN`",
        "database.url",
        "tokens.access_ttl",
        "`soon`",
    ] {
        assert!(said.talk.contains(part), "{part}: {}", said.talk);
    }
    assert!(!said.talk.contains("hunter2"), "{}", said.talk);
}

#[test]
fn a_configuration_file_that_is_named_must_be_there() {
    let folder = TempDir::new().unwrap();
    let said = aip(folder.path(), &[], &["config", "check"]);
    assert_eq!(said.code, 0, "{}", said.talk);
    for (variables, words) in [
        (&[][..], &["config", "check", "--config", "none.toml"][..]),
        (&[("AIP_CONFIG", "none.toml")][..], &["config", "check"][..]),
    ] {
        let said = aip(folder.path(), variables, words);
        assert_eq!(said.code, 2);
        assert!(said.talk.contains("none.toml"), "{}", said.talk);
    }
}

#[test]
fn words_that_are_no_command_are_a_usage_error() {
    let folder = TempDir::new().unwrap();
    for words in [&["sevre"][..], &[][..], &["man", "nothing"][..]] {
        let said = aip(folder.path(), &[], words);
        assert_eq!(said.code, 2, "{words:?}");
        assert_eq!(said.result, "");
        assert_ne!(said.talk, "");
    }
}

#[test]
fn schema_completions_and_manual_pages_are_printed() {
    let folder = TempDir::new().unwrap();
    let print = |words: &[&str]| {
        let said = aip(folder.path(), &[], words);
        assert_eq!(said.code, 0, "{}", said.talk);
        said.result
    };
    let schema: Value = serde_json::from_str(&print(&["config", "schema"])).unwrap();
    assert!(schema["properties"]["server"]["properties"]["listen"].is_object());
    assert!(print(&["completions", "bash"]).contains("complete -F _aip"));
    assert!(print(&["man"]).contains(".TH aip 1"));
    assert!(print(&["man", "config", "show"]).contains(".TH aip-config-show 1"));
    assert!(print(&["--version"]).starts_with("aip "));
}
