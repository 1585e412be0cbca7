//! Every row of `docs/security-tests.md` names the tests that hold it, and they exist.

use crate::checkout::{assert_clean, root, sources};
use crate::documents::named_tests_that_are_missing;

const DOCUMENT: &str = "docs/security-tests.md";

/// Whether a line is a row of the table: it begins with a number.
fn is_row(line: &str) -> bool {
    line.strip_prefix("| ")
        .and_then(|rest| rest.split(' ').next())
        .is_some_and(|number| number.parse::<u32>().is_ok())
}

#[test]
fn every_row_names_tests_that_exist() {
    let code: String = sources().into_iter().map(|text| text.content).collect();
    let document = std::fs::read_to_string(root().join(DOCUMENT)).expect("the document is there");
    let rows: Vec<&str> = document.lines().filter(|line| is_row(line)).collect();
    assert!(!rows.is_empty(), "{DOCUMENT} has no rows");
    let findings: Vec<String> = rows
        .iter()
        .flat_map(|row| named_tests_that_are_missing(row, &code))
        .collect();
    assert_clean(
        &findings,
        &format!("name the tests that hold the row in the last column of {DOCUMENT}"),
    );
}

#[test]
fn a_row_is_distinguished_from_other_lines() {
    assert!(is_row("| 8 | upstream | redirects → refused | `a` |"));
    for line in ["| row | area |", "| --- | --- |", "8 redirects", ""] {
        assert!(!is_row(line), "{line}");
    }
}
