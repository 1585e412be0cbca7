//! The table of metrics is what the rooms record, and the reference page is the table.

#![allow(clippy::unwrap_used, reason = "a set-up step that fails ends the test")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use aip_telemetry::{Kind, METRICS, reference};

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

/// The metrics that a source records.
fn recorded(source: &str) -> Vec<(String, Kind)> {
    let uses = |(call, kind): &(&str, Kind)| {
        let kind = *kind;
        let calls = source.split(call).skip(1);
        let names = calls.filter_map(|rest| rest.trim_start().strip_prefix('"')?.split('"').next());
        names
            .map(|name| (name.to_owned(), kind))
            .collect::<Vec<_>>()
    };
    MACROS.iter().flat_map(uses).collect()
}

#[test]
fn the_table_names_what_is_recorded_and_no_more() {
    let mut files = Vec::new();
    for room in std::fs::read_dir(root().join("crates")).unwrap() {
        let src = room.unwrap().path().join("src");
        if src.is_dir() {
            sources(&src, &mut files);
        }
    }
    let recorded: BTreeMap<String, &str> = files
        .iter()
        .flat_map(|path| recorded(&std::fs::read_to_string(path).unwrap()))
        .map(|(name, kind)| (name, kind.as_str()))
        .collect();
    let table: BTreeMap<String, &str> = METRICS
        .iter()
        .map(|metric| (metric.name.to_owned(), metric.kind.as_str()))
        .collect();
    assert_eq!(table, recorded, "left: METRICS; right: the rooms");
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
        assert!(metric.name.starts_with("aip_") && suffix, "{}", metric.name);
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
