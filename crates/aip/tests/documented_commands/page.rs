//! The blocks of commands in a guide, and the marks before them. Also read by `tests/tidy`.
//!
//! A block is run unless the line before it is `<!-- not run: REASON -->`. One that ends with a
//! program that goes on until it is stopped says how to tell that it is up:
//! `<!-- keeps running: URL -->`.

/// What is to be done with a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Mark {
    /// It is run to its end.
    Run,
    /// It is run beside the blocks after it, which begin when this URL answers.
    KeepsRunning(String),
    /// It is not run, for this reason.
    NotRun(String),
}

/// A block of commands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Block {
    /// The line of its fence, from 1.
    pub(crate) line: usize,
    /// What is to be done with it.
    pub(crate) mark: Mark,
    /// The commands.
    pub(crate) commands: String,
}

/// All of a page, in order.
pub(crate) fn blocks(page: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut before = "";
    // The fence that closes the block, whether it holds commands, and how far it is indented.
    let mut open: Option<(bool, usize)> = None;
    for (number, line) in (1..).zip(page.lines()) {
        let text = line.trim();
        match (&open, text.strip_prefix("```")) {
            (None, Some(language)) => {
                let commands = matches!(language, "sh" | "bash" | "shell" | "console");
                if commands {
                    blocks.push(Block {
                        line: number,
                        mark: mark(before),
                        commands: String::new(),
                    });
                }
                open = Some((commands, line.len() - line.trim_start().len()));
            }
            (Some(_), Some("")) => open = None,
            (Some((true, indent)), _) => {
                if let Some(block) = blocks.last_mut() {
                    // Indentation is of blanks.
                    block.commands.push_str(line.get(*indent..).unwrap_or(""));
                    block.commands.push('\n');
                }
            }
            _ => {}
        }
        if !text.is_empty() {
            before = text;
        }
    }
    blocks
}

fn mark(line: &str) -> Mark {
    let comment = line
        .strip_prefix("<!--")
        .and_then(|it| it.strip_suffix("-->"));
    let comment = comment.unwrap_or_default().trim();
    if let Some(reason) = comment.strip_prefix("not run:") {
        return Mark::NotRun(reason.trim().to_owned());
    }
    match comment.strip_prefix("keeps running:") {
        Some(url) => Mark::KeepsRunning(url.trim().to_owned()),
        None => Mark::Run,
    }
}
