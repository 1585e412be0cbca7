//! Bills of materials of programs, by `cargo-sbom`.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::{paths, process, say, tools};

/// Writes the bill of materials of a program, as `CycloneDX` JSON; where it lies.
pub(crate) fn write(package: &str) -> Result<PathBuf> {
    say::step(&format!("bill of materials of {package}"));
    let text = process::output(tools::CARGO_SBOM.command()?.args([
        "--cargo-package",
        package,
        "--output-format",
        "cyclone_dx_json_1_4",
    ]))?;
    let mut bill: Value =
        serde_json::from_str(&text).context("cargo-sbom printed something else")?;
    // What differs from run to run: an id, the time, and the order.
    if let Some(fields) = bill.as_object_mut() {
        fields.remove("serialNumber");
    }
    if let Some(fields) = bill["metadata"].as_object_mut() {
        fields.remove("timestamp");
        // The user of this machine.
        fields.remove("authors");
    }
    sort(&mut bill);
    let folder = paths::target().join("sbom");
    std::fs::create_dir_all(&folder)?;
    let path = folder.join(format!("{package}.cdx.json"));
    std::fs::write(&path, serde_json::to_vec_pretty(&bill)?)?;
    Ok(path)
}

/// Sorts every list and every set of fields: in a bill of materials the order means nothing.
fn sort(value: &mut Value) {
    match value {
        Value::Array(items) => {
            items.iter_mut().for_each(sort);
            items.sort_by_cached_key(Value::to_string);
        }
        Value::Object(fields) => {
            let mut sorted: Vec<(String, Value)> = std::mem::take(fields).into_iter().collect();
            sorted.sort_by(|(one, _), (other, _)| one.cmp(other));
            for (name, mut value) in sorted {
                sort(&mut value);
                fields.insert(name, value);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_order_of_a_bill_is_that_of_its_content() {
        let mut one = json!({"b": [{"name": "y", "x": ["2", "1"]}, {"name": "x"}], "a": 1});
        let mut other = json!({"a": 1, "b": [{"name": "x"}, {"x": ["1", "2"], "name": "y"}]});
        sort(&mut one);
        sort(&mut other);
        assert_eq!(one.to_string(), other.to_string());
    }
}
