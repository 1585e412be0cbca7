//! Finds out from which commit the programs are built: from git, or from the file that
//! `git archive` fills in (gitattributes(5), `export-subst`) when there is no git.

use std::path::Path;
use std::process::Command;

/// The format of [`ARCHIVED`]: hash and committer date.
const FORMAT: &str = "%H %cI";
/// Filled in by `git archive`; in a checkout it holds the placeholder.
const ARCHIVED: &str = "archived-commit.txt";

fn main() {
    let folder = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default();
    let folder = Path::new(&folder);
    let root = folder.ancestors().nth(2).unwrap_or(folder);
    tell(&format!("rerun-if-changed={ARCHIVED}"));
    // Only this repository's own git: a source archive may be unpacked inside of another.
    let commit = if root.join(".git").exists() {
        from_git(root)
    } else {
        from_archive(folder)
    };
    let (hash, date) = commit.unwrap_or_default();
    tell(&format!("rustc-env=AIP_COMMIT={hash}"));
    tell(&format!("rustc-env=AIP_COMMIT_DATE={date}"));
}

fn from_git(root: &Path) -> Option<(String, String)> {
    // Each commit and each checkout adds a line to it.
    let log = git(root, &["rev-parse", "--git-path", "logs/HEAD"])?;
    let log = root.join(log);
    if log.exists() {
        tell(&format!("rerun-if-changed={}", log.display()));
    }
    parse(&git(root, &["log", "-1", &format!("--format={FORMAT}")])?)
}

fn from_archive(folder: &Path) -> Option<(String, String)> {
    parse(&std::fs::read_to_string(folder.join(ARCHIVED)).ok()?)
}

/// The hash, and the date with its time zone.
fn parse(text: &str) -> Option<(String, String)> {
    let (hash, date) = text.trim().split_once(' ')?;
    let is_hash = hash.len() >= 40 && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hash.then(|| (hash.to_owned(), date.to_owned()))
}

fn git(root: &Path, words: &[&str]) -> Option<String> {
    let output = Command::new("git").args(words).current_dir(root).output();
    let output = output.ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}

#[allow(
    clippy::print_stdout,
    reason = "it is how a build script speaks to cargo"
)]
fn tell(instruction: &str) {
    println!("cargo::{instruction}");
}
