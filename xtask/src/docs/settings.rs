//! The settings reference: a table per section of `aip config schema` (a JSON Schema).

use std::fmt::Write as _;

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::Program;

pub(super) fn render(program: &Program) -> Result<String> {
    let schema: Value = serde_json::from_str(&program.ask(&["config", "schema"])?)
        .context("`aip config schema` printed no JSON")?;
    page(&schema)
}

fn page(schema: &Value) -> Result<String> {
    let mut page = String::from(
        "# Settings of `aip`\n\n\
         Generated from `aip config schema` by `cargo xtask docs`.\n",
    );
    section(schema, schema, "", &mut page)?;
    Ok(page)
}

/// One table of plain settings, then the sections inside.
fn section(root: &Value, schema: &Value, path: &str, page: &mut String) -> Result<()> {
    let properties = schema["properties"]
        .as_object()
        .context("a section of the schema has no properties")?;
    let (sections, settings): (Vec<_>, Vec<_>) = properties
        .iter()
        .map(|(name, schema)| (name, schema, resolve(root, schema)))
        .partition(|(_, _, resolved)| resolved["properties"].is_object());

    if !settings.is_empty() {
        let title = if path.is_empty() { "Top level" } else { path };
        write!(
            page,
            "\n## {title}\n\n| setting | type | default | what it is |\n| --- | --- | --- | --- |\n"
        )?;
    }
    for (name, schema, resolved) in settings {
        let default = match &schema["default"] {
            Value::Null => String::new(),
            value => format!("`{value}`"),
        };
        let description = schema["description"]
            .as_str()
            .or_else(|| resolved["description"].as_str())
            .with_context(|| format!("the setting {path}.{name} has no description"))?;
        writeln!(
            page,
            "| `{name}` | {} | {} | {} |",
            kind(resolved),
            cell(&default),
            cell(description)
        )?;
    }
    for (name, _, resolved) in sections {
        let inner = if path.is_empty() {
            name.clone()
        } else {
            format!("{path}.{name}")
        };
        section(root, resolved, &inner, page)?;
    }
    Ok(())
}

/// Follows `$ref`, and the one real alternative of an optional value.
pub(super) fn resolve<'a>(root: &'a Value, schema: &'a Value) -> &'a Value {
    if let Some(pointer) = schema["$ref"].as_str().and_then(|r| r.strip_prefix('#')) {
        return root.pointer(pointer).unwrap_or(schema);
    }
    let real = schema["anyOf"]
        .as_array()
        .and_then(|any| any.iter().find(|one| one["type"] != "null"));
    real.map_or(schema, |one| resolve(root, one))
}

pub(super) fn kind(schema: &Value) -> String {
    if let Some(values) = schema["enum"].as_array() {
        let values: Vec<String> = values.iter().map(|value| format!("`{value}`")).collect();
        return values.join(" or ");
    }
    match &schema["type"] {
        Value::String(one) => one.clone(),
        Value::Array(any) => any
            .iter()
            .filter_map(Value::as_str)
            .filter(|one| *one != "null")
            .collect::<Vec<_>>()
            .join(" or "),
        _ => "any".to_owned(),
    }
}

/// Text that stays inside one cell of a table.
pub(super) fn cell(text: &str) -> String {
    text.split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn settings_come_in_tables_by_section() {
        let schema = json!({
            "properties": {
                "debug": { "type": "boolean", "default": false, "description": "Chatty logs." },
                "storage": { "$ref": "#/$defs/Storage" }
            },
            "$defs": { "Storage": { "properties": {
                "url": { "type": ["string", "null"], "description": "Where it\nis: `a|b`." }
            } } }
        });
        assert_eq!(
            page(&schema).unwrap(),
            "# Settings of `aip`\n\n\
             Generated from `aip config schema` by `cargo xtask docs`.\n\
             \n## Top level\n\n\
             | setting | type | default | what it is |\n| --- | --- | --- | --- |\n\
             | `debug` | boolean | `false` | Chatty logs. |\n\
             \n## storage\n\n\
             | setting | type | default | what it is |\n| --- | --- | --- | --- |\n\
             | `url` | string |  | Where it is: `a\\|b`. |\n"
        );
    }

    #[test]
    fn a_setting_nobody_described_is_an_error() {
        let schema = json!({ "properties": { "debug": { "type": "boolean" } } });
        let error = page(&schema).unwrap_err().to_string();
        assert!(error.contains("debug"), "{error}");
    }
}
