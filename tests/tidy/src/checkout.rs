//! The files of the checkout: tracked, or new and not ignored.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The root of the checkout.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .unwrap()
        .to_path_buf()
}

/// One file that is not binary.
pub(crate) struct Text {
    /// Relative to the root, with `/`.
    pub(crate) path: String,
    pub(crate) content: String,
}

impl Text {
    /// Line numbers from 1 of the lines that hold `needle`.
    pub(crate) fn lines_with(&self, needle: &str) -> Vec<usize> {
        self.content
            .lines()
            .zip(1..)
            .filter(|(line, _)| line.contains(needle))
            .map(|(_, number)| number)
            .collect()
    }
}

/// Paths of all files, relative to the root.
pub(crate) fn paths() -> Vec<String> {
    let output = Command::new("git")
        .args([
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ])
        .current_dir(root())
        .output()
        .expect("git runs");
    assert!(output.status.success(), "this is no git checkout");
    let mut paths: Vec<String> = String::from_utf8(output.stdout)
        .unwrap()
        .split_terminator('\0')
        // Deleted and not yet committed.
        .filter(|path| root().join(path).is_file())
        .map(str::to_owned)
        .collect();
    paths.sort();
    paths.dedup();
    assert!(!paths.is_empty(), "git lists no files");
    paths
}

/// All text files.
pub(crate) fn texts() -> Vec<Text> {
    paths()
        .into_iter()
        .filter_map(|path| {
            let bytes = std::fs::read(root().join(&path)).unwrap();
            let content = String::from_utf8(bytes).ok()?;
            Some(Text { path, content })
        })
        .collect()
}

/// All Rust sources.
pub(crate) fn sources() -> Vec<Text> {
    let mut sources = texts();
    sources.retain(|text| Path::new(&text.path).extension() == Some("rs".as_ref()));
    sources
}

/// The Cargo manifests of the workspace's crates, parsed. One that is a workspace of its own is a stock client
/// of `tests/e2e`, with no crate of ours in it.
pub(crate) fn manifests() -> Vec<(String, toml::Table)> {
    texts()
        .into_iter()
        .filter(|text| text.path.ends_with("/Cargo.toml"))
        .map(|text| (text.path, text.content.parse().unwrap()))
        .filter(|(_, manifest): &(String, toml::Table)| !manifest.contains_key("workspace"))
        .collect()
}

/// Fails with every finding at once, and with the way to mend them.
#[track_caller]
pub(crate) fn assert_clean(findings: &[String], mend: &str) {
    assert!(
        findings.is_empty(),
        "\n  {}\nTo mend: {mend}\n",
        findings.join("\n  ")
    );
}
