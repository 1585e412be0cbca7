//! The built program on its command line: what it prints where, and with which exit code.

#![allow(clippy::unwrap_used, reason = "a set-up step that fails ends the test")]

use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

struct CommandOutput {
    code: i32,
    stdout: String,
    stderr: String,
}

/// Runs `aip` in `folder` with nothing but these variables.
fn aip(folder: &Path, variables: &[(&str, &str)], arguments: &[&str]) -> CommandOutput {
    let output = Command::new(env!("CARGO_BIN_EXE_aip"))
        .args(arguments)
        .env_clear()
        .envs(variables.iter().copied())
        .current_dir(folder)
        .output()
        .unwrap();
    CommandOutput {
        code: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

fn setting(shown: &str, name: &str) -> Value {
    let settings: Vec<Value> = serde_json::from_str(shown).unwrap();
    let found = settings.into_iter().find(|line| line["setting"] == name);
    found.unwrap()
}

#[test]
fn the_version_says_number_commit_and_day() {
    let output = aip(Path::new("."), &[], &["--version"]);
    assert_eq!(output.code, 0, "{}", output.stderr);
    let begin = concat!("aip ", env!("CARGO_PKG_VERSION"), " (");
    let rest = output.stdout.trim_end().strip_prefix(begin).unwrap();
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
    let arguments = [
        "config",
        "show",
        "--output",
        "json",
        "--set",
        "log.filter=debug",
    ];
    let output = aip(folder.path(), &variables, &arguments);
    assert_eq!(output.code, 0, "{}", output.stderr);
    for (name, value, source) in [
        ("server.listen", "127.0.0.1:3000", "AIP_LISTEN"),
        ("server.external_base", "http://127.0.0.1:3000", "default"),
        ("database.url", "(secret, set)", "DATABASE_URL"),
        ("log.format", "json", "aip.toml:2"),
        ("log.filter", "debug", "--set log.filter"),
        ("tokens.refresh_grace", "30s", "default"),
    ] {
        let shown = setting(&output.stdout, name);
        assert_eq!(shown["value"], value);
        assert_eq!(shown["source"], source);
    }
    assert!(!output.stdout.contains("hunter2"));

    let table = aip(folder.path(), &variables, &["config", "show"]);
    assert!(table.stdout.contains("(secret, set)"), "{}", table.stdout);
    assert!(!table.stdout.contains("hunter2"));
}

#[test]
fn bad_settings_are_all_named_on_standard_error_with_exit_code_2() {
    let folder = TempDir::new().unwrap();
    let variables = [
        ("AIP_LISTN", "127.0.0.1:1"),
        ("AIP_DATABASE_URL", "mysql://hunter2"),
    ];
    let arguments = ["config", "check", "--set", "tokens.access_ttl=soon"];
    let output = aip(folder.path(), &variables, &arguments);
    assert_eq!(output.code, 2);
    assert_eq!(output.stdout, "");
    for part in [
        "AIP_LISTN",
        "`AIP_LISTEN`",
        "database.url",
        "tokens.access_ttl",
        "`soon`",
    ] {
        assert!(output.stderr.contains(part), "{part}: {}", output.stderr);
    }
    assert!(!output.stderr.contains("hunter2"), "{}", output.stderr);
}

#[test]
fn a_configuration_file_that_is_named_must_be_there() {
    let folder = TempDir::new().unwrap();
    let output = aip(folder.path(), &[], &["config", "check"]);
    assert_eq!(output.code, 0, "{}", output.stderr);
    for (variables, arguments) in [
        (&[][..], &["config", "check", "--config", "none.toml"][..]),
        (&[("AIP_CONFIG", "none.toml")][..], &["config", "check"][..]),
    ] {
        let output = aip(folder.path(), variables, arguments);
        assert_eq!(output.code, 2);
        assert!(output.stderr.contains("none.toml"), "{}", output.stderr);
    }
}

#[test]
fn words_that_are_no_command_are_a_usage_error() {
    let folder = TempDir::new().unwrap();
    for arguments in [&["sevre"][..], &[][..], &["man", "nothing"][..]] {
        let output = aip(folder.path(), &[], arguments);
        assert_eq!(output.code, 2, "{arguments:?}");
        assert_eq!(output.stdout, "");
        assert_ne!(output.stderr, "");
    }
}

#[test]
fn schema_completions_and_manual_pages_are_printed() {
    let folder = TempDir::new().unwrap();
    let print = |arguments: &[&str]| {
        let output = aip(folder.path(), &[], arguments);
        assert_eq!(output.code, 0, "{}", output.stderr);
        output.stdout
    };
    let schema: Value = serde_json::from_str(&print(&["config", "schema"])).unwrap();
    assert!(schema["properties"]["server"]["properties"]["listen"].is_object());
    assert!(print(&["completions", "bash"]).contains("complete -F _aip"));
    assert!(print(&["man"]).contains(".TH aip 1"));
    assert!(print(&["man", "config", "show"]).contains(".TH aip-config-show 1"));
    assert!(print(&["--version"]).starts_with("aip "));
}
