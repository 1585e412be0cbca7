//! What this program prints: all of it goes through here.

use std::io::Write as _;

/// A heading before a chore.
pub(crate) fn step(text: &str) {
    line(&format!("==> {text}"));
}

/// One line on standard output. A reader that went away (`| head`) is no mistake of ours.
pub(crate) fn line(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

/// One line on standard error.
pub(crate) fn error(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "error: {text}");
}
