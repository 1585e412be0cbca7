//! The JSON Schema (2020-12) of `aip.toml`, from the table of settings.

use serde_json::{Map, Value, json};

use crate::duration;
use crate::settings::SECTIONS;
use crate::table::Setting;
use crate::value::Shape;

/// The schema. Descriptions name the variables of the environment too.
pub fn schema() -> Value {
    let sections: Map<String, Value> = SECTIONS
        .iter()
        .map(|section| {
            let properties: Map<String, Value> =
                section.settings.iter().flat_map(properties).collect();
            let schema = json!({
                "description": section.description.trim(),
                "type": "object",
                "additionalProperties": false,
                "properties": properties,
            });
            (section.name.to_owned(), schema)
        })
        .collect();
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Settings of aip",
        "type": "object",
        "additionalProperties": false,
        "properties": sections,
    })
}

/// The setting, and for a secret the file it can be read from instead.
fn properties(setting: &Setting) -> Vec<(String, Value)> {
    let mut schema = shape(setting.shape);
    schema["description"] = described(setting.description, setting, "").into();
    if let Some(text) = setting.default {
        schema["default"] = default(setting.shape, text);
    }
    let mut properties = vec![(setting.name.to_owned(), schema)];
    if setting.secret {
        let mut file_variant = shape(Shape::Text);
        let description = format!("A file with the text of `{}`.", setting.name);
        file_variant["description"] = described(&description, setting, "_FILE").into();
        properties.push((format!("{}_file", setting.name), file_variant));
    }
    properties
}

fn described(description: &str, setting: &Setting, suffix: &str) -> String {
    let variables: Vec<String> = setting
        .variables
        .iter()
        .map(|variable| format!("`{}{suffix}`", variable.name))
        .collect();
    format!(
        "{} In the environment: {}.",
        description.trim(),
        variables.join(", ")
    )
}

fn shape(shape: Shape) -> Value {
    match shape {
        Shape::Text => json!({"type": "string"}),
        Shape::Duration => json!({"type": "string", "pattern": duration::PATTERN}),
        Shape::Boolean => json!({"type": "boolean"}),
        Shape::Integer { least, most: None } => json!({"type": "integer", "minimum": least}),
        Shape::Integer {
            least,
            most: Some(most),
        } => json!({"type": "integer", "minimum": least, "maximum": most}),
        Shape::OneOf(words) => json!({"type": "string", "enum": words}),
        Shape::List(member) => json!({"type": "array", "items": self::shape(*member)}),
    }
}

/// The default as the file would have it.
fn default(shape: Shape, text: &str) -> Value {
    match shape {
        Shape::Text | Shape::Duration | Shape::OneOf(_) => text.into(),
        Shape::Boolean | Shape::Integer { .. } => {
            serde_json::from_str(text).unwrap_or_else(|_| text.into())
        }
        Shape::List(member) => text
            .split(',')
            .filter(|one| !one.is_empty())
            .map(|one| default(*member, one))
            .collect(),
    }
}
