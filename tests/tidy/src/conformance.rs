//! `docs/conformance.md`: every specification has rows, and every row a test that exists or a reason.

use std::collections::BTreeSet;

use crate::checkout::{assert_clean, root, sources};
use crate::documents::quoted;

const DOCUMENT: &str = "docs/conformance.md";
const STORIES: &str = "tests/e2e/stories";
/// A reason shorter than this says nothing.
const REASON_MIN_CHARACTERS: usize = 20;
/// Before the tests of what is refused, at the end of a reason.
const REFUSED: &str = "; refused: ";

/// How the headings of the tables begin.
const SPECIFICATIONS: [&str; 27] = [
    "RFC 6749",
    "RFC 6750",
    "RFC 7009",
    "RFC 7591",
    "RFC 7592",
    "RFC 7636",
    "RFC 7662",
    "RFC 8414",
    "RFC 8628",
    "RFC 8693",
    "RFC 8705",
    "RFC 8707",
    "RFC 9068",
    "RFC 9101",
    "RFC 9126",
    "RFC 9207",
    "RFC 9396",
    "RFC 9449",
    "RFC 9700",
    "RFC 9728",
    "OpenID Connect Core 1.0",
    "OpenID Connect Discovery 1.0",
    "OpenID Connect Dynamic Client Registration 1.0",
    "OpenID Connect RP-Initiated Logout 1.0",
    "OpenID Connect Back-Channel Logout 1.0",
    "OpenID Connect Front-Channel Logout 1.0",
    "FAPI 2.0 Security Profile",
];

/// What is wrong with a row; `exists` tells of a test.
fn flaw(row: &str, exists: impl Fn(&str) -> bool) -> Option<String> {
    let cells: Vec<&str> = row
        .trim()
        .trim_matches('|')
        .split(" | ")
        .map(str::trim)
        .collect();
    let [section, requirement, last] = cells[..] else {
        return Some("it has not three columns".to_owned());
    };
    if !section.starts_with('§') || requirement.is_empty() {
        return Some("it names no section, or no requirement".to_owned());
    }
    let reason = ["not here: ", "gap: "]
        .iter()
        .find_map(|form| last.strip_prefix(form));
    let tests = match reason {
        None => last,
        Some(reason) => {
            let (words, refused) = reason.split_once(REFUSED).unwrap_or((reason, ""));
            if words.chars().count() < REASON_MIN_CHARACTERS {
                return Some("it gives no reason".to_owned());
            }
            if refused.is_empty() {
                return None;
            }
            refused
        }
    };
    let named: Vec<&str> = quoted(tests).collect();
    let separate = named.iter().map(|name| format!("`{name}`"));
    if named.is_empty() || separate.collect::<Vec<_>>().join(" ") != tests {
        return Some(format!("`{tests}` is neither names of tests nor a reason"));
    }
    named
        .into_iter()
        .find(|name| !exists(name))
        .map(|name| format!("no such test: {name}"))
}

/// The tables of the document: heading, and the rows below the head.
fn tables(document: &str) -> Vec<(&str, Vec<&str>)> {
    let sections = document.split("\n## ").skip(1);
    sections
        .map(|section| {
            let (heading, rest) = section.split_once('\n').unwrap_or((section, ""));
            let rows = rest.lines().filter(|line| line.starts_with('|')).skip(2);
            (heading, rows.collect())
        })
        .collect()
}

#[test]
fn every_requirement_has_a_test_or_a_reason() {
    let code: String = sources().into_iter().map(|text| text.content).collect();
    let stories: BTreeSet<String> = std::fs::read_dir(root().join(STORIES))
        .expect("the stories are there")
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let exists = |test: &str| stories.contains(test) || code.contains(&format!("fn {test}("));
    let document = std::fs::read_to_string(root().join(DOCUMENT)).expect("the document is there");
    let tables = tables(&document);
    let mut findings = Vec::new();
    for specification in SPECIFICATIONS {
        let its = tables.iter().filter(|(heading, rows)| {
            heading
                .strip_prefix(specification)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
                && !rows.is_empty()
        });
        if its.count() != 1 {
            findings.push(format!("{specification}: there is not one table with rows"));
        }
    }
    if tables.len() != SPECIFICATIONS.len() {
        findings.push("a table is of no specification that is listed in tests/tidy".to_owned());
    }
    for (heading, rows) in &tables {
        for row in rows {
            if let Some(flaw) = flaw(row, exists) {
                findings.push(format!("{heading}: {flaw}\n    {row}"));
            }
        }
    }
    assert_clean(
        &findings,
        &format!(
            "name tests in the last column of {DOCUMENT}, or say `not here:` or `gap:` and why"
        ),
    );
}

#[test]
fn a_row_without_test_or_reason_is_found() {
    let exists = |test: &str| test == "a_test";
    for good in [
        "| §1 | it is so | `a_test` |",
        "| §1, §2 | it is so | `a_test` `a_test` |",
        "| §1 | it is so | not here: it is about something else |",
        "| §1 | it is so | not here: it is about something else; refused: `a_test` |",
        "| §1 | `it` is so | gap: nobody has written `it` down so far |",
    ] {
        assert_eq!(flaw(good, exists), None, "{good}");
    }
    for bad in [
        "| §1 | it is so |  |",
        "| §1 | it is so | `another` |",
        "| §1 | it is so | `a_test` `another` |",
        "| §1 | it is so | a_test |",
        "| §1 | it is so | `a_test` and more |",
        "| §1 | it is so | not here: no |",
        "| §1 | it is so | gap: |",
        "| §1 | it is so | not here: it is about something else; refused: `another` |",
        "| 1 | it is so | `a_test` |",
        "| §1 |  | `a_test` |",
        "| §1 | `a_test` |",
    ] {
        assert!(flaw(bad, exists).is_some(), "{bad}");
    }
}
