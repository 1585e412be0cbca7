//! The commands that messages and pages tell people to run are commands.

use std::path::{Path, PathBuf};

use aip_deploy::Cli;
use clap::CommandFactory as _;
use clap::error::ErrorKind;

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else {
            found.push(path);
        }
    }
}

/// The commands between backticks.
fn mentioned(text: &str) -> Vec<String> {
    // A string goes on behind a backslash at the end of its line.
    let lines: Vec<&str> = text.lines().map(str::trim_start).collect();
    let text = lines.join("\n").replace("\\\n", "");
    text.split("`aip-deploy ")
        .skip(1)
        .filter_map(|rest| rest.split_once('`'))
        .map(|(command, _)| command.split(" && ").next().unwrap().to_owned())
        .filter(|command| !command.contains(['\n', '…', '[', '<', '>', '\\']))
        .collect()
}

#[test]
fn every_command_that_is_mentioned_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = vec![root.join("../../docs/aip-deploy.md")];
    sources(&root.join("src"), &mut files);
    let mut count = 0;
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        for command in mentioned(&text) {
            let words = command
                .split_whitespace()
                // What is filled in when the message is made.
                .map(|word| {
                    if word.contains('{') {
                        "filled-in"
                    } else {
                        word
                    }
                });
            let line = ["aip-deploy"].into_iter().chain(words);
            let outcome = Cli::command().try_get_matches_from(line);
            let fine = match &outcome {
                Ok(_) => true,
                Err(error) => matches!(
                    error.kind(),
                    // The name of a command, without what it needs.
                    ErrorKind::MissingRequiredArgument
                        | ErrorKind::DisplayHelp
                        | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
                ),
            };
            assert!(
                fine,
                "{}: `aip-deploy {command}`: {}",
                file.display(),
                outcome.unwrap_err()
            );
            count += 1;
        }
    }
    assert!(count > 30, "only {count} were found");
}
