//! Sources of settings (flags, environment, files) of a test, in memory.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use aip_config::{ConfigFile, DisplayRow, Flag, LoadedConfig, Sources};

/// Flags, environment variables and files of a test, in memory.
#[derive(Default)]
pub(crate) struct TestSources {
    flags: Vec<Flag>,
    environment: BTreeMap<String, String>,
    file: Option<ConfigFile>,
    secrets: BTreeMap<String, String>,
}

impl TestSources {
    pub(crate) fn empty() -> Self {
        Self::default()
    }

    pub(crate) fn variables<const N: usize>(variables: [(&str, &str); N]) -> Self {
        Self::default().and_variables(variables)
    }

    pub(crate) fn and_variables<const N: usize>(mut self, variables: [(&str, &str); N]) -> Self {
        let owned = variables.map(|(name, text)| (name.to_owned(), text.to_owned()));
        self.environment.extend(owned);
        self
    }

    pub(crate) fn in_file(mut self, text: &str) -> Self {
        self.file = Some(ConfigFile {
            path: "aip.toml".to_owned(),
            text: text.to_owned(),
        });
        self
    }

    pub(crate) fn flag(mut self, flag: &str, key: &str, text: &str) -> Self {
        self.flags.push(Flag {
            flag: flag.to_owned(),
            key: key.to_owned(),
            text: text.to_owned(),
        });
        self
    }

    pub(crate) fn secret_file(mut self, path: &str, content: &str) -> Self {
        self.secrets.insert(path.to_owned(), content.to_owned());
        self
    }

    /// The configuration, or the problems as lines.
    pub(crate) fn load(&self) -> Result<LoadedConfig, Vec<String>> {
        let read_file = |path: &Path| {
            let content = self.secrets.get(&path.display().to_string());
            content.cloned().ok_or(io::ErrorKind::NotFound.into())
        };
        let sources = Sources {
            flags: self.flags.clone(),
            environment: self.environment.clone(),
            file: self.file.clone(),
            read_file: &read_file,
        };
        LoadedConfig::from_sources(&sources)
            .map_err(|error| error.problems.iter().map(ToString::to_string).collect())
    }

    #[track_caller]
    pub(crate) fn loaded(&self) -> LoadedConfig {
        self.load()
            .unwrap_or_else(|problems| panic!("{problems:#?}"))
    }

    #[track_caller]
    pub(crate) fn refused(&self) -> Vec<String> {
        self.load().err().expect("the configuration is refused")
    }

    /// Value and place of one setting, as `aip config show` has them.
    #[track_caller]
    pub(crate) fn shown(&self, setting: &str) -> (String, String) {
        let mut lines = self.loaded().display_rows().into_iter();
        let line: Option<DisplayRow> = lines.find(|line| line.setting == setting);
        let line = line.expect("the setting is shown");
        (line.value, line.source.to_string())
    }
}
