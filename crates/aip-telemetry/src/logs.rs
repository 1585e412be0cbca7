//! The log: one line per event, on standard error.

use std::io;

use tracing::subscriber::Subscriber;
use tracing::{Level, Metadata};
use tracing_subscriber::Registry;
use tracing_subscriber::filter::{LevelFilter, ParseError, Targets, filter_fn};
use tracing_subscriber::fmt::{self, MakeWriter};
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::reload::{self, Handle};
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};

use crate::sentry::ErrorLayer;
use crate::span_fields::{JsonSpanFields, PlainSpanFields};
use crate::spans::SpanLayer;

/// What is logged, and how.
#[derive(Debug, Clone)]
pub struct LogConfig {
    /// The form of a line.
    pub format: LogFormat,
    /// `LEVEL`, or `TARGET=LEVEL` several times with commas.
    pub filter: String,
    /// Whether [`LogFormat::Pretty`] has colours.
    pub colours: bool,
}

/// The form of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// A JSON object.
    Json,
    /// Words for people.
    Pretty,
}

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter cannot be read.
    #[error("the log filter is not usable: {0}")]
    Filter(#[from] ParseError),
    /// Somebody else logs in this process already.
    #[error("the log is set up already")]
    AlreadyInitialized(#[from] TryInitError),
    /// The log has ended.
    #[error("the filter of the log was not changed: {0}")]
    Closed(#[from] reload::Error),
}

/// Changes the log while it runs.
#[derive(Debug, Clone)]
pub struct LogHandle(Handle<Targets, Registry>);

impl LogHandle {
    /// From now on, what `filter` says is logged. A filter that cannot be read changes nothing.
    pub fn set_filter(&self, filter: &str) -> Result<(), LogError> {
        Ok(self.0.reload(parse(filter)?)?)
    }
}

/// Starts the log of the process; what is logged and the spans around it also go to the
/// exporters.
pub(crate) fn init(
    config: &LogConfig,
    spans: Option<SpanLayer>,
    errors: Option<ErrorLayer>,
) -> Result<LogHandle, LogError> {
    let (subscriber, handle) = subscriber(config, io::stderr)?;
    subscriber.with(spans).with(errors).try_init()?;
    Ok(handle)
}

fn subscriber<W>(
    config: &LogConfig,
    writer: W,
) -> Result<
    (
        impl Subscriber + for<'a> LookupSpan<'a> + Send + Sync + use<W>,
        LogHandle,
    ),
    ParseError,
>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let (filter, handle) = reload::Layer::new(parse(&config.filter)?);
    let lines = fmt::layer().with_writer(writer).with_ansi(config.colours);
    let lines = match config.format {
        // The spans around an event say which request it belongs to.
        LogFormat::Json => lines
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .fmt_fields(JsonSpanFields)
            .boxed(),
        LogFormat::Pretty if config.colours => lines.boxed(),
        LogFormat::Pretty => lines.fmt_fields(PlainSpanFields).boxed(),
    };
    // For all layers, not for `lines` alone: when a library only asks whether something would be
    // logged, as sqlx does at each statement, and hears no, then a filter of one layer remembers
    // that and swallows the next line of the thread.
    let subscriber = Registry::default()
        .with(filter)
        .with(filter_fn(is_loggable))
        .with(lines);
    Ok((subscriber, LogHandle(handle)))
}

/// Targets and levels alone, and nothing about spans: `EnvFilter` of tracing-subscriber 0.3.23 takes two
/// locks whenever a span is entered or left, and brings a library for regular expressions with it.
fn parse(filter: &str) -> Result<Targets, ParseError> {
    let directives = filter.split(',').map(str::trim);
    let directives: Vec<_> = directives.filter(|it| !it.is_empty()).collect();
    if directives.is_empty() {
        return Ok(Targets::new().with_default(LevelFilter::ERROR));
    }
    directives.join(",").parse()
}

/// At their lowest level, libraries log what goes over the wire: tokens, and bodies with
/// passwords. Whatever the filter says, that is not for the log.
fn is_loggable(metadata: &Metadata<'_>) -> bool {
    let target = metadata.target();
    let ours = target == "aip" || target.starts_with("aip_") || target.starts_with("aip::");
    ours || *metadata.level() < Level::TRACE
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing::callsite::{Callsite, Identifier};
    use tracing::field::FieldSet;
    use tracing::metadata::Kind;
    use tracing::subscriber::Interest;

    use super::*;

    #[derive(Clone, Default)]
    struct LogBuffer(Arc<Mutex<Vec<u8>>>);

    impl io::Write for LogBuffer {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn written(format: LogFormat, filter: &str, log: impl FnOnce()) -> String {
        written_with(format, filter, |_| log())
    }

    fn written_with(format: LogFormat, filter: &str, log: impl FnOnce(&LogHandle)) -> String {
        let out = LogBuffer::default();
        let writer = out.clone();
        let config = LogConfig {
            format,
            filter: filter.to_owned(),
            colours: false,
        };
        let (subscriber, handle) = subscriber(&config, move || writer.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, || log(&handle));
        let bytes = out.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_json_line_is_an_object_with_the_fields_of_the_event() {
        let line = written(LogFormat::Json, "info", || {
            tracing::info!(listener = "public", "listening");
            tracing::debug!("not asked for");
        });
        let object: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(object["level"], "INFO");
        assert_eq!(object["message"], "listening");
        assert_eq!(object["listener"], "public");
        assert!(object["timestamp"].is_string());
    }

    #[test]
    fn what_is_recorded_later_is_a_field_of_the_span() {
        use tracing::field::Empty;
        let line = written(LogFormat::Json, "info", || {
            let none = tracing::info_span!("none", status = Empty);
            let some = tracing::info_span!(parent: &none, "some", method = "GET", status = Empty, error = Empty);
            none.record("status", 1);
            some.record("status", 404);
            some.record("error", "a \"quoted\" word");
            let _inside = some.entered();
            tracing::info!("look");
        });
        let object: serde_json::Value = serde_json::from_str(&line).unwrap();
        let expected = serde_json::json!([
            { "name": "none", "status": 1 },
            { "name": "some", "method": "GET", "status": 404, "error": "a \"quoted\" word" },
        ]);
        assert_eq!(object["spans"], expected);
    }

    #[test]
    fn a_pretty_line_has_the_fields_of_its_spans() {
        use tracing::field::Empty;
        let line = written(LogFormat::Pretty, "info", || {
            let span = tracing::info_span!(
                "some",
                method = "GET",
                count = 3,
                status = Empty,
                error = Empty
            );
            span.record("status", 404);
            span.record("error", "a \"quoted\" word");
            let _inside = span.entered();
            tracing::info!("look");
        });
        let fields = r#"some{method="GET" count=3 status=404 error="a \"quoted\" word"}: "#;
        assert!(line.contains(fields), "{line}");
    }

    #[test]
    fn values_of_every_kind_are_json() {
        let line = written(LogFormat::Json, "info", || {
            let span = tracing::info_span!(
                "some",
                r#type = "x",
                tab = "a\tb",
                word = "Grüße",
                ratio = 0.5,
                nan = f64::NAN,
                yes = true,
                below = -1,
                list = ?["a", "}"],
            );
            span.in_scope(|| tracing::info!("look"));
        });
        let object: serde_json::Value = serde_json::from_str(&line).unwrap();
        let expected = serde_json::json!([{
            "name": "some", "type": "x", "tab": "a\tb", "word": "Grüße", "ratio": 0.5, "nan": null,
            "yes": true, "below": -1, "list": "[\"a\", \"}\"]",
        }]);
        assert_eq!(object["spans"], expected);
    }

    #[test]
    fn a_filter_is_levels_by_target() {
        for (filter, expected) in [
            ("INFO", "ours theirs"),
            ("off", ""),
            ("", ""),
            ("warn, aip_x=DEBUG", "fine ours"),
            ("info,aip_x=off,", "theirs"),
        ] {
            let lines = written(LogFormat::Pretty, filter, || {
                tracing::debug!(target: "aip_x::y", "fine");
                tracing::info!(target: "aip_x::y", "ours");
                tracing::info!(target: "other", "theirs");
            });
            let words = ["fine", "ours", "theirs"];
            let found: Vec<_> = words.into_iter().filter(|it| lines.contains(it)).collect();
            assert_eq!(found.join(" "), expected, "{filter}: {lines}");
        }
    }

    #[test]
    fn a_pretty_line_has_no_colour_codes_unless_asked_for() {
        let line = written(LogFormat::Pretty, "info", || tracing::warn!("look"));
        assert!(line.contains("WARN") && line.contains("look"), "{line}");
        assert!(!line.contains('\u{1b}'), "{line:?}");
    }

    #[test]
    fn libraries_never_log_at_trace_level() {
        let lines = written(LogFormat::Pretty, "trace", || {
            tracing::trace!(target: "hyper::proto", "GET / authorization: Bearer x");
            tracing::debug!(target: "hyper::proto", "connection closed");
            tracing::trace!(target: "aip_sessions::keeper", "due");
        });
        assert!(!lines.contains("authorization"), "{lines}");
        assert!(lines.contains("connection closed") && lines.contains("due"));
    }

    /// Whether something would be logged, asked past the caches, as the `log` crate does.
    struct Question;

    static QUESTION: Metadata<'static> = Metadata::new(
        "question",
        "sqlx::query",
        Level::DEBUG,
        None,
        None,
        None,
        FieldSet::new(&[], Identifier(&Question)),
        Kind::EVENT,
    );

    impl Callsite for Question {
        fn set_interest(&self, _: Interest) {}

        fn metadata(&self) -> &Metadata<'_> {
            &QUESTION
        }
    }

    #[test]
    fn asking_whether_a_line_would_be_logged_swallows_no_other() {
        let lines = written(LogFormat::Pretty, "info", || {
            assert!(!tracing::dispatcher::get_default(
                |log| log.enabled(&QUESTION)
            ));
            tracing::error!("look");
        });
        assert!(lines.contains("look"), "{lines:?}");
    }

    #[test]
    fn the_filter_is_changed_while_the_log_runs() {
        let lines = written_with(LogFormat::Pretty, "info", |log| {
            tracing::debug!("one");
            log.set_filter("debug").unwrap();
            tracing::debug!("two");
            assert!(log.set_filter("aip=loud").is_err());
            tracing::debug!("three");
            log.set_filter("warn").unwrap();
            tracing::info!("four");
        });
        assert!(lines.contains("two") && lines.contains("three"), "{lines}");
        assert!(!lines.contains("one") && !lines.contains("four"), "{lines}");
    }

    #[test]
    fn a_filter_that_cannot_be_read_is_refused() {
        let config = LogConfig {
            format: LogFormat::Json,
            filter: "aip=loud".to_owned(),
            colours: false,
        };
        assert!(subscriber(&config, io::sink).is_err());
    }
}
