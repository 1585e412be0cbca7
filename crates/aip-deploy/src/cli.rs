//! The command line. Words and flags are Pulumi's, so that the old
//! walk-through works with the program's name changed.

use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::Arc;

use aip_apply::apply::FailPoints;
use aip_aws::Aws;
use aip_base::{Environment, SystemClock, SystemRng};
use anstream::ColorChoice;
use clap::{CommandFactory as _, Parser};

use crate::aws_http::AwsHttp;
use crate::commands::{Command, examples};
use crate::context::{Context, GlobalFlags};
use crate::exit::Exit;
use crate::option_variables::with_options;
use crate::pulumi_cli::{normalize_bool_flags, translate_arguments};
use crate::ui::Screen;
use crate::ui::style::{DELETE, paint};

/// Deploys AIP on Kubernetes from an encrypted stack file
#[derive(Debug, Parser)]
#[command(
    name = "aip-deploy",
    version = aip_version::version(),
    arg_required_else_help = true,
    after_help = examples!["login s3://my-bucket/aip", "preview --diff", "up --yes"],
    args_override_self = true
)]
pub struct Cli {
    #[command(flatten)]
    global: GlobalFlags,
    #[command(subcommand)]
    command: Command,
}

/// Runs the command line of the process in its environment.
pub async fn main(fail_points: Arc<dyn FailPoints>) -> ExitCode {
    #[allow(
        clippy::disallowed_methods,
        reason = "the environment enters the program here, and nowhere else"
    )]
    let environment =
        Environment::new(std::env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        }));
    run(std::env::args_os().collect(), environment, fail_points)
        .await
        .into()
}

/// Runs a command line and says what went wrong, if anything did.
async fn run(
    arguments: Vec<OsString>,
    environment: Environment,
    fail_points: Arc<dyn FailPoints>,
) -> Exit {
    let mut command = Cli::command();
    command.build();
    let early = || Screen::of_process(ColorChoice::Auto, false);
    let (given, notes) = match normalize_arguments(arguments, &environment, &command) {
        Ok(normalized) => normalized,
        Err(error) => return fail(&early(), error.as_ref(), Exit::Usage),
    };
    for note in notes {
        early().status(&note);
    }
    let parsed = match Cli::try_parse_from(given) {
        Ok(parsed) => parsed,
        Err(error) => {
            let asked_for = !error.use_stderr();
            // Nothing is left to tell when even this cannot be written.
            let _ = error.print();
            return if asked_for {
                Exit::Success
            } else {
                Exit::Usage
            };
        }
    };
    let flags = parsed.global;
    let screen = Screen::of_process(flags.color.into(), !flags.non_interactive);
    let http = match AwsHttp::new() {
        Ok(http) => Arc::new(http),
        Err(error) => return fail(&screen, &error, Exit::Failed),
    };
    let (clock, rng) = (Arc::new(SystemClock), Arc::new(SystemRng));
    let aws = Aws::new(http, Arc::<SystemClock>::clone(&clock));
    let ctx = Context::new(screen, environment, flags, aws, clock, rng, fail_points);
    match parsed.command.run(&ctx).await {
        Ok(()) => Exit::Success,
        Err((error, exit)) => fail(&ctx.screen, error.as_ref(), exit),
    }
}

/// The command line as the table of commands has it, and what to say about the rest.
fn normalize_arguments(
    arguments: Vec<OsString>,
    environment: &Environment,
    command: &clap::Command,
) -> Result<(Vec<OsString>, Vec<String>), Box<dyn std::error::Error>> {
    let (typed, notes) = translate_arguments(arguments, command)?;
    let given = with_options(typed, environment, command)?;
    Ok((normalize_bool_flags(given, command)?, notes))
}

fn fail(screen: &Screen, error: &dyn std::error::Error, exit: Exit) -> Exit {
    screen.status(format!("{}: {error}", paint(DELETE, "error")));
    exit
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The commands below `command` that an operator types, each with the words that lead to it.
    fn subcommands<'c>(
        command: &'c clap::Command,
        path: &[&'c str],
    ) -> Vec<(Vec<&'c str>, &'c clap::Command)> {
        let visible = command
            .get_subcommands()
            .filter(|below| below.get_name() != "help");
        visible
            .flat_map(|below| {
                let path = [path, &[below.get_name()]].concat();
                let deeper = subcommands(below, &path);
                std::iter::once((path, below)).chain(deeper)
            })
            .collect()
    }

    #[test]
    fn every_command_has_examples_and_every_example_is_a_command_line() {
        let command = Cli::command();
        let mut all = subcommands(&command, &["aip-deploy"]);
        assert!(all.len() > 35, "only {} commands", all.len());
        all.push((vec!["aip-deploy"], &command));
        for (path, command) in all {
            let name = path.join(" ");
            let help = command.get_after_help().map(ToString::to_string);
            let help = help.unwrap_or_else(|| panic!("`{name}` has no examples"));
            let lines: Vec<&str> = help.lines().skip(1).map(str::trim).collect();
            let has_arguments = command
                .get_arguments()
                .any(|argument| !argument.is_global_set());
            assert!(
                (1 + usize::from(has_arguments)..=3).contains(&lines.len()),
                "`{name}` has {} examples",
                lines.len()
            );
            for line in lines {
                // Up to what the shell does with the output.
                let words = line
                    .split(' ')
                    .take_while(|word| !matches!(*word, "|" | ">"));
                let words: Vec<&str> = words.map(|word| word.trim_matches('\'')).collect();
                assert!(words.starts_with(&path), "`{line}` is not of `{name}`");
                let parsed = Cli::try_parse_from(words);
                assert!(parsed.is_ok(), "`{line}`: {}", parsed.unwrap_err());
            }
        }
    }
}
