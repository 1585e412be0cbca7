//! From text to [`Node`]s: places made exact, aliases and `<<` expanded, everything bounded.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use saphyr_parser::{Event, Parser, ScalarStyle, Span};

use crate::node::{Content, Node, Pair, Shape};
use crate::scalar::{Quote, Scalar, ScalarKind};
use crate::scan;

/// Why a text is not read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum YamlError {
    /// It is not YAML.
    #[error("{message}")]
    Syntax {
        /// The line, from 1.
        line: usize,
        /// What the parser says.
        message: String,
    },
    /// One mapping has a key twice; which of them counts would be chance.
    #[error("the key `{key}` is already on line {first}: remove one of the two")]
    DuplicateKey {
        /// The line of the second one.
        line: usize,
        /// The line of the first one.
        first: usize,
        /// The key.
        key: String,
    },
    /// A key is a list or a mapping.
    #[error("a key must be a string")]
    KeyNotString {
        /// Counted from 1.
        line: usize,
    },
    /// More nodes, deeper nesting or more text than any real file has; aliases count expanded.
    #[error("the file is larger than expected: more than {limit} {what}")]
    TooLarge {
        /// The line where the limit was reached.
        line: usize,
        /// What there is too much of.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
}

impl YamlError {
    /// The line, from 1.
    pub fn line(&self) -> usize {
        match self {
            Self::Syntax { line, .. }
            | Self::DuplicateKey { line, .. }
            | Self::KeyNotString { line }
            | Self::TooLarge { line, .. } => *line,
        }
    }
}

const MAX_BYTES: usize = 4 * 1024 * 1024;
const MAX_NODES: usize = 50_000;
const MAX_DEPTH: usize = 64;
/// Each costs another reading.
const MAX_TABS: usize = 100;

/// Reads the first document; an empty one is null. Further documents are ignored, as Pulumi does.
pub(crate) fn parse(text: &str) -> Result<Node, YamlError> {
    if text.len() > MAX_BYTES {
        return Err(YamlError::TooLarge {
            line: 1,
            what: "bytes",
            limit: MAX_BYTES,
        });
    }
    // YAML lets a tab stand between a `:` and its value (1.2.2, section 6.2), where the parser wants
    // a space: it is given one in the tab's place, so that every offset stays the same.
    let mut readable = Cow::Borrowed(text);
    for _ in 0..MAX_TABS {
        let mut composer = Composer {
            text,
            events: Parser::new_from_str(&readable),
            offsets: Offsets::new(text),
            anchors: HashMap::new(),
            nodes: 0,
            tab: None,
        };
        let root = composer.document();
        let Some(tab) = composer.tab else {
            return root;
        };
        let spaces = " ".repeat(tab.len());
        readable.to_mut().replace_range(tab, &spaces);
    }
    Err(YamlError::TooLarge {
        line: 1,
        what: "tabs behind colons",
        limit: MAX_TABS,
    })
}

/// The parser counts characters; edits need bytes.
struct Offsets(Option<Vec<usize>>);

impl Offsets {
    fn new(text: &str) -> Self {
        let bytes_of_chars = || {
            text.char_indices()
                .map(|(at, _)| at)
                .chain([text.len()])
                .collect()
        };
        Self((!text.is_ascii()).then(bytes_of_chars))
    }

    fn byte(&self, index: usize, length: usize) -> usize {
        match &self.0 {
            Some(table) => table.get(index).copied().unwrap_or(length),
            None => index.min(length),
        }
    }
}

struct Composer<'t> {
    text: &'t str,
    /// Of a text of the same length.
    events: Parser<'t, saphyr_parser::StrInput<'t>>,
    offsets: Offsets,
    /// An anchored node and how many nodes it holds.
    anchors: HashMap<usize, (Node, usize)>,
    nodes: usize,
    /// The tabs behind a `:` that the parser stopped at.
    tab: Option<Range<usize>>,
}

fn null_at(text: &str, at: usize) -> Node {
    Node {
        content: Content::Scalar(Scalar {
            text: String::new(),
            kind: ScalarKind::Null,
        }),
        line: 1 + text[..at].matches('\n').count(),
        span: at..at,
        shape: Shape::Inline(Quote::None),
        merges: Vec::new(),
    }
}

