//! Edits in place: the shortest splice that makes the change, then a second reading to prove that
//! the file now says exactly what was asked for, and nothing else.

use std::ops::Range;

use crate::node::{Content, Node, Pair, Shape};
use crate::parse::{YamlError, parse};
use crate::scalar::Quote;
use crate::tree::{Change, Segment, Tree, TreeError};
use crate::{render, scan};

/// Why an edit is not made. The text is unchanged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// The path does not fit what is there.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// The value is shared by an anchor (`&`), an alias (`*`) or a merge (`<<`).
    #[error("this value is shared through an anchor or alias: expand it by hand first")]
    Shared {
        /// The line of the value.
        line: usize,
    },
    /// The place is written in a way that this editor does not change safely.
    #[error("this place is written in a way that cannot be changed safely: edit the line by hand")]
    Unsafe {
        /// The line of the value.
        line: usize,
    },
    /// The text itself is not YAML.
    #[error(transparent)]
    Yaml(#[from] YamlError),
}

/// Makes `change` at `path` and returns the new text and its root.
pub(crate) fn edit(
    text: &str,
    root: &Node,
    path: &[Segment],
    change: &Change,
    json: bool,
) -> Result<(String, Node), EditError> {
    let before = root.to_tree();
    let expected = before
        .clone()
        .changed(path, change)?
        .unwrap_or_else(Tree::null);
    if expected == before && *change == Change::Remove {
        return Ok((text.to_owned(), root.clone()));
    }
    let newline = if text.contains("\r\n") { "\r\n" } else { "\n" };
    let mut editor = Editor {
        text,
        json,
        newline,
        splices: Vec::new(),
    };
    let line = editor.plan(root, path, change)?;
    let edited = editor.apply();
    match parse(&edited) {
        Ok(root) if root.to_tree() == expected => Ok((edited, root)),
        _ => Err(EditError::Unsafe { line }),
    }
}

struct Editor<'t> {
    text: &'t str,
    json: bool,
    newline: &'static str,
    splices: Vec<(Range<usize>, String)>,
}

/// What a value hangs on.
#[derive(Clone, Copy)]
struct ParentEntry {
    /// Where the text behind its `:` or `-` begins.
    after: usize,
    /// The column of the key or dash.
    column: usize,
    /// Whether it stands between brackets.
    flow: bool,
    /// Whether it is a dash.
    dash: bool,
}

