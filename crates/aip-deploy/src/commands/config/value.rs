//! Values as text and as JSON, with their secrets shown or hidden.

use pulumi_files::{Crypter, CrypterError};
use secrecy::ExposeSecret as _;
use serde_json::{Map, Number, Value, json};
use yaml_lossless::{Content, Node, ScalarKind};

/// What a reader sees in place of a secret.
const REDACTED_VALUE: &str = "[secret]";

#[derive(Clone, Copy)]
pub(super) enum Show<'a> {
    Hidden,
    Decrypted(&'a Crypter),
}

/// A single value as it is, a map or list as JSON.
pub(super) fn text(node: &Node, show: Show<'_>) -> Result<String, CrypterError> {
    match json(node, show)? {
        Value::String(text) => Ok(text),
        // As it is written: `1.10` is not `1.1` to somebody who reads a version.
        value => Ok(node
            .scalar()
            .map_or_else(|| value.to_string(), |scalar| scalar.text.clone())),
    }
}

/// A value as `config --json` prints it.
pub(super) fn entry(node: &Node, secret: bool, show: Show<'_>) -> Result<Value, CrypterError> {
    let mut entry = json!({"value": text(node, show)?, "secret": secret});
    if node.scalar().is_none() && node.secret().is_none() {
        entry["objectValue"] = json(node, show)?;
    }
    Ok(entry)
}

/// A value as JSON.
fn json(node: &Node, show: Show<'_>) -> Result<Value, CrypterError> {
    if let Some(ciphertext) = node.secret() {
        return match show {
            Show::Hidden => Ok(REDACTED_VALUE.into()),
            Show::Decrypted(crypter) => Ok(crypter.decrypt(ciphertext)?.expose_secret().into()),
        };
    }
    match &node.content {
        Content::List(items) => items.iter().map(|item| json(item, show)).collect(),
        Content::Map(pairs) => {
            let pairs = pairs
                .iter()
                .map(|pair| Ok((pair.name().to_owned(), json(&pair.value, show)?)));
            pairs.collect::<Result<Map<_, _>, _>>().map(Value::Object)
        }
        Content::Scalar(scalar) => Ok(match scalar.kind {
            ScalarKind::Null => Value::Null,
            ScalarKind::Bool(value) => value.into(),
            ScalarKind::Int | ScalarKind::Float => number(&scalar.text),
            ScalarKind::Date | ScalarKind::String => scalar.text.clone().into(),
        }),
    }
}

/// A number that JSON has, or the text of one that it has not.
fn number(text: &str) -> Value {
    let int = text
        .parse::<i64>()
        .map(Number::from)
        .or_else(|_| text.parse::<u64>().map(Number::from))
        .ok();
    let plain_int =
        int.filter(|_| !text.trim_start_matches(['-', '+']).starts_with('0') || text == "0");
    let float = || {
        text.parse::<f64>()
            .ok()
            .filter(|_| text.contains(['.', 'e', 'E']))
            .and_then(Number::from_f64)
    };
    plain_int
        .or_else(float)
        .map_or_else(|| text.into(), Value::Number)
}
