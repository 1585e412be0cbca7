//! The table of metrics is what the crates record, and the reference page is the table.

#![allow(clippy::unwrap_used, reason = "a set-up step that fails ends the test")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use aip_telemetry::{Kind, METRICS, Unit, reference};

const MACROS: &[(&str, Kind)] = &[
    ("counter!(", Kind::Counter),
    ("gauge!(", Kind::Gauge),
    ("histogram!(", Kind::Histogram),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .unwrap()
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension() == Some("rs".as_ref()) {
            found.push(path);
        }
    }
}

/// A metric as a source records it, or as the table has it.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Use {
    name: String,
    kind: &'static str,
    labels: BTreeSet<String>,
}

/// The metrics that a source records; what its tests record is theirs.
fn recorded(source: &str) -> Vec<Use> {
    let source = source.split("#[cfg(test)]").next().unwrap_or_default();
    let uses = |(call, kind): &(&str, Kind)| {
        let kind = kind.as_str();
        let calls = source.split(call).skip(1);
        let uses = calls.filter_map(move |rest| {
            let arguments = arguments(rest);
            let name = arguments
                .trim_start()
                .strip_prefix('"')?
                .split('"')
                .next()?;
            let before_arrows = arguments.rsplit("\" =>").skip(1);
            let labels = before_arrows.filter_map(|before| before.rsplit('"').next());
            let labels = labels.map(str::to_owned).collect();
            Some(Use {
                name: name.to_owned(),
                kind,
                labels,
            })
        });
        uses.collect::<Vec<_>>()
    };
    MACROS.iter().flat_map(uses).collect()
}

/// Up to the parenthesis that closes the call.
fn arguments(rest: &str) -> &str {
    let mut depth = 1;
    let end = rest.find(|c| {
        depth += match c {
            '(' => 1,
            ')' => -1,
            _ => 0,
        };
        depth == 0
    });
    &rest[..end.unwrap_or(rest.len())]
}

#[test]
fn the_table_names_what_is_recorded_and_no_more() {
    let mut files = Vec::new();
    for folder in std::fs::read_dir(root().join("crates")).unwrap() {
        let src = folder.unwrap().path().join("src");
        if src.is_dir() {
            sources(&src, &mut files);
        }
    }
    files.retain(|path| !path.ends_with("tests.rs"));
    let recorded: BTreeSet<Use> = files
        .iter()
        .flat_map(|path| recorded(&std::fs::read_to_string(path).unwrap()))
        .collect();
    let table: BTreeSet<Use> = METRICS
        .iter()
        .map(|metric| Use {
            name: metric.name.to_owned(),
            kind: metric.kind.as_str(),
            labels: metric
                .labels
                .iter()
                .map(|&label| label.to_owned())
                .collect(),
        })
        .collect();
    let missing: Vec<_> = recorded.difference(&table).collect();
    let gone: Vec<_> = table.difference(&recorded).collect();
    assert!(
        missing.is_empty() && gone.is_empty(),
        "recorded, and not in METRICS: {missing:#?}\nin METRICS, and not recorded so: {gone:#?}"
    );
}

#[test]
fn names_and_labels_are_found_in_a_source() {
    let source = r#"
        metrics::counter!(
            "aip_a_total", "of" => of(x), "status" => "2xx"
        ).increment(1);
        let open = metrics::gauge!("aip_b");
        #[cfg(test)]
        fn f() { metrics::gauge!("aip_c"); }
    "#;
    let found: Vec<(String, Vec<String>)> = recorded(source)
        .into_iter()
        .map(|it| (it.name, it.labels.into_iter().collect()))
        .collect();
    assert_eq!(
        found,
        [
            (
                "aip_a_total".to_owned(),
                vec!["of".to_owned(), "status".to_owned()]
            ),
            ("aip_b".to_owned(), vec![]),
        ]
    );
}

#[test]
fn the_table_is_sorted_and_its_names_follow_the_convention() {
    let names: Vec<&str> = METRICS.iter().map(|metric| metric.name).collect();
    let sorted: BTreeSet<&str> = names.iter().copied().collect();
    assert!(names.iter().copied().eq(sorted), "{names:?}");
    for metric in METRICS {
        let suffix = match metric.kind {
            Kind::Counter => metric.name.ends_with("_total"),
            Kind::Gauge => !metric.name.ends_with("_total"),
            Kind::Histogram => metric.name.ends_with("_seconds"),
        };
        let unit = match metric.unit {
            Unit::Count => true,
            Unit::Seconds => metric.name.ends_with("_seconds"),
            Unit::Bytes => metric.name.ends_with("_bytes"),
        };
        assert!(
            metric.name.starts_with("aip_") && suffix && unit,
            "{}",
            metric.name
        );
    }
}

#[test]
fn the_reference_page_is_written_from_the_table() {
    let path = root().join("docs/reference/metrics.md");
    let fresh = reference();
    let present = std::fs::read_to_string(&path).unwrap_or_default();
    if present != fresh {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &fresh).unwrap();
    }
    assert!(
        present == fresh,
        "docs/reference/metrics.md was stale and has been written anew: look at it and commit it"
    );
}
