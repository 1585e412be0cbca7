//! The commands of the documents work: every `sh` block under `<!-- tested -->` is run as it stands.
//!
//! The blocks of one page are one script, in an empty folder and an empty environment, so that a
//! page must say everything that its commands need.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a set-up step that fails ends the test"
)]

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

const MARK: &str = "<!-- tested -->";
const FENCE: &str = "```sh";

/// The marked blocks of a page, as one script.
fn script(page: &str) -> String {
    let marked = page.split(MARK).skip(1).map(|rest| {
        let block = rest.trim_start().strip_prefix(FENCE);
        let block = block.and_then(|rest| rest.split_once("\n```"));
        block.map(|(commands, _)| commands.trim_start())
    });
    let blocks: Option<Vec<&str>> = marked.collect();
    blocks
        .expect("a mark is followed by a block of commands")
        .join("\n")
}

fn run_commands_of(page: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../docs")
        .join(page);
    let script = script(&std::fs::read_to_string(path).unwrap());
    assert!(script.contains("aip "), "{page} has no tested command");
    let folder = TempDir::new().unwrap();
    let programs = Path::new(env!("CARGO_BIN_EXE_aip")).parent().unwrap();
    let output = Command::new("/bin/sh")
        .args(["-eux", "-c", &script])
        .env_clear()
        .env("PATH", format!("{}:/usr/bin:/bin", programs.display()))
        .current_dir(folder.path())
        .output()
        .unwrap();
    let talk = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{page}: {talk}");
}

#[test]
fn the_commands_of_the_operators_guide_work() {
    run_commands_of("operators.md");
}

#[test]
fn the_commands_of_the_developers_guide_work() {
    run_commands_of("developers.md");
}

#[test]
fn only_marked_blocks_are_run() {
    let page = "```sh\nno\n```\n<!-- tested -->\n```sh\none\n```\ntext\n<!-- tested -->\n```sh\ntwo\n```\n";
    assert_eq!(script(page), "one\ntwo");
}
