//! The colours of the output, those of Pulumi: 256-colour codes, stripped where nobody sees them.

use std::fmt::Display;

use anstyle::{Ansi256Color, Color, Style};

pub(crate) const CREATE: Style = colour(2);
pub(crate) const UPDATE: Style = colour(3);
/// Deleted, or failed.
pub(crate) const DELETE: Style = colour(1);
pub(crate) const REPLACE: Style = colour(13);
pub(crate) const HEADLINE: Style = colour(13).bold();
pub(crate) const PROMPT: Style = colour(6).bold();
pub(crate) const ATTENTION: Style = colour(9);
pub(crate) const INFO: Style = colour(5);
/// The head of a column.
pub(crate) const HEADER: Style = colour(12).underline();
/// The chosen answer.
pub(crate) const FOCUS: Style = colour(10);
/// Work in progress.
pub(crate) const BOLD: Style = Style::new().bold();
pub(crate) const DIM: Style = Style::new().dimmed();

const fn colour(number: u8) -> Style {
    Style::new().fg_color(Some(Color::Ansi256(Ansi256Color(number))))
}

/// `text` in a style; the printer strips it where colours are not wanted.
pub(crate) fn paint(style: Style, text: impl Display) -> String {
    format!("{style}{text}{style:#}")
}

/// How many columns `text` takes, styles aside. Names of Kubernetes objects are ASCII; the glyphs
/// of the tree are one column each.
pub(crate) fn width(text: &str) -> usize {
    anstream::adapter::strip_str(text)
        .map(|part| part.chars().count())
        .sum()
}

/// `text` without styles.
pub(crate) fn plain(text: &str) -> String {
    anstream::adapter::strip_str(text).to_string()
}
