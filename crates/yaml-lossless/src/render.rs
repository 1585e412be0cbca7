//! From a [`Tree`] to text, in the look of the files Pulumi writes: two spaces, quotes only where
//! they are needed, long text in block style.

use std::fmt::Write as _;

use crate::scalar::{Quote, ScalarKind};
use crate::tree::Tree;

impl Tree {
    /// The value as a document of its own.
    pub fn to_yaml(&self) -> String {
        let mut text = document(self);
        text.push('\n');
        text
    }
}

/// How a value stands behind its `key:` or `-`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Block {
    /// What follows on the same line; empty when everything is below.
    pub(crate) inline: String,
    /// The lines below, indented, each beginning with a line break.
    pub(crate) below: String,
}

/// Spaces per level.
const INDENT_SPACES: usize = 2;

/// Renders `value` as a whole document.
pub(crate) fn document(value: &Tree) -> String {
    // Rendered as if below a holder one step to the left.
    let Block { inline, below } = block(value, 0, Quote::None);
    let below = below.replace("\n  ", "\n");
    format!("{inline}{}", below.trim_start())
}

/// Renders `value` for a holder whose key or dash stands at `column`.
pub(crate) fn block(value: &Tree, column: usize, quote: Quote) -> Block {
    let inline = |inline: String| Block {
        inline,
        below: String::new(),
    };
    match value {
        Tree::Plain(text) => inline(text.clone()),
        Tree::String(text) if quote == Quote::None && fits_literal(text) => literal(text, column),
        Tree::String(text) => inline(scalar(text, quote, false)),
        Tree::Map(map) if map.is_empty() => inline("{}".to_owned()),
        Tree::List(items) if items.is_empty() => inline("[]".to_owned()),
        Tree::Map(map) => {
            let mut below = String::new();
            for (key, value) in map {
                push_line(
                    &mut below,
                    column + INDENT_SPACES,
                    &pair(key, value, column + INDENT_SPACES),
                );
            }
            Block {
                inline: String::new(),
                below,
            }
        }
        Tree::List(items) => {
            let mut below = String::new();
            for value in items {
                push_line(
                    &mut below,
                    column + INDENT_SPACES,
                    &item(value, column + INDENT_SPACES),
                );
            }
            Block {
                inline: String::new(),
                below,
            }
        }
    }
}

/// `key: value` with everything below it, for a key at `column`.
pub(crate) fn pair(key: &str, value: &Tree, column: usize) -> String {
    let Block { inline, below } = block(value, column, Quote::None);
    let gap = if inline.is_empty() { "" } else { " " };
    format!("{}:{gap}{inline}{below}", scalar(key, Quote::None, false))
}

/// `- value` with everything below it, for a dash at `column`.
pub(crate) fn item(value: &Tree, column: usize) -> String {
    let Block { inline, below } = block(value, column, Quote::None);
    if inline.is_empty() {
        // The first entry of a nested map or list stands on the line of the dash.
        format!("- {}", below.trim_start())
    } else {
        format!("- {inline}{below}")
    }
}

/// Renders `value` between brackets.
pub(crate) fn flow(value: &Tree, json: bool) -> String {
    let quote = if json { Quote::Double } else { Quote::None };
    match value {
        Tree::Plain(text) => text.clone(),
        Tree::String(text) => scalar(text, quote, true),
        Tree::List(items) => {
            let items: Vec<_> = items.iter().map(|item| flow(item, json)).collect();
            format!("[{}]", items.join(", "))
        }
        Tree::Map(map) => {
            let pairs: Vec<_> = map
                .iter()
                .map(|(key, value)| flow_pair(key, value, json))
                .collect();
            format!("{{{}}}", pairs.join(", "))
        }
    }
}

/// `key: value` between braces.
pub(crate) fn flow_pair(key: &str, value: &Tree, json: bool) -> String {
    let quote = if json { Quote::Double } else { Quote::None };
    format!("{}: {}", scalar(key, quote, true), flow(value, json))
}