impl<'t> Composer<'t> {
    fn document(&mut self) -> Result<Node, YamlError> {
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamStart | Event::DocumentStart(_) | Event::Nothing => {}
                Event::StreamEnd | Event::DocumentEnd => {
                    return Ok(null_at(self.text, self.text.len()));
                }
                event => return self.node(event, span, 0, 0),
            }
        }
    }

    /// The tabs before `at`, if they follow a `:`.
    fn tabs_behind_colon(&self, at: usize) -> Option<Range<usize>> {
        let before = self.text.get(..at)?;
        let colon = before.trim_end_matches('\t');
        (colon.len() < at && colon.ends_with(':')).then_some(colon.len()..at)
    }

    fn next(&mut self) -> Result<(Event<'t>, Span), YamlError> {
        match self.events.next_event() {
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => {
                let line = error.marker().line().max(1);
                let at = self.offsets.byte(error.marker().index(), self.text.len());
                self.tab = Some(error.info())
                    .filter(|info| info.starts_with("':' must be followed"))
                    .and_then(|_| self.tabs_behind_colon(at));
                let tab = error.info().contains("tab");
                let message = if tab {
                    "this line is indented with a tab: YAML requires spaces".to_owned()
                } else {
                    error.info().to_owned()
                };
                Err(YamlError::Syntax { line, message })
            }
            None => Err(YamlError::Syntax {
                line: 1,
                message: "unexpected end of the document".to_owned(),
            }),
        }
    }

    /// Composes the node that `event` begins. `after` is where its holder's `:` or `-` ends.
    fn node(
        &mut self,
        event: Event<'t>,
        span: Span,
        after: usize,
        depth: usize,
    ) -> Result<Node, YamlError> {
        let line = span.start.line().max(1);
        self.count(1, line)?;
        if depth > MAX_DEPTH {
            return Err(YamlError::TooLarge {
                line,
                what: "levels",
                limit: MAX_DEPTH,
            });
        }
        let first_counted = self.nodes;
        let (anchor, node) = match event {
            Event::Alias(id) => return self.alias(id, span),
            Event::Scalar(value, style, anchor, tag) => {
                let tag = tag
                    .as_ref()
                    .filter(|tag| tag.is_yaml_core_schema())
                    .map(|tag| tag.suffix.as_str());
                (
                    anchor,
                    self.scalar(value.into_owned(), style, tag, span, after)?,
                )
            }
            Event::SequenceStart(anchor, _) => (anchor, self.list(span, after, depth)?),
            Event::MappingStart(anchor, _) => (anchor, self.map(span, depth)?),
            _ => {
                return Err(YamlError::Syntax {
                    line,
                    message: "a value is missing".to_owned(),
                });
            }
        };
        if anchor != 0 {
            self.anchors
                .insert(anchor, (node.clone(), self.nodes - first_counted + 1));
        }
        Ok(node)
    }

    fn count(&mut self, nodes: usize, line: usize) -> Result<(), YamlError> {
        self.nodes += nodes;
        if self.nodes > MAX_NODES {
            return Err(YamlError::TooLarge {
                line,
                what: "values",
                limit: MAX_NODES,
            });
        }
        Ok(())
    }

    fn alias(&mut self, id: usize, span: Span) -> Result<Node, YamlError> {
        let line = span.start.line().max(1);
        let unknown = || YamlError::Syntax {
            line,
            message: "this alias has no anchor above it".to_owned(),
        };
        let (node, size) = self.anchors.get(&id).ok_or_else(unknown)?;
        let (node, size) = (node.clone(), *size);
        self.count(size, line)?;
        let span = self.range(span);
        Ok(Node {
            line,
            span,
            ..node.moved_elsewhere()
        })
    }

    fn range(&self, span: Span) -> Range<usize> {
        let byte = |index| self.offsets.byte(index, self.text.len());
        let (start, end) = (byte(span.start.index()), byte(span.end.index()));
        start..end.max(start)
    }

    /// The place behind the bracket that closes a collection. The event takes blanks and a comment
    /// along: those behind the bracket, and those before it if there is nothing else.
    fn behind_bracket(&self, span: Span) -> usize {
        let bracket = scan::skip_blank(self.text, self.range(span).start);
        (bracket + 1).min(self.text.len())
    }

    fn scalar(
        &self,
        mut value: String,
        style: ScalarStyle,
        tag: Option<&str>,
        span: Span,
        after: usize,
    ) -> Result<Node, YamlError> {
        let line = span.start.line().max(1);
        let range = self.range(span);
        let quoted = |quote| {
            let open = scan::skip_properties(self.text, range.start);
            let quotes = matches!(self.text.as_bytes().get(open), Some(b'"' | b'\''));
            let end = if quotes {
                scan::quoted_end(self.text, open)
            } else {
                range.end
            };
            (range.start..end, Shape::Inline(quote))
        };
        let (span, shape) = match style {
            ScalarStyle::SingleQuoted => quoted(Quote::Single),
            ScalarStyle::DoubleQuoted => quoted(Quote::Double),
            ScalarStyle::Literal | ScalarStyle::Folded => {
                let header = scan::skip_properties(self.text, after);
                let header_end = scan::line_end(self.text, header);
                let end = scan::trim_back(self.text, header_end, range.end.max(header_end));
                (header..end, Shape::BlockScalar)
            }
            ScalarStyle::Plain
                if value.is_empty() && range.end.saturating_sub(range.start) <= 1 =>
            {
                // The event of an absent value stands anywhere behind the holder's `:` or `-`.
                (after..after, Shape::Inline(Quote::None))
            }
            ScalarStyle::Plain => {
                let end = scan::trim_back(self.text, range.start, range.end);
                (range.start..end, Shape::Inline(Quote::None))
            }
        };
        let kind = match tag {
            Some("str") => ScalarKind::String,
            Some("binary") => {
                let bytes = STANDARD.decode(value.split_whitespace().collect::<String>());
                let bytes = bytes.map_err(|_| YamlError::Syntax {
                    line,
                    message: "the value after !!binary is not base64".to_owned(),
                })?;
                value = String::from_utf8_lossy(&bytes).into_owned();
                ScalarKind::String
            }
            _ if style == ScalarStyle::Plain => ScalarKind::of_plain(&value),
            _ => ScalarKind::String,
        };
        Ok(Node {
            content: Content::Scalar(Scalar { text: value, kind }),
            line,
            span,
            shape,
            merges: Vec::new(),
        })
    }

    fn list(&mut self, span: Span, after: usize, depth: usize) -> Result<Node, YamlError> {
        let line = span.start.line().max(1);
        let range = self.range(span);
        let flow = self.text[range.start..range.end].trim_end().ends_with('[');
        // The event of a list that is not indented below its key stands behind the first dash.
        let start = if flow {
            range.start
        } else {
            scan::skip_properties(self.text, after)
        };
        let column = scan::column(self.text, start);
        let mut dash = start;
        let mut end = start;
        let mut items = Vec::new();
        loop {
            let (event, span) = self.next()?;
            if event == Event::SequenceEnd {
                if flow {
                    end = self.behind_bracket(span);
                }
                break;
            }
            if !flow && !items.is_empty() {
                dash = scan::skip_blank(self.text, end);
            }
            let item_after = if flow {
                self.range(span).start
            } else {
                (dash + 1).min(self.text.len())
            };
            let item = self.node(event, span, item_after, depth + 1)?;
            end = item.span.end.max(if flow { 0 } else { item_after });
            items.push(item);
        }
        let shape = if flow {
            Shape::Flow
        } else {
            Shape::Block { column }
        };
        Ok(Node {
            content: Content::List(items),
            line,
            span: start..end,
            shape,
            merges: Vec::new(),
        })
    }

    fn map(&mut self, span: Span, depth: usize) -> Result<Node, YamlError> {
        let line = span.start.line().max(1);
        let range = self.range(span);
        // The event takes blanks along if there is nothing else between the braces.
        let flow = self.text[range.start..range.end].trim_end().ends_with('{');
        let mut pairs: Vec<Pair> = Vec::new();
        let mut merged: Vec<Pair> = Vec::new();
        let mut written = Vec::new();
        let mut lines: HashMap<String, usize> = HashMap::new();
        let (mut start, mut end) = (range.start, range.end);
        loop {
            let (event, span) = self.next()?;
            if event == Event::MappingEnd {
                if flow {
                    end = self.behind_bracket(span);
                }
                break;
            }
            let key_line = span.start.line().max(1);
            let key_start = self.range(span).start;
            let plain = matches!(event, Event::Scalar(_, ScalarStyle::Plain, _, _));
            let key = self.node(event, span, key_start, depth + 1)?;
            let Content::Scalar(Scalar { text: name, .. }) = &key.content else {
                return Err(YamlError::KeyNotString { line: key_line });
            };
            let name = name.clone();
            let colon = scan::skip_blank(self.text, key.span.end);
            let has_colon = self.text.as_bytes().get(colon) == Some(&b':');
            let after = if has_colon { colon + 1 } else { key.span.end };
            let (event, span) = self.next()?;
            let value = self.node(event, span, after, depth + 1)?;
            if pairs.is_empty() && !flow {
                start = key.span.start;
            }
            end = end.max(value.span.end).max(after);
            if plain && name == "<<" {
                merged.extend(merged_pairs(&value));
                written.push(key.span.start..value.span.end.max(after));
            } else if let Some(&first) = lines.get(&name) {
                return Err(YamlError::DuplicateKey {
                    line: key_line,
                    first,
                    key: name,
                });
            } else {
                lines.insert(name, key_line);
                pairs.push(Pair { key, value, after });
            }
        }
        for pair in merged {
            self.count(1, line)?;
            if !pairs.iter().any(|own| own.name() == pair.name()) {
                pairs.push(pair);
            }
        }
        let shape = if flow {
            Shape::Flow
        } else {
            Shape::Block {
                column: scan::column(self.text, start),
            }
        };
        Ok(Node {
            content: Content::Map(pairs),
            line,
            span: start..end,
            shape,
            merges: written,
        })
    }
}