impl Editor<'_> {
    /// Collects the splices and returns the line where the change is made.
    fn plan(&mut self, root: &Node, path: &[Segment], change: &Change) -> Result<usize, EditError> {
        let mut holder: Option<ParentEntry> = None;
        let mut node = root;
        for (depth, segment) in path.iter().enumerate() {
            let rest = &path[depth + 1..];
            if node.is_elsewhere() {
                return Err(EditError::Shared { line: node.line });
            }
            let missing = || {
                Ok::<_, TreeError>(
                    Tree::null()
                        .changed(rest, change)?
                        .unwrap_or_else(Tree::null),
                )
            };
            let last = rest.is_empty();
            match (segment, &node.content) {
                (Segment::Key(name), Content::Map(pairs)) => {
                    let found = pairs.iter().position(|pair| pair.name() == name);
                    // A merged pair is written in another map.
                    let merged = |at: usize| !node.span.contains(&pairs[at].key.span.start);
                    match found {
                        Some(at) if merged(at) && (!last || *change == Change::Remove) => {
                            return Err(EditError::Shared { line: node.line });
                        }
                        Some(at) if !merged(at) => {
                            let pair = &pairs[at];
                            if last && *change == Change::Remove {
                                self.remove_pair(node, pairs, at, holder);
                                return Ok(pair.key.line);
                            }
                            let flow = node.shape == Shape::Flow;
                            let column = scan::column(self.text, pair.key.span.start);
                            holder = Some(ParentEntry {
                                after: pair.after,
                                column,
                                flow,
                                dash: false,
                            });
                            node = &pair.value;
                        }
                        _ => {
                            let value = missing()?;
                            self.append_pair(node, pairs, name, &value, holder);
                            return Ok(node.line);
                        }
                    }
                }
                (Segment::Index(index), Content::List(items)) => {
                    let Some(item) = items.get(*index) else {
                        let value = missing()?;
                        self.append_item(node, items, &value, holder);
                        return Ok(node.line);
                    };
                    if last && *change == Change::Remove {
                        self.remove_item(node, items, *index, holder);
                        return Ok(item.line);
                    }
                    let flow = node.shape == Shape::Flow;
                    let dash = if flow {
                        item.span.start
                    } else {
                        self.dash(node, items, *index)
                    };
                    let after = if flow { dash } else { dash + 1 };
                    holder = Some(ParentEntry {
                        after,
                        column: scan::column(self.text, dash),
                        flow,
                        dash: !flow,
                    });
                    node = item;
                }
                // Nothing is there yet (or a value that gives way): everything below is new.
                _ => {
                    let created = Tree::null().changed(&path[depth..], change)?;
                    self.replace(node, &created.unwrap_or_else(Tree::null), holder);
                    return Ok(node.line);
                }
            }
        }
        if let Change::Set(value) = change {
            self.replace(node, value, holder);
        }
        Ok(node.line)
    }

    fn apply(mut self) -> String {
        self.splices
            .sort_by_key(|(range, _)| (range.start, range.end));
        let mut out = String::with_capacity(self.text.len() + 256);
        let mut at = 0;
        for (range, replacement) in &self.splices {
            if range.start < at {
                continue;
            }
            out.push_str(&self.text[at..range.start]);
            if self.newline == "\n" {
                out.push_str(replacement);
            } else {
                out.push_str(&replacement.replace('\n', self.newline));
            }
            at = range.end;
        }
        out.push_str(&self.text[at..]);
        out
    }

    fn splice(&mut self, range: Range<usize>, text: impl Into<String>) {
        self.splices.push((range, text.into()));
    }

    fn dash(&self, list: &Node, items: &[Node], index: usize) -> usize {
        let from = match index.checked_sub(1).and_then(|before| items.get(before)) {
            Some(before) => scan::skip_blank(self.text, before.span.end),
            None => list.span.start,
        };
        from.min(self.text.len().saturating_sub(1))
    }

    /// Replaces a value by another one.
    fn replace(&mut self, old: &Node, new: &Tree, holder: Option<ParentEntry>) {
        let Some(holder) = holder else {
            return self.replace_root(old, new);
        };
        if let (true, Some([Pair { key, value, after }]), Tree::Map(map)) = (
            new.is_secret() && old.secret().is_some() && !old.is_elsewhere(),
            old.pairs(),
            new,
        ) && let Some(ciphertext) = map.get("secure")
        {
            let flow = old.shape == Shape::Flow;
            let column = scan::column(self.text, key.span.start);
            let inner = ParentEntry {
                after: *after,
                column,
                flow,
                dash: false,
            };
            return self.replace(value, ciphertext, Some(inner));
        }
        if holder.flow {
            let gap = if old.span.is_empty() { " " } else { "" };
            return self.splice(
                old.span.clone(),
                format!("{gap}{}", render::flow(new, self.json)),
            );
        }
        let quote = match old.shape {
            Shape::Inline(quote) => quote,
            _ => Quote::None,
        };
        let mut block = render::block(new, holder.column, quote);
        if holder.dash && block.inline.is_empty() {
            let indented = block.below.trim_start().to_owned();
            block = render::Block {
                inline: indented,
                below: String::new(),
            };
        }
        let inline = if block.inline.is_empty() {
            String::new()
        } else {
            format!(" {}", block.inline)
        };
        let first_line = match old.shape {
            // The new text takes the place of the old one; a comment behind it stays.
            Shape::Inline(_) | Shape::Flow | Shape::Elsewhere => {
                let before = scan::trim_back(self.text, holder.after, old.span.start);
                let keeps_gap =
                    !inline.is_empty() && before == holder.after && !old.span.is_empty();
                if keeps_gap && !self.text[before..old.span.start].contains('\n') {
                    self.splice(old.span.clone(), block.inline);
                } else {
                    self.splice(before..old.span.end.max(before), inline);
                }
                old.span.end
            }
            Shape::BlockScalar => {
                self.splice(holder.after..old.span.end, inline);
                old.span.end
            }
            Shape::Block { .. } => {
                let head = scan::line_end(self.text, holder.after);
                if old.span.start < head {
                    // It begins on the line of its dash.
                    self.splice(holder.after..old.span.end, inline);
                } else {
                    // A comment behind the `:` stays, those inside the block go with it.
                    self.splice(holder.after..holder.after, inline);
                    let end = scan::line_end(self.text, old.span.end);
                    return self.splice(head..end, block.below);
                }
                old.span.end
            }
        };
        if !block.below.is_empty() {
            let end = scan::line_end(self.text, first_line.max(holder.after));
            self.splice(end..end, block.below);
        }
    }

    /// Replaces the whole document.
    fn replace_root(&mut self, old: &Node, new: &Tree) {
        // Braces around nothing are what is left when the last entry goes.
        let empty = old.pairs().is_some_and(<[Pair]>::is_empty);
        let text = if self.json || (old.shape == Shape::Flow && !empty) {
            render::flow(new, self.json)
        } else {
            render::document(new)
        };
        if !old.span.is_empty() {
            return self.splice(old.span.clone(), text);
        }
        let end = self.text.len();
        let gap = if self.text.is_empty() || self.text.ends_with('\n') {
            ""
        } else {
            "\n"
        };
        self.splice(end..end, format!("{gap}{text}\n"));
    }

    fn append_pair(
        &mut self,
        map: &Node,
        pairs: &[Pair],
        name: &str,
        value: &Tree,
        holder: Option<ParentEntry>,
    ) {
        let added = || Tree::Map([(name.to_owned(), value.clone())].into());
        match map.shape {
            Shape::Block { column } => {
                let pair = render::pair(name, value, column);
                self.append_line(map.span.end, column, &pair);
            }
            _ if pairs.is_empty() && !self.json => self.replace(map, &added(), holder),
            _ => self.append_in_flow(
                map,
                pairs.is_empty(),
                &render::flow_pair(name, value, self.json),
            ),
        }
    }

    fn append_item(
        &mut self,
        list: &Node,
        items: &[Node],
        value: &Tree,
        holder: Option<ParentEntry>,
    ) {
        match list.shape {
            Shape::Block { column } => {
                self.append_line(list.span.end, column, &render::item(value, column));
            }
            _ if items.is_empty() && !self.json => {
                self.replace(list, &Tree::List(vec![value.clone()]), holder);
            }
            _ => self.append_in_flow(list, items.is_empty(), &render::flow(value, self.json)),
        }
    }

    /// Adds a line behind the last line of a block, behind that line's comment.
    fn append_line(&mut self, end: usize, column: usize, line: &str) {
        let at = scan::line_end(self.text, end);
        self.splice(at..at, format!("\n{:column$}{line}", ""));
    }

    fn append_in_flow(&mut self, holder: &Node, empty: bool, text: &str) {
        let bracket = holder.span.end.saturating_sub(1);
        let at = scan::trim_back(self.text, holder.span.start, bracket);
        let comma = !empty && !self.text[..at].ends_with(',');
        let gap = if empty {
            ""
        } else if comma {
            ", "
        } else {
            " "
        };
        self.splice(at..at, format!("{gap}{text}"));
    }

    fn remove_pair(&mut self, map: &Node, pairs: &[Pair], at: usize, holder: Option<ParentEntry>) {
        let end = |pair: &Pair| pair.value.span.end.max(pair.after);
        let own = pairs[at].key.span.start;
        // What a `<<` brings in is written elsewhere; the `<<` itself is written here.
        let written = pairs
            .iter()
            .map(|pair| pair.key.span.start..end(pair))
            .filter(|entry| map.span.contains(&entry.start));
        let written: Vec<Range<usize>> = written.chain(map.merges.iter().cloned()).collect();
        if written.len() <= 1 {
            return self.replace(map, &Tree::Map([].into()), holder);
        }
        let next = written.iter().map(|entry| entry.start);
        let next = next.filter(|start| *start > own).min();
        let before = written.iter().filter(|entry| entry.start < own);
        let before = before.map(|entry| entry.end).max();
        self.remove_entry(map, own, end(&pairs[at]), next, before);
    }

    fn remove_item(&mut self, list: &Node, items: &[Node], at: usize, holder: Option<ParentEntry>) {
        if items.len() == 1 {
            return self.replace(list, &Tree::List(Vec::new()), holder);
        }
        let flow = list.shape == Shape::Flow;
        let start = |index: usize| {
            if flow {
                items[index].span.start
            } else {
                self.dash(list, items, index)
            }
        };
        let next = (at + 1 < items.len()).then(|| start(at + 1));
        let before = at.checked_sub(1).map(|before| items[before].span.end);
        let end = items[at].span.end.max(start(at) + usize::from(!flow));
        self.remove_entry(list, start(at), end, next, before);
    }

    /// Removes an entry of a block (its lines) or of brackets (it and one comma).
    fn remove_entry(
        &mut self,
        holder: &Node,
        start: usize,
        end: usize,
        next: Option<usize>,
        before: Option<usize>,
    ) {
        let own_line = self.text[scan::line_start(self.text, start)..start]
            .trim()
            .is_empty();
        let range = match (holder.shape, next, before) {
            (Shape::Block { .. }, ..) if own_line => {
                scan::line_start(self.text, start)..scan::next_line(self.text, end)
            }
            // The first entry stands behind a dash: the next one moves up to it.
            (_, Some(next), _) => start..next,
            (_, None, Some(before)) => before..end,
            (_, None, None) => start..end,
        };
        self.splice(range, "");
    }
}
