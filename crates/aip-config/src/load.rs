//! From sources to a configuration that can be used, or to everything that is wrong with it.

use std::path::PathBuf;

use aip_atproto::{BaseUrl, Origin};
use aip_base::DatabaseUrl;

use crate::checks::{self, CHECKS};
use crate::reader::{Reader, Reading};
use crate::types::JsonWebKeys;
use crate::{Config, ConfigError, LogFormat, Problem, Source, Sources, older_names, warnings};

/// A configuration that can be used.
pub struct LoadedConfig {
    /// The settings.
    pub config: Config,
    /// The address under which the server is reached, given or derived.
    pub external_base: BaseUrl,
    pub(crate) readings: Vec<Reading>,
    /// What deserves a look although the configuration can be used.
    pub warnings: Vec<Problem>,
    pub(crate) older_names: Vec<&'static str>,
    named_files: Vec<PathBuf>,
}

impl LoadedConfig {
    /// Reads and checks every setting.
    pub fn from_sources(sources: &Sources<'_>) -> Result<Self, ConfigError> {
        let mut reader = Reader::new(sources);
        let config = Config::read(&mut reader);
        if let Some(config) = &config {
            check(config, &mut reader);
        }
        let external_base = config.as_ref().and_then(checks::external_base);
        let log_format = config.as_ref().map(|config| config.log.format);
        match (config, external_base) {
            (Some(config), Some(external_base)) if reader.problems.is_empty() => Ok(Self {
                config,
                external_base,
                warnings: warnings::of(&reader),
                older_names: older_names::set(sources).map(|(name, _)| name).collect(),
                named_files: reader.named_files,
                readings: reader.readings,
            }),
            _ => Err(ConfigError {
                problems: reader.problems,
                log_format: log_format.unwrap_or(LogFormat::Pretty),
            }),
        }
    }

    /// Whether every loopback server may be connected to: in development, unless the external base
    /// is public. Then visitors of the Internet name the servers, and only the listed hosts may be.
    pub fn opens_loopback(&self) -> bool {
        self.config.upstream.development && !checks::is_public(&self.external_base)
    }

    /// The origins that destinations of the sign-in of AIP v1 must be at; empty for any.
    pub fn v1_origins(&self) -> Vec<Origin> {
        // They were checked when the configuration was read.
        checks::v1_origins(&self.config).unwrap_or_default()
    }

    /// The database: the given one, or the SQLite file in the data folder.
    pub fn database_url(&self) -> DatabaseUrl {
        let given = self.config.database.url.clone();
        given.unwrap_or_else(|| DatabaseUrl::Sqlite(self.config.server.data_dir.join("aip.db")))
    }

    /// The files outside the data folder that secrets are read from.
    pub fn secret_files(&self) -> Vec<PathBuf> {
        let mut files = self.named_files.clone();
        if let Some(JsonWebKeys::File(path)) = &self.config.keys.json_web_keys {
            files.push(path.clone());
        }
        files.extend(self.config.server.tls_key_file.clone());
        let secrets = self.readings.iter().filter(|it| it.setting.secret);
        files.extend(secrets.filter_map(|reading| match &reading.source {
            Source::File { path, .. } => Some(PathBuf::from(path)),
            _ => None,
        }));
        files.sort();
        files.dedup();
        files
    }
}

/// Judges the settings together. What is already known to be bad is not judged again.
fn check(config: &Config, reader: &mut Reader<'_>) {
    let bad: Vec<String> = reader
        .problems
        .iter()
        .filter_map(|problem| problem.setting.clone())
        .collect();
    let findings = CHECKS.iter().filter_map(|check| check(config));
    for (key, message) in findings.filter(|(key, _)| !bad.iter().any(|bad| bad == key)) {
        let reading = reader
            .readings
            .iter()
            .find(|reading| reading.setting.key() == key);
        reader.problems.push(Problem {
            source: reading.map_or(Source::Default, |reading| reading.source.clone()),
            setting: Some(key.to_owned()),
            message,
        });
    }
}
