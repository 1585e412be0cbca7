//! The fields of spans in the log. They are written when a span begins and when one of them is recorded,
//! whether or not a line follows, and every request has two spans: so they are written as they come.
//! `JsonFields` and `DefaultFields` of tracing-subscriber 0.3.23 sort them in a map first, parse what is
//! there for each that is recorded later, and style each of them.
//!
//! A field is recorded once; one that is recorded twice would be written twice.

use std::fmt::{self, Debug};

use tracing::field::{Field, Visit};
use tracing::span::Record;
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FormatFields, FormattedFields};

/// One JSON object, which the formatter of JSON lines reads back.
#[derive(Debug)]
pub(crate) struct JsonSpanFields;

/// `name=value name=value`, without colours.
#[derive(Debug)]
pub(crate) struct PlainSpanFields;

impl<'writer> FormatFields<'writer> for JsonSpanFields {
    fn format_fields<R: RecordFields>(
        &self,
        mut writer: Writer<'writer>,
        fields: R,
    ) -> fmt::Result {
        writer.write_char('{')?;
        let mut members = JsonMembers {
            writer: &mut writer,
            is_first: true,
            outcome: Ok(()),
        };
        fields.record(&mut members);
        members.outcome?;
        writer.write_char('}')
    }

    fn add_fields(
        &self,
        current: &'writer mut FormattedFields<Self>,
        fields: &Record<'_>,
    ) -> fmt::Result {
        let known = &mut current.fields;
        known.truncate(known.strip_suffix('}').map_or(0, str::len));
        if known.is_empty() {
            known.push('{');
        }
        let mut members = JsonMembers {
            is_first: known.len() == 1,
            writer: &mut *known,
            outcome: Ok(()),
        };
        fields.record(&mut members);
        members.outcome?;
        known.push('}');
        Ok(())
    }
}

impl<'writer> FormatFields<'writer> for PlainSpanFields {
    fn format_fields<R: RecordFields>(
        &self,
        mut writer: Writer<'writer>,
        fields: R,
    ) -> fmt::Result {
        let mut pairs = PlainPairs {
            writer: &mut writer,
            is_first: true,
            outcome: Ok(()),
        };
        fields.record(&mut pairs);
        pairs.outcome
    }

    fn add_fields(
        &self,
        current: &'writer mut FormattedFields<Self>,
        fields: &Record<'_>,
    ) -> fmt::Result {
        let known = &mut current.fields;
        let mut pairs = PlainPairs {
            is_first: known.is_empty(),
            writer: &mut *known,
            outcome: Ok(()),
        };
        fields.record(&mut pairs);
        pairs.outcome
    }
}

/// Writes the members of an object.
struct JsonMembers<'a, W> {
    writer: &'a mut W,
    is_first: bool,
    outcome: fmt::Result,
}

impl<W: fmt::Write> JsonMembers<'_, W> {
    fn member(&mut self, field: &Field, value: impl fmt::Display) {
        if self.outcome.is_ok() {
            let comma = if self.is_first { "" } else { "," };
            self.is_first = false;
            // Names of fields are identifiers: nothing in them is to be escaped.
            self.outcome = write!(self.writer, "{comma}\"{}\":{value}", name(field));
        }
    }

    fn text(&mut self, field: &Field, text: &str) {
        if text.bytes().all(is_plain) {
            self.member(field, format_args!("\"{text}\""));
        } else {
            self.member(field, serde_json::Value::from(text));
        }
    }
}

impl<W: fmt::Write> Visit for JsonMembers<'_, W> {
    fn record_f64(&mut self, field: &Field, value: f64) {
        // What is no number is `null`.
        self.member(field, serde_json::Value::from(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.member(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.member(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.member(field, value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.text(field, &format!("{value:?}"));
    }
}

/// Writes pairs.
struct PlainPairs<'a, W> {
    writer: &'a mut W,
    is_first: bool,
    outcome: fmt::Result,
}

impl<W: fmt::Write> PlainPairs<'_, W> {
    fn pair(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        if self.outcome.is_ok() {
            let space = if self.is_first { "" } else { " " };
            self.is_first = false;
            self.outcome = write!(self.writer, "{space}{}={value}", name(field));
        }
    }
}

impl<W: fmt::Write> Visit for PlainPairs<'_, W> {
    fn record_str(&mut self, field: &Field, value: &str) {
        if value.bytes().all(is_plain) {
            self.pair(field, format_args!("\"{value}\""));
        } else {
            self.pair(field, format_args!("{value:?}"));
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.pair(field, format_args!("{value:?}"));
    }
}

/// The name, which is an identifier of Rust and may be a raw one.
fn name(field: &Field) -> &'static str {
    let name = field.name();
    name.strip_prefix("r#").unwrap_or(name)
}

/// Whether a byte stands for itself in a string, of JSON and of Rust.
fn is_plain(byte: u8) -> bool {
    matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\'
}
