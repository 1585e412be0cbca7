//! What the documents say of the code is still so.

use std::collections::BTreeSet;

use crate::checkout::{Text, assert_clean, manifests, root, sources, texts};

const ARCHITECTURE: &str = "docs/architecture.md";

fn documents() -> Vec<Text> {
    let mut documents = texts();
    documents.retain(|text| text.path.strip_suffix(".md").is_some());
    documents
}

fn architecture() -> String {
    std::fs::read_to_string(root().join(ARCHITECTURE)).expect("the document is there")
}

/// What stands between backticks.
pub(crate) fn quoted(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

/// Targets of `[text](target)` that are files of this repository.
fn links(document: &str) -> impl Iterator<Item = &str> {
    document
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
        .filter(|target| !target.contains("://") && !target.starts_with('#'))
        .filter_map(|target| target.split('#').next())
}

#[test]
fn every_link_leads_to_a_file() {
    let mut findings = Vec::new();
    for text in documents() {
        let path = root().join(&text.path);
        let folder = path.parent().unwrap();
        for target in links(&text.content) {
            if !folder.join(target).exists() {
                findings.push(format!("{}: {target}", text.path));
            }
        }
    }
    assert_clean(&findings, "correct the link");
}

#[test]
fn every_page_is_in_the_table_of_contents() {
    let summary = std::fs::read_to_string(root().join("docs/SUMMARY.md")).unwrap();
    let listed: BTreeSet<&str> = links(&summary).collect();
    let findings: Vec<String> = documents()
        .into_iter()
        .filter_map(|text| text.path.strip_prefix("docs/").map(str::to_owned))
        .filter(|page| page != "SUMMARY.md" && !listed.contains(page.as_str()))
        .collect();
    assert_clean(&findings, "list the page in docs/SUMMARY.md");
}

#[test]
fn the_architecture_names_every_crate_and_no_other() {
    let crates: BTreeSet<String> = manifests()
        .iter()
        .filter_map(|(path, _)| path.strip_suffix("/Cargo.toml"))
        .map(|folder| format!("{folder}/"))
        .collect();
    let document = architecture();
    let named: BTreeSet<String> = document
        .lines()
        .filter(|line| line.starts_with("| `"))
        .filter_map(|line| quoted(line).next())
        .filter(|name| name.starts_with("crates/"))
        .map(str::to_owned)
        .collect();
    let missing = crates
        .iter()
        .filter(|krate| !document.contains(&format!("`{krate}`")))
        .map(|krate| format!("{krate} is not described"));
    let gone = named
        .difference(&crates)
        .map(|krate| format!("{krate} is described and does not exist"));
    assert_clean(
        &missing.chain(gone).collect::<Vec<_>>(),
        &format!("edit the table of crates in {ARCHITECTURE}"),
    );
}

/// What is wrong with the last column of a row of a table, which names tests of `code`.
pub(crate) fn named_tests_that_are_missing(row: &str, code: &str) -> Vec<String> {
    let last = row.trim_end_matches(" |").rsplit(" | ").next().unwrap();
    let tests: Vec<&str> = quoted(last).collect();
    if tests.is_empty() {
        return vec![format!("no test: {row}")];
    }
    let exists = |test: &str| {
        let name = test.rsplit("::").next().unwrap();
        code.contains(&format!("fn {name}("))
    };
    let missing = tests.into_iter().filter(|test| !exists(test));
    missing
        .map(|test| format!("no such test: {test}"))
        .collect()
}

/// In the table of invariants the last column names tests.
#[test]
fn every_invariant_names_a_test_that_exists() {
    let code: String = sources().into_iter().map(|text| text.content).collect();
    let document = architecture();
    let (_, invariants) = document
        .split_once("## Invariants")
        .expect("a section of invariants");
    let rows: Vec<&str> = invariants
        .lines()
        .take_while(|line| !line.starts_with("## "))
        .filter(|line| line.starts_with("| "))
        .skip(2)
        .collect();
    assert!(!rows.is_empty(), "{ARCHITECTURE} lists no invariant");
    let mut findings = Vec::new();
    for row in rows {
        findings.extend(named_tests_that_are_missing(row, &code));
    }
    assert_clean(
        &findings,
        &format!("name a test that holds the invariant in {ARCHITECTURE}"),
    );
}
