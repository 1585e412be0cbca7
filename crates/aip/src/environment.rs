//! The one place that looks at the environment and at the configuration file.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::path::Path;
use std::str::FromStr;

use aip_base::without_credentials;
use aip_config::{CONFIG_FILE_VARIABLE, ConfigFile, Flag, LoadedConfig, Sources};
use anyhow::Context as _;

use crate::cli::Global;
use crate::failure::Failure;

/// Read when it exists and no other file is named.
const DEFAULT_FILE: &str = "aip.toml";

/// `SECTION.NAME=VALUE` on the command line.
#[derive(Debug, Clone)]
pub(crate) struct Assignment {
    key: String,
    text: String,
}

impl FromStr for Assignment {
    type Err = Infallible;

    /// Without `=`, it is an assignment of nothing to an unknown setting, which is refused
    /// together with everything else that is wrong.
    fn from_str(words: &str) -> Result<Self, Infallible> {
        let (key, text) = words.split_once('=').unwrap_or((words, ""));
        Ok(Self {
            key: key.to_owned(),
            text: text.to_owned(),
        })
    }
}

/// The configuration of this run. All its mistakes are one [`Failure::Usage`].
pub(crate) fn load(global: &Global) -> Result<LoadedConfig, Failure> {
    let environment = variables();
    let file = file(global, &environment).map_err(Failure::Usage)?;
    let flags = global.set.iter().map(|assignment| Flag {
        flag: format!("--set {}", without_credentials(&assignment.key)),
        key: assignment.key.clone(),
        text: assignment.text.clone(),
    });
    let sources = Sources {
        flags: flags.collect(),
        environment,
        file,
        read_file: &|path| std::fs::read_to_string(path),
    };
    LoadedConfig::from_sources(&sources).map_err(Failure::usage)
}

/// A variable that is no setting, if it is set.
pub(crate) fn variable(name: &str) -> Option<String> {
    variables().remove(name)
}

/// The environment. What is no Unicode is replaced, and then refused if it is a setting.
fn variables() -> BTreeMap<String, String> {
    let text = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
    std::env::vars_os()
        .map(|(name, value)| (text(name), text(value)))
        .collect()
}

fn file(
    global: &Global,
    environment: &BTreeMap<String, String>,
) -> anyhow::Result<Option<ConfigFile>> {
    let by_variable = environment
        .get(CONFIG_FILE_VARIABLE)
        .filter(|path| !path.is_empty())
        .map(Path::new);
    let named = global.config.as_deref().or(by_variable);
    let path = named.unwrap_or(Path::new(DEFAULT_FILE));
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(ConfigFile {
            path: path.display().to_string(),
            text,
        })),
        Err(error) if named.is_none() && error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error)
            .with_context(|| format!("cannot read the configuration file {}", path.display())),
    }
}
