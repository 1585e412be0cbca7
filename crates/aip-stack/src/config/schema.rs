//! The JSON Schema of a stack file, for editors and for the reference page: made from the table.

use serde_json::{Map, Value, json};

use super::choices::Profile;
use super::field::{AnyField, Group, Shape};
use super::fields::AIP_CONFIG;

/// The schema of `Pulumi.<stack>.yaml` of a project of this name. Where the profiles differ in a
/// default, `x-defaults` has one for each.
pub fn schema(project: &str) -> Value {
    let mut keys = Map::new();
    for spelled in ["k8s_context".to_owned(), format!("{project}:k8s_context")] {
        keys.insert(spelled, json!({"type": "string", "description": "The kubeconfig context that the stack belongs to"}));
    }
    for spelled in ["aip_config".to_owned(), format!("{project}:aip_config")] {
        keys.insert(spelled, group(&AIP_CONFIG));
    }
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A stack of AIP",
        "type": "object",
        "properties": {
            "secretsprovider": {"type": "string"},
            "encryptedkey": {"type": "string"},
            "encryptionsalt": {"type": "string"},
            "config": {"type": "object", "properties": keys},
        },
    })
}

fn group(of: &Group) -> Value {
    let fields = of.fields.iter().map(|of| (of.name(), field(*of)));
    let groups = of.groups.iter().map(|of| (of.name(), group(of)));
    let properties: Map<String, Value> = fields
        .chain(groups)
        .map(|(name, schema)| (name.to_owned(), schema))
        .collect();
    json!({
        "type": "object",
        "description": of.description(),
        "additionalProperties": false,
        "properties": properties,
    })
}

fn field(of: &dyn AnyField) -> Value {
    let mut schema = shape(of.shape());
    schema["description"] = of.description().into();
    let [compat, restricted] =
        [Profile::Compat, Profile::Restricted].map(|profile| of.default_json(profile));
    if compat != restricted {
        schema["x-defaults"] = json!({"compat": compat, "restricted": restricted});
    } else if !compat.is_null() {
        schema["default"] = compat;
    }
    schema
}

fn shape(shape: Shape) -> Value {
    match shape {
        Shape::String => text(),
        Shape::Quantity => json!({"type": ["string", "number"]}),
        Shape::Bool => json!({"type": "boolean"}),
        Shape::Int { min, max } => json!({"type": "integer", "minimum": min, "maximum": max}),
        Shape::Word(words) => json!({"enum": words}),
        Shape::StringList => json!({"type": "array", "items": text()}),
        Shape::StringMap => json!({"type": "object", "additionalProperties": text()}),
        Shape::Env(known) => {
            let variables: Map<String, Value> = known
                .iter()
                .map(|variable| {
                    let mut schema = text();
                    schema["description"] = variable.description.into();
                    (variable.name.to_owned(), schema)
                })
                .collect();
            json!({"type": "object", "additionalProperties": text(), "properties": variables})
        }
        Shape::Group(of) => group(of),
    }
}

/// A string, or an encrypted string.
fn text() -> Value {
    json!({"anyOf": [
        {"type": "string"},
        {
            "type": "object",
            "required": ["secure"],
            "additionalProperties": false,
            "properties": {"secure": {"type": "string"}},
        },
    ]})
}
