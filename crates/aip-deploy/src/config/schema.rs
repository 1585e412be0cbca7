//! The JSON Schema of a stack file, for editors: made from the table.

use serde_json::{Map, Value, json};

use super::table::{AIP_CONFIG, Field, Shape};

/// The schema of `Pulumi.<stack>.yaml` of a project of this name.
pub fn schema(project: &str) -> Value {
    let mut keys = Map::new();
    for spelled in ["k8s_context".to_owned(), format!("{project}:k8s_context")] {
        keys.insert(spelled, json!({"type": "string", "description": "The kubeconfig context that the stack belongs to"}));
    }
    for spelled in ["aip_config".to_owned(), format!("{project}:aip_config")] {
        keys.insert(spelled, object(AIP_CONFIG));
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

fn object(fields: &[Field]) -> Value {
    let properties: Map<String, Value> = fields
        .iter()
        .map(|field| {
            let mut value = shape(field.shape);
            if let Some(map) = value.as_object_mut() {
                map.insert("description".to_owned(), field.description.into());
            }
            (field.name.to_owned(), value)
        })
        .collect();
    json!({"type": "object", "additionalProperties": false, "properties": properties})
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
            let mut env = object(known);
            env["additionalProperties"] = text();
            env
        }
        Shape::Object(fields) => object(fields),
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