/// Text on one line, in the quotes of the value it replaces where they will do.
pub(crate) fn scalar(text: &str, quote: Quote, in_flow: bool) -> String {
    let kind = ScalarKind::of_plain(text);
    if quote == Quote::None && kind == ScalarKind::String && fits_plain(text, in_flow) {
        return text.to_owned();
    }
    let single = quote == Quote::Single
        || (quote == Quote::None && kind == ScalarKind::String && !old_bool(text));
    if single && !text.chars().any(needs_escape) {
        format!("'{}'", text.replace('\'', "''"))
    } else {
        double_quoted(text)
    }
}

fn push_line(out: &mut String, column: usize, line: &str) {
    let _ = write!(out, "\n{:column$}{line}", "");
}

/// Words that readers of YAML 1.1 take for true or false.
fn old_bool(text: &str) -> bool {
    matches!(
        text.to_ascii_lowercase().as_str(),
        "y" | "n" | "yes" | "no" | "on" | "off"
    )
}

fn fits_plain(text: &str, in_flow: bool) -> bool {
    let mut chars = text.chars();
    let Some(first) = chars.next() else {
        return false;
    };
    let second = chars.next();
    let first_fits = match first {
        '-' | '?' | ':' => {
            second.is_some_and(|c| !c.is_whitespace()) && !text.starts_with("---") && !in_flow
        }
        '.' => !text.starts_with("..."),
        _ => !",[]{}#&*!|>'\"%@`=<".contains(first),
    };
    first_fits
        && !text.starts_with(char::is_whitespace)
        && !text.ends_with(char::is_whitespace)
        && !text.ends_with(':')
        && !text.contains(": ")
        && !text.contains(" #")
        && !text.chars().any(needs_escape)
        && !(in_flow && text.contains([',', '[', ']', '{', '}', ':']))
        && !old_bool(text)
}

/// Text of several lines that a literal block gives back unchanged.
fn fits_literal(text: &str) -> bool {
    text.contains('\n')
        && !text.starts_with(char::is_whitespace)
        && !text.ends_with("\n\n")
        && !text.chars().any(|c| c != '\n' && needs_escape(c))
        && text
            .split('\n')
            .all(|line| line.is_empty() || !line.trim().is_empty())
}

fn literal(text: &str, column: usize) -> Block {
    let (header, lines) = match text.strip_suffix('\n') {
        Some(lines) => ("|", lines),
        None => ("|-", text),
    };
    let mut below = String::new();
    for line in lines.split('\n') {
        let column = if line.is_empty() {
            0
        } else {
            column + INDENT_SPACES
        };
        push_line(&mut below, column, line);
    }
    Block {
        inline: header.to_owned(),
        below,
    }
}

/// Characters that only double quotes can carry, or that editors do not show.
fn needs_escape(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{85}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}'
        )
}

fn double_quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            // All of them are in the basic plane.
            c if needs_escape(c) => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_quoted_only_where_it_would_be_read_as_something_else() {
        let table = [
            ("v0.1.2", "v0.1.2"),
            ("postgres://u:p@h/db", "postgres://u:p@h/db"),
            ("v1:abc+/=:x==", "v1:abc+/=:x=="),
            ("true", "\"true\""),
            ("1.10", "\"1.10\""),
            ("", "\"\""),
            ("yes", "\"yes\""),
            ("a: b", "'a: b'"),
            ("it's #1", "'it''s #1'"),
            ("x #1", "'x #1'"),
            ("[\"a\"]", "'[\"a\"]'"),
            ("a\tb", "\"a\\tb\""),
        ];
        for (text, written) in table {
            assert_eq!(scalar(text, Quote::None, false), written);
        }
        assert_eq!(scalar("v2", Quote::Double, false), "\"v2\"");
        assert_eq!(scalar("v2", Quote::Single, false), "'v2'");
        assert_eq!(scalar("a,b", Quote::None, true), "'a,b'");
    }
}
