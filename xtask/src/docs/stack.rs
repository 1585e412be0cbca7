//! The values of a stack: a table per map of `aip-deploy config schema` (a JSON Schema).

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::{Program, settings};

/// Where the schema describes what a stack deploys.
const VALUES: &str = "/properties/config/properties/aip_config";

pub(super) fn render(program: &Program) -> Result<String> {
    let schema: Value = serde_json::from_str(&program.ask(&["config", "schema"])?)
        .context("`aip-deploy config schema` printed no JSON")?;
    let values = schema
        .pointer(VALUES)
        .context("the schema does not describe aip_config")?;
    let mut page = String::from(
        "# Values of a stack\n\n\
         Generated from `aip-deploy config schema` by `cargo xtask docs`.\n\n\
         `aip-deploy config set --path aip_config.NAME VALUE` sets one, with `--secret` encrypted; besides these a \
         stack has `k8s_context`, the only kubeconfig context that it may touch.\n",
    );
    settings::section(&schema, values, "aip_config", &mut page)?;
    Ok(page)
}
