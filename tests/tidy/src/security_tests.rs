//! Every row of `docs/security-tests.md` is held by a test whose name begins with `d2_rowNN_`.
//!
//! The document is the list of rows; its last column is kept by this test.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::checkout::{assert_clean, root, sources};

const DOCUMENT: &str = "docs/security-tests.md";
const PREFIX: &str = "d2_row";

/// Test names by the row they hold.
type Tests = BTreeMap<u32, Vec<String>>;

/// The row that a line of Rust declares a test for, and the test's name.
fn declared(line: &str) -> Option<(u32, String)> {
    let (_, rest) = line.split_once(&format!("fn {PREFIX}"))?;
    let (number, _) = rest.split_once('_')?;
    let (name, _) = rest.split_once('(')?;
    Some((number.parse().ok()?, format!("{PREFIX}{name}")))
}

fn tests() -> Tests {
    let mut tests = Tests::new();
    for text in sources() {
        for (number, name) in text.content.lines().filter_map(declared) {
            tests.entry(number).or_default().push(name);
        }
    }
    for names in tests.values_mut() {
        names.sort();
    }
    tests
}

/// The number of a row of the table.
fn number(line: &str) -> Option<u32> {
    line.strip_prefix("| ")?.split(' ').next()?.parse().ok()
}

/// The document with its last column written anew, and the numbers of its rows.
fn written_anew(document: &str, tests: &Tests) -> (String, Vec<u32>) {
    let mut fresh = String::new();
    let mut rows = Vec::new();
    for line in document.lines() {
        let Some(row) = number(line) else {
            writeln!(fresh, "{line}").unwrap();
            continue;
        };
        rows.push(row);
        let cells: Vec<&str> = line.split(" | ").collect();
        let names: Vec<String> = tests
            .get(&row)
            .into_iter()
            .flatten()
            .map(|name| format!("`{name}`"))
            .collect();
        let names = names.join(" ");
        writeln!(
            fresh,
            "{} | {} | {names} |",
            cells[0],
            cells[1..3].join(" | ")
        )
        .unwrap();
    }
    (fresh, rows)
}

#[test]
fn every_row_has_a_test_and_every_such_test_a_row() {
    let path = root().join(DOCUMENT);
    let tests = tests();
    let document = std::fs::read_to_string(&path).expect("the document is there");
    let (fresh, rows) = written_anew(&document, &tests);
    if fresh != document {
        std::fs::write(&path, fresh).unwrap();
    }

    let without_test = rows
        .iter()
        .filter(|row| !tests.contains_key(row))
        .map(|row| format!("row {row} has no test"));
    let without_row = tests
        .iter()
        .filter(|(row, _)| !rows.contains(row))
        .flat_map(|(_, names)| names)
        .map(|name| format!("{name} holds a row that is not listed"));
    assert_clean(
        &without_test.chain(without_row).collect::<Vec<_>>(),
        &format!(
            "name the test that holds it `{PREFIX}NN_what_it_holds`, or list it in {DOCUMENT}"
        ),
    );
    assert!(
        std::fs::read_to_string(&path).unwrap() == document,
        "{DOCUMENT} was stale and has been written anew: look at it and commit it"
    );
}

#[test]
fn a_declaration_is_told_from_other_lines() {
    let line = format!("    async fn {PREFIX}08_two_servers_are_refused() {{");
    let name = format!("{PREFIX}08_two_servers_are_refused");
    assert_eq!(declared(&line), Some((8, name)));
    assert_eq!(declared("fn other() {"), None);
    assert_eq!(declared(&format!("fn {PREFIX}xx_no_number() {{")), None);
}

#[test]
fn the_last_column_is_written_from_the_tests() {
    let tests = Tests::from([(2, vec!["d2_row02_b".to_owned()])]);
    let (fresh, rows) = written_anew(
        "# T\n\n| 2 | area | rule | stale |\n| 3 | area | rule |  |\n",
        &tests,
    );
    assert_eq!(
        fresh,
        "# T\n\n| 2 | area | rule | `d2_row02_b` |\n| 3 | area | rule |  |\n"
    );
    assert_eq!(rows, [2, 3]);
}
