//! `aip config show`: every setting, its text and where that stands. Secrets stay hidden.

use aip_base::without_credentials;

use crate::{LoadedConfig, Source};

/// A line of `aip config show`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DisplayRow {
    /// `section.name`, or the name of a variable that has no effect.
    pub setting: String,
    /// The text, or a remark in parentheses.
    pub value: String,
    /// Where it stands.
    pub source: Source,
}

impl LoadedConfig {
    /// All settings in the order of the table, then names of older versions that have no effect.
    /// The user information of URLs is hidden.
    pub fn display_rows(&self) -> Vec<DisplayRow> {
        let settings = self.readings.iter().map(|reading| {
            let value = match &reading.text {
                None if reading.setting.key() == "server.external_base" => {
                    self.external_base.to_string()
                }
                None => "(not set)".to_owned(),
                Some(_) if reading.setting.secret => "(secret, set)".to_owned(),
                Some(text) if text.is_empty() => "(none)".to_owned(),
                Some(text) => without_credentials(text).into_owned(),
            };
            DisplayRow {
                setting: reading.setting.key(),
                value,
                source: reading.source.clone(),
            }
        });
        let idle = self.older_names.iter().map(|name| DisplayRow {
            setting: (*name).to_owned(),
            value: "(no effect)".to_owned(),
            source: Source::Variable((*name).to_owned()),
        });
        settings.chain(idle).collect()
    }
}
