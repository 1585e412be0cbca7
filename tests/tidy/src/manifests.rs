//! What every crate's manifest must say.

use crate::checkout::{assert_clean, manifests};

#[test]
fn every_crate_takes_the_lints_of_the_workspace() {
    let findings: Vec<String> = manifests()
        .into_iter()
        .filter(|(_, manifest)| {
            manifest
                .get("lints")
                .and_then(|lints| lints.get("workspace"))
                .and_then(toml::Value::as_bool)
                != Some(true)
        })
        .map(|(path, _)| path)
        .collect();
    assert_clean(&findings, "add `[lints] workspace = true`");
}

#[test]
fn every_crate_says_what_it_is_for() {
    let findings: Vec<String> = manifests()
        .into_iter()
        .filter(|(_, manifest)| {
            let description = manifest["package"]
                .get("description")
                .and_then(toml::Value::as_str);
            description.is_none_or(|text| text.len() < 10)
        })
        .map(|(path, _)| path)
        .collect();
    assert_clean(&findings, "write a `description` of one line");
}

#[test]
fn versions_are_chosen_in_one_place() {
    let findings: Vec<String> = manifests()
        .into_iter()
        .flat_map(|(path, manifest)| {
            ["dependencies", "dev-dependencies", "build-dependencies"]
                .iter()
                .filter_map(|section| manifest.get(*section)?.as_table().cloned())
                .flatten()
                .filter(|(_, value)| value.get("workspace").is_none())
                .map(|(name, _)| format!("{path}: {name}"))
                .collect::<Vec<_>>()
        })
        .collect();
    assert_clean(
        &findings,
        "declare it in [workspace.dependencies] and use `NAME.workspace = true`",
    );
}
