//! A page whose blocks of commands are followed by what they print, and whether that is what was printed.
//!
//! A line of the page that is `…` stands for any number of lines; within a line it stands for any text.

use crate::page::{Mark, blocks};

/// The line before the block with the values that each reader has of their own.
const VALUES: &str = "<!-- values -->";
/// What stands for anything.
const ANYTHING: &str = "…";

/// Commands, and what they print.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Step {
    /// The line of its fence, from 1.
    pub(crate) line: usize,
    pub(crate) commands: String,
    /// Nothing, if no block of `text` comes before the next commands.
    pub(crate) output: Vec<String>,
    /// Whether these are the values that each reader has of their own.
    pub(crate) is_values: bool,
}

/// The steps of a page.
pub(crate) fn steps(page: &str) -> Vec<Step> {
    let lines: Vec<&str> = page.lines().collect();
    let run = blocks(page).into_iter().map(|block| {
        assert_eq!(block.mark, Mark::Run, "line {}", block.line);
        let fence = block.line - 1;
        // Behind the commands and the fence that closes them.
        let behind = &lines[fence + block.commands.lines().count() + 2..];
        Step {
            line: block.line,
            output: output(behind),
            is_values: fence > 0 && lines[fence - 1] == VALUES,
            commands: block.commands,
        }
    });
    run.collect()
}

/// The block of text that is next.
fn output(behind: &[&str]) -> Vec<String> {
    let next = behind.iter().position(|line| line.starts_with("```"));
    let Some(next) = next.filter(|at| behind[*at] == "```text") else {
        return Vec::new();
    };
    let text = behind[next + 1..].iter();
    text.take_while(|line| **line != "```")
        .map(|line| (*line).to_owned())
        .collect()
}

/// Whether the lines are what the page says.
pub(crate) fn is_as_said(said: &[String], printed: &[&str]) -> bool {
    match said {
        [] => printed.is_empty(),
        [first, rest @ ..] if first == ANYTHING => {
            (0..=printed.len()).any(|skipped| is_as_said(rest, &printed[skipped..]))
        }
        [first, rest @ ..] => match printed {
            [line, others @ ..] => is_line(first, line) && is_as_said(rest, others),
            [] => false,
        },
    }
}

fn is_line(said: &str, printed: &str) -> bool {
    let parts: Vec<&str> = said.split(ANYTHING).collect();
    let [first, middle @ .., last] = &parts[..] else {
        return said == printed;
    };
    let inner = printed.strip_prefix(first);
    let Some(mut inner) = inner.and_then(|inner| inner.strip_suffix(last)) else {
        return false;
    };
    middle.iter().all(|part| match inner.split_once(part) {
        Some((_, rest)) => {
            inner = rest;
            true
        }
        None => false,
    })
}

#[test]
fn a_step_has_the_output_below_it() {
    let page = "<!-- values -->\n```sh\na=1\n```\n\n```sh\none\ntwo\n```\n\nwords\n\n```text\n…\nend\n```\n\n\
                ```sh\nthree\n```\n\n```toml\nx = 1\n```\n";
    let steps = steps(page);
    let found: Vec<(bool, &str, &[String])> = steps
        .iter()
        .map(|step| (step.is_values, &*step.commands, &*step.output))
        .collect();
    let output = ["…".to_owned(), "end".to_owned()];
    assert_eq!(
        found,
        [
            (true, "a=1\n", &[][..]),
            (false, "one\ntwo\n", &output[..]),
            (false, "three\n", &[][..]),
        ]
    );
}

#[test]
fn dots_stand_for_text_and_for_lines() {
    let is = |said: &[&str], printed: &[&str]| {
        let said: Vec<String> = said.iter().map(|line| (*line).to_owned()).collect();
        is_as_said(&said, printed)
    };
    assert!(is(&[], &[]));
    assert!(!is(&[], &["a"]));
    assert!(is(&["…"], &[]));
    assert!(is(&["…", "b", "…"], &["a", "b"]));
    assert!(!is(&["…", "b", "…"], &["a", "c"]));
    assert!(is(&["ok  … lines, … of them"], &["ok  7 lines, 2 of them"]));
    assert!(!is(&["ok  … lines, … of them"], &["ok  7 lines, 2 of us"]));
    assert!(!is(&["aa…aa"], &["aaa"]));
    assert!(!is(&["same"], &["same", "more"]));
}
