//! The command line reference: the program's own `--help`, command by command.

use std::fmt::Write as _;

use anyhow::Result;

use super::Program;

pub(super) fn render(program: &Program) -> Result<String> {
    let mut page = format!(
        "# Command line of `{name}`\n\n\
         Generated from `{name} --help` by `cargo xtask docs`.\n",
        name = program.name
    );
    append(program, &[], &mut page)?;
    Ok(page)
}

fn append(program: &Program, command: &[&str], page: &mut String) -> Result<()> {
    let help = program.ask(&[command, &["--help"]].concat())?;
    let title = [&[program.name], command].concat().join(" ");
    let text: Vec<&str> = help.trim().lines().map(str::trim_end).collect();
    write!(
        page,
        "\n## `{title}`\n\n```text\n{}\n```\n",
        text.join("\n")
    )?;
    for sub in subcommands(&help) {
        append(program, &[command, &[sub]].concat(), page)?;
    }
    Ok(())
}

/// The names under `Commands:` of a help text, without clap's own `help`.
fn subcommands(help: &str) -> Vec<&str> {
    help.lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| line.starts_with(' '))
        // A description that was wrapped goes on under the description, further in.
        .filter_map(|line| {
            line.strip_prefix("  ")
                .filter(|rest| !rest.starts_with(' '))
        })
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subcommands_are_read_from_a_help_text() {
        let help = "Keeps sessions.\n\nUsage: aip <COMMAND>\n\nCommands:\n  serve    Runs the server\n  \
                    clients  Apps that may\n           sign people in\n  help     Print this message\n\n\
                    Options:\n  -h, --help  Print help\n";
        assert_eq!(subcommands(help), ["serve", "clients"]);
    }

    #[test]
    fn a_command_without_subcommands_has_none() {
        assert!(subcommands("Usage: aip serve\n\nOptions:\n  -h, --help  Print help\n").is_empty());
    }
}
