//! Commands in the guides are run by a test, or say why not.

use std::path::Path;

use crate::checkout::{assert_clean, sources, texts};

#[path = "../../../crates/aip/tests/documented_commands/page.rs"]
mod page;

use page::{Mark, blocks};

/// Tests that run the commands of the pages that they name.
const RUNNERS: [&str; 3] = [
    "/tests/documented_commands",
    "/stories/documented_calls.rs",
    "/packaging/go_live.rs",
];
/// The guides of a program whose own tests run their commands, once they do.
const BLOCKS_OF_OTHER_PROGRAMS: (&[&str], &str) = (
    &[
        "docs/aip-deploy.md",
        "docs/dependencies.md",
        "docs/gitops.md",
        "docs/tilt.md",
    ],
    "crates/aip-deploy",
);

#[test]
fn every_block_of_commands_is_run_or_says_why_not() {
    let runners: Vec<_> = sources()
        .into_iter()
        .filter(|text| RUNNERS.iter().any(|runner| text.path.contains(runner)))
        .collect();
    let (others, program) = BLOCKS_OF_OTHER_PROGRAMS;
    let is_run = |page: &str| {
        let named = runners.iter().any(|runner| runner.content.contains(page));
        named || (others.contains(&page) && !runners.iter().any(|it| it.path.starts_with(program)))
    };
    let mut findings = Vec::new();
    for text in texts() {
        let guide = text.path == "README.md"
            || (text.path.starts_with("docs/") && !text.path.starts_with("docs/reference/"));
        if !guide || Path::new(&text.path).extension() != Some("md".as_ref()) {
            continue;
        }
        for block in blocks(&text.content) {
            let at = format!("{}:{}", text.path, block.line);
            match block.mark {
                _ if block.commands.is_empty() => findings.push(format!("{at}: it is empty")),
                Mark::NotRun(reason) if reason.is_empty() => {
                    findings.push(format!("{at}: no reason"));
                }
                Mark::KeepsRunning(url) if !url.starts_with("http://127.0.0.1:") => {
                    findings.push(format!("{at}: `{url}` is no URL on this machine"));
                }
                Mark::Run | Mark::KeepsRunning(_) if !is_run(&text.path) => {
                    findings.push(format!("{at}: no test runs it"));
                }
                _ => {}
            }
        }
    }
    assert_clean(
        &findings,
        "run the page in a test `documented_commands`, or mark the block `<!-- not run: REASON -->`",
    );
}
