//! Where output goes: data and results to standard output, status messages to standard error. On a terminal
//! a region at the end may be redrawn; elsewhere every line is written once.

use std::io::{self, IsTerminal as _, Write};
use std::sync::{Arc, Mutex};

use aip_base::lock;
use anstream::{AutoStream, ColorChoice};
use clap::ValueEnum;
use console::Term;
use serde_json::Value;

use super::style::width;
use super::table::columns;

/// The two streams. Clones write to the same place.
#[derive(Clone)]
pub(crate) struct Screen {
    inner: Arc<Mutex<Inner>>,
    can_ask: bool,
    can_choose: bool,
    redraws: bool,
}

struct Inner {
    out: Box<dyn Write + Send>,
    err: Box<dyn Write + Send>,
    /// How many lines of the region stand at the end of the output.
    drawn: usize,
}

/// The answers to `--color`.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum ColorMode {
    Auto,
    Always,
    #[value(alias = "raw")]
    Never,
}

impl From<ColorMode> for ColorChoice {
    fn from(mode: ColorMode) -> Self {
        match mode {
            ColorMode::Auto => Self::Auto,
            ColorMode::Always => Self::Always,
            ColorMode::Never => Self::Never,
        }
    }
}

/// A region is never higher than this where the terminal does not tell its size.
const DEFAULT_SIZE: (u16, u16) = (24, 80);

impl Screen {
    /// The process's own streams. `colour` is the answer to `--color`; `ask` is false with
    /// `--non-interactive`.
    pub(crate) fn of_process(colour: ColorChoice, ask: bool) -> Self {
        let terminal = io::stdout().is_terminal();
        Self {
            inner: Arc::new(Mutex::new(Inner {
                out: Box::new(AutoStream::new(io::stdout(), colour)),
                err: Box::new(AutoStream::new(io::stderr(), colour)),
                drawn: 0,
            })),
            can_ask: ask && io::stdin().is_terminal() && io::stderr().is_terminal(),
            can_choose: ask && terminal && io::stdin().is_terminal(),
            redraws: ask && terminal,
        }
    }

    /// Whether a line can be asked for: standard input and standard error are a terminal.
    pub(crate) fn can_ask(&self) -> bool {
        self.can_ask
    }

    /// Whether answers can be offered to choose from: standard input and standard output are one.
    pub(crate) fn can_choose(&self) -> bool {
        self.can_choose
    }

    /// Whether a region can be redrawn.
    pub(crate) fn redraws(&self) -> bool {
        self.redraws
    }

    /// Writes lines to standard output, below what stands there.
    pub(crate) fn lines<L: AsRef<str>>(&self, lines: impl IntoIterator<Item = L>) {
        self.with(|inner| {
            inner.drawn = 0;
            for line in lines {
                inner.line(line.as_ref());
            }
        });
    }

    /// Writes one line to standard output.
    pub(crate) fn line(&self, line: impl AsRef<str>) {
        self.lines([line]);
    }

    /// Writes a JSON document to standard output.
    pub(crate) fn json(&self, document: &Value) {
        self.line(format!("{document:#}"));
    }

    /// Writes a table to standard output.
    pub(crate) fn table<const N: usize>(
        &self,
        head: [&str; N],
        rows: impl IntoIterator<Item = [String; N]>,
    ) {
        let head = head.map(str::to_owned);
        let rows = std::iter::once(head).chain(rows);
        let rows: Vec<Vec<String>> = rows.map(Vec::from).collect();
        self.lines(columns(&rows, &[]));
    }

    /// Writes one line to standard error.
    pub(crate) fn status(&self, line: impl AsRef<str>) {
        self.with(|inner| {
            // A reader that is gone is no reason to stop a deployment.
            let _ = writeln!(inner.err, "{}", line.as_ref());
            let _ = inner.err.flush();
        });
    }

    /// Replaces the region at the end of the output. Without a terminal it does nothing.
    pub(crate) fn redraw(&self, lines: &[String]) {
        if !self.redraws {
            return;
        }
        // A terminal that was not told its size says 0.
        let (rows, columns) = Term::stdout()
            .size_checked()
            .filter(|(rows, columns)| *rows > 0 && *columns > 0)
            .unwrap_or(DEFAULT_SIZE);
        // The cursor can only go up within the screen.
        let visible = &lines[lines
            .len()
            .saturating_sub(usize::from(rows).saturating_sub(2))..];
        self.with(|inner| {
            inner.clear_region();
            for line in visible {
                inner.line(&cut(line, usize::from(columns)));
            }
            inner.drawn = visible.len();
        });
    }

    pub(crate) fn clear_region(&self) {
        self.with(Inner::clear_region);
    }

    fn with(&self, write: impl FnOnce(&mut Inner)) {
        // A panic while writing does not make the stream unusable.
        let mut inner = lock(&self.inner);
        write(&mut inner);
        let _ = inner.out.flush();
    }
}

impl Inner {
    fn line(&mut self, line: &str) {
        let _ = writeln!(self.out, "{line}");
    }

    fn clear_region(&mut self) {
        if self.drawn > 0 {
            // CSI n F: to the beginning of the line n lines up; CSI J: erase from there (ECMA-48).
            let _ = write!(self.out, "\x1b[{}F\x1b[J", self.drawn);
            self.drawn = 0;
        }
    }
}

/// A line that wraps would be two lines for the cursor.
fn cut(line: &str, columns: usize) -> String {
    if width(line) < columns {
        return line.to_owned();
    }
    // Styles are given up for a line that does not fit.
    let kept: String = super::style::plain(line)
        .chars()
        .take(columns.saturating_sub(2))
        .collect();
    format!("{kept}…")
}