/// What `<<: *a` or `<<: [*a, *b]` brings in; of two equal keys the first counts.
fn merged_pairs(value: &Node) -> Vec<Pair> {
    let sources = match &value.content {
        Content::List(items) => items.iter().collect(),
        _ => vec![value],
    };
    sources
        .into_iter()
        .flat_map(|source| source.pairs().unwrap_or_default())
        .map(|pair| Pair {
            value: pair.value.clone().moved_elsewhere(),
            ..pair.clone()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slice<'t>(text: &'t str, node: &Node) -> &'t str {
        &text[node.span.clone()]
    }

    #[test]
    fn every_node_knows_its_place() {
        let text = "# é\nconfig:\n  a: \"q: é\" # c\n  l:\n  - 1\n  -\n  - - n\n    - &x m # no\n  f: {a: [1, 2,], b: }\n  blk: | # c\n    one\n      two\n\n  # t\n  nul:\n  al: *x\n  two: words\n    more\n";
        let root = parse(text).unwrap();
        let config = root.get("config").unwrap();
        let places = [
            ("a", "\"q: é\"", 3),
            ("l", "- 1\n  -\n  - - n\n    - &x m", 5),
            ("f", "{a: [1, 2,], b: }", 9),
            ("blk", "| # c\n    one\n      two", 11),
            ("nul", "", 15),
            ("al", "*x", 16),
            ("two", "words\n    more", 17),
        ];
        for (key, written, line) in places {
            let node = config.get(key).unwrap();
            assert_eq!(slice(text, node), written);
            assert_eq!(node.line, line, "{key}");
        }
        assert!(config.get("nul").unwrap().is_null());
        assert_eq!(config.get("al").unwrap().scalar().unwrap().text, "m");
    }

    #[test]
    fn a_merge_brings_in_the_keys_that_the_map_does_not_have() {
        let root = parse("base: &b\n  x: 1\n  y: 2\nuse:\n  <<: *b\n  y: 3\n").unwrap();
        let merged = root.get("use").unwrap();
        assert_eq!(merged.get("x").unwrap().scalar().unwrap().text, "1");
        assert_eq!(merged.get("y").unwrap().scalar().unwrap().text, "3");
        assert!(merged.get("<<").is_none());
    }

    #[test]
    fn bad_files_are_refused_with_their_line() {
        let bomb = "a: &a [x,x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: [*d,*d,*d,*d,*d,*d,*d,*d,*d,*d]\n";
        let table = [
            ("a: 1\nb: 2\na: 3\n", 3, "already on line 1"),
            ("a:\n\tb: 1\n", 2, "a tab"),
            ("a: *nowhere\n", 1, "anchor"),
            ("? [a]\n: 1\n", 1, "a key must be a string"),
            (bomb, 5, "more than 50000 values"),
        ];
        for (text, line, message) in table {
            let error = parse(text).unwrap_err();
            assert_eq!(error.line(), line, "{error}");
            assert!(error.to_string().contains(message), "{error}");
        }
        let deep = "[".repeat(200);
        assert!(parse(&deep).is_err());
    }

    #[test]
    fn empty_text_and_comments_alone_are_null_and_later_documents_are_ignored() {
        assert!(parse("").unwrap().is_null());
        assert!(parse("# only\n").unwrap().is_null());
        assert!(parse("a: 1\n---\nb: 2\n").unwrap().get("b").is_none());
    }
}
