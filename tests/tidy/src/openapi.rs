//! `docs/openapi.yaml` describes the public endpoints of the reference page, with their methods, and no others.

use std::collections::BTreeSet;

use crate::checkout::{assert_clean, root};
use crate::documents::quoted;

const DOCUMENT: &str = "docs/openapi.yaml";
const REFERENCE: &str = "docs/reference/endpoints.md";
/// They are everywhere and mean the same.
const NOT_DESCRIBED: [&str; 2] = ["HEAD", "OPTIONS"];

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).expect("the document is there")
}

/// `METHOD path` of each row of the reference whose endpoint is public.
fn of_reference(page: &str) -> BTreeSet<String> {
    let mut operations = BTreeSet::new();
    for row in page.lines().filter(|line| line.starts_with("| `/")) {
        let cells: Vec<&str> = row.split(" | ").collect();
        if cells[2] != "yes" {
            continue;
        }
        let path = quoted(cells[0]).next().unwrap();
        for method in cells[1].split(", ") {
            if !NOT_DESCRIBED.contains(&method) {
                operations.insert(format!("{method} {path}"));
            }
        }
    }
    operations
}

/// The same of the document, by its indentation: a path by two blanks, its methods by four.
fn of_document(yaml: &str) -> BTreeSet<String> {
    let paths = yaml.lines().skip_while(|line| *line != "paths:").skip(1);
    let mut operations = BTreeSet::new();
    let mut path = "";
    for line in paths.take_while(|line| line.starts_with(' ')) {
        let key = line.trim_start();
        let depth = line.len() - key.len();
        let key = key.strip_suffix(':').unwrap_or_default();
        match depth {
            2 => path = key,
            4 => {
                operations.insert(format!("{} {path}", key.to_uppercase()));
            }
            _ => {}
        }
    }
    operations
}

#[test]
fn the_openapi_document_describes_every_public_endpoint() {
    let reference = of_reference(&read(REFERENCE));
    let document = of_document(&read(DOCUMENT));
    assert!(!reference.is_empty(), "{REFERENCE} has no rows");
    let missing = reference
        .difference(&document)
        .map(|it| format!("{it} is not described"));
    let gone = document
        .difference(&reference)
        .map(|it| format!("{it} is described and does not exist"));
    assert_clean(
        &missing.chain(gone).collect::<Vec<_>>(),
        &format!("edit {DOCUMENT}; {REFERENCE} is written by `cargo xtask docs`"),
    );
}

#[test]
fn operations_are_read_from_both_documents() {
    let page = "| path | methods | public |\n| `/a` | GET, HEAD, POST, OPTIONS | yes | A |\n\
        | `/b` | GET | no | B |\n";
    let yaml = "openapi: 3.1.0\npaths:\n  /a:\n    get:\n      summary: A\n    post:\n      x: {}\n\
        components:\n  c:\n    d:\n";
    let expected = BTreeSet::from(["GET /a".to_owned(), "POST /a".to_owned()]);
    assert_eq!(of_reference(page), expected);
    assert_eq!(of_document(yaml), expected);
}
