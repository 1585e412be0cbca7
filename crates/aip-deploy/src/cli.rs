//! The command line. Words and flags are Pulumi's, so that the old
//! walk-through works with the program's name changed.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

use aip_aws::Aws;
use aip_base::{Environment, SystemClock, SystemRng};
use anstream::ColorChoice;
use clap::{CommandFactory as _, Parser, ValueEnum};

use crate::aws_http::AwsHttp;
use crate::commands::Command;
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
    version,
    arg_required_else_help = true,
    args_override_self = true
)]
pub struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Args)]
struct Global {
    /// The stack to use instead of the selected one
    #[arg(short, long, global = true)]
    stack: Option<String>,
    /// The stack file, instead of Pulumi.<stack>.yaml
    #[arg(long, global = true, value_name = "FILE")]
    config_file: Option<PathBuf>,
    /// Run as if started in this folder
    #[arg(short = 'C', long, global = true, value_name = "FOLDER")]
    cwd: Option<PathBuf>,
    /// Disable interactive prompts
    #[arg(long, global = true)]
    non_interactive: bool,
    /// When to use colours
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto)]
    color: Color,
}

/// The answers to `--color`.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Color {
    Auto,
    Always,
    #[value(alias = "raw")]
    Never,
}

impl From<Color> for ColorChoice {
    fn from(color: Color) -> Self {
        match color {
            Color::Auto => Self::Auto,
            Color::Always => Self::Always,
            Color::Never => Self::Never,
        }
    }
}

/// Runs a command line and says what went wrong, if anything did.
pub async fn run(arguments: Vec<OsString>, environment: Environment) -> Exit {
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
    let Global {
        stack,
        config_file,
        cwd,
        non_interactive,
        color,
    } = parsed.global;
    let screen = Screen::of_process(color.into(), !non_interactive);
    let http = match AwsHttp::new() {
        Ok(http) => Arc::new(http),
        Err(error) => return fail(&screen, &error, Exit::Failed),
    };
    let (clock, rng) = (Arc::new(SystemClock), Arc::new(SystemRng));
    let aws = Aws::new(http, Arc::<SystemClock>::clone(&clock));
    let flags = GlobalFlags {
        stack,
        config_file,
        cwd,
    };
    let ctx = Context::new(screen, environment, flags, aws, clock, rng);
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
