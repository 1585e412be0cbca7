//! What deserves a look although the configuration can be used: what is set and does nothing.

use crate::reader::Reader;
use crate::{Problem, Source, older_names};

/// Settings that have an effect only beside another one.
const NEEDS: &[(&str, &str)] = &[
    ("compat.v1_client", "compat.v1"),
    ("compat.v1_default_destination", "compat.v1"),
    ("compat.v1_destination", "compat.v1"),
    ("compat.v1_origins", "compat.v1"),
    ("redis.ca_file", "redis.url"),
    ("telemetry.statsd_port", "telemetry.statsd_host"),
    ("telemetry.statsd_prefix", "telemetry.statsd_host"),
    ("telemetry.otlp_headers", "telemetry.otlp_traces_url"),
    ("telemetry.trace_one_in", "telemetry.otlp_traces_url"),
    ("telemetry.environment", "telemetry.sentry_dsn"),
];

/// All of it.
pub(crate) fn of(reader: &Reader<'_>) -> Vec<Problem> {
    let older = older_names::set(reader.sources()).map(|(name, instead)| Problem {
        source: Source::Variable(name.to_owned()),
        setting: None,
        message: format!("a name of an older version that has no effect: {instead}"),
    });
    let reading = |key: &str| reader.readings.iter().find(|it| it.setting.key() == key);
    let idle = NEEDS.iter().filter_map(|(key, needed)| {
        let set = reading(key).filter(|it| it.source != Source::Default)?;
        let missing = reading(needed)
            .is_some_and(|it| matches!(it.text.as_deref(), None | Some("false" | "0")));
        missing.then(|| Problem {
            source: set.source.clone(),
            setting: Some((*key).to_owned()),
            message: format!("has no effect without {needed}"),
        })
    });
    older.chain(idle).collect()
}
