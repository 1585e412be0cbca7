//! The schema says of every setting what the reader holds true.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::test_sources::TestSources;

fn settings() -> Vec<(String, Value)> {
    let schema = aip_config::schema();
    let sections = schema["properties"].as_object().unwrap();
    sections
        .iter()
        .flat_map(|(section, schema)| {
            let properties = schema["properties"].as_object().unwrap();
            properties
                .iter()
                .map(move |(name, schema)| (format!("{section}.{name}"), schema.clone()))
        })
        .collect()
}

#[test]
fn every_setting_has_a_description_and_its_variables() {
    for (key, schema) in settings() {
        let description = schema["description"].as_str().unwrap();
        assert!(!description.starts_with(' '), "{key}");
        assert!(
            description.contains(". In the environment: `AIP_"),
            "{key}: {description}"
        );
    }
}

#[test]
fn a_variable_belongs_to_one_setting() {
    let mut owners = BTreeMap::new();
    for (key, schema) in settings() {
        let description = schema["description"].as_str().unwrap();
        let (_, variables) = description.split_once(" In the environment: ").unwrap();
        for variable in variables.split('`').skip(1).step_by(2) {
            let other = owners.insert(variable.to_owned(), key.clone());
            assert_eq!(other, None, "{variable} is {key} too");
        }
    }
}

#[test]
fn every_default_is_of_its_own_type() {
    for (key, schema) in settings() {
        let fits = match (&schema["default"], schema["type"].as_str().unwrap()) {
            (Value::Null, _) => true,
            (default, "string") => default.is_string(),
            (default, "integer") => default.is_u64(),
            (default, "boolean") => default.is_boolean(),
            (default, "array") => default.is_array(),
            _ => false,
        };
        assert!(fits, "{key}: {schema}");
    }
}

/// What the schema shows as defaults, written into a file, is accepted and changes nothing.
#[test]
fn a_file_of_all_defaults_is_the_default_configuration() {
    let lines = settings().into_iter().filter_map(|(key, schema)| {
        let default = schema.get("default")?;
        Some(format!("{key} = {default}\n"))
    });
    let file: String = lines.collect();
    let written = TestSources::empty().in_file(&file).loaded();
    let implied = TestSources::empty().loaded();
    assert_eq!(
        format!("{:?}", written.config),
        format!("{:?}", implied.config)
    );
}
