//! The fields of a stack file: a table per map of `aip-deploy config schema` (a JSON Schema).

use std::fmt::Write as _;

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::Program;
use super::settings::{cell, kind, resolve};

/// Where the schema describes what a stack deploys.
const AIP_CONFIG: &str = "/properties/config/properties/aip_config";

pub(super) fn render(program: &Program) -> Result<String> {
    let schema: Value = serde_json::from_str(&program.ask(&["config", "schema"])?)
        .context("`aip-deploy config schema` printed no JSON")?;
    let aip_config = schema
        .pointer(AIP_CONFIG)
        .context("the schema does not describe aip_config")?;
    let mut page = String::from(
        "# The stack file\n\n\
         Generated from `aip-deploy config schema` by `cargo xtask docs`.\n\n\
         `Pulumi.<stack>.yaml` holds the values of one stack below `config`: `k8s_context`, the only kubeconfig \
         context that it may be deployed to, and `aip_config` with the fields below. `aip-deploy config set --path \
         aip_config.NAME VALUE` sets one, with `--secret` encrypted; `aip-deploy config check` validates them all. \
         A field that is not set has its default, which may differ by `profile`.\n",
    );
    table(aip_config, "aip_config", &mut page)?;
    Ok(page)
}

/// One table of the fields of a map, then the maps inside.
fn table(schema: &Value, path: &str, page: &mut String) -> Result<()> {
    let properties = schema["properties"]
        .as_object()
        .with_context(|| format!("{path} has no properties"))?;
    let description = |name: &str, schema: &Value| {
        let text = schema["description"].as_str().map(cell);
        text.with_context(|| format!("{path}.{name} has no description"))
    };
    let (maps, fields): (Vec<_>, Vec<_>) = properties
        .iter()
        .partition(|(_, schema)| schema["properties"].is_object());
    page.push_str("\n| field | type | default | what it is |\n| --- | --- | --- | --- |\n");
    for (name, schema) in fields {
        writeln!(
            page,
            "| `{name}` | {} | {} | {} |",
            type_and_range(schema),
            cell(&default(schema)),
            description(name, schema)?
        )?;
    }
    for (name, schema) in maps {
        let path = format!("{path}.{name}");
        write!(page, "\n## {path}\n\n{}.\n", description(name, schema)?)?;
        table(schema, &path, page)?;
    }
    Ok(())
}

fn type_and_range(schema: &Value) -> String {
    let kind = kind(resolve(schema, schema));
    match (schema["minimum"].as_i64(), schema["maximum"].as_i64()) {
        (Some(least), Some(most)) => format!("{kind} from {least} to {most}"),
        _ => kind,
    }
}

fn default(schema: &Value) -> String {
    let of_profiles = schema["x-defaults"].as_object();
    let by_profile: Vec<String> = of_profiles
        .into_iter()
        .flatten()
        .map(|(profile, value)| format!("{profile}: `{value}`"))
        .collect();
    match &schema["default"] {
        Value::Null => by_profile.join("; "),
        value => format!("`{value}`"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_have_their_range_and_the_default_of_each_profile() {
        let schema = json!({"properties": {
            "replicas": {"type": "integer", "minimum": 1, "maximum": 9, "default": 3, "description": "Pods"},
            "service": {"description": "The Service", "properties": {
                "plain_http": {"type": "boolean", "x-defaults": {"compat": true, "restricted": false}, "description": "Port 80"},
            }},
        }});
        let mut page = String::new();
        table(&schema, "aip_config", &mut page).unwrap();
        assert_eq!(
            page,
            "\n| field | type | default | what it is |\n| --- | --- | --- | --- |\n\
             | `replicas` | integer from 1 to 9 | `3` | Pods |\n\
             \n## aip_config.service\n\nThe Service.\n\
             \n| field | type | default | what it is |\n| --- | --- | --- | --- |\n\
             | `plain_http` | boolean | compat: `true`; restricted: `false` | Port 80 |\n"
        );
    }
}
