//! The command line: one table of commands. Words and flags are Pulumi's, so that the old
//! walk-through works with the program's name changed.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

use aip_base::{SystemClock, SystemRng};
use anstream::ColorChoice;
use clap::{CommandFactory as _, Parser, Subcommand, ValueEnum};
use pulumi_files::Environment;

use crate::aws_http::AwsHttp;
use crate::cli_context::CliContext;
use crate::commands::adopt::AdoptArgs;
use crate::commands::config::ConfigArgs;
use crate::commands::destroy::DestroyArgs;
use crate::commands::doctor::DoctorArgs;
use crate::commands::drift::DriftArgs;
use crate::commands::generate::{CompletionsArgs, ManArgs, VersionArgs};
use crate::commands::keys::KeysArgs;
use crate::commands::lock::{CancelArgs, LockArgs, UnlockArgs};
use crate::commands::login::{LoginArgs, LogoutArgs, WhoamiArgs};
use crate::commands::preview::PreviewArgs;
use crate::commands::render::RenderArgs;
use crate::commands::repin::RepinArgs;
use crate::commands::rollback::RollbackArgs;
use crate::commands::rollout::RolloutArgs;
use crate::commands::stack::StackArgs;
use crate::commands::up::UpArgs;
use crate::exit::Exit;
use crate::option_variables::with_options;
use crate::pulumi_cli::{normalize_bool_flags, translate_arguments};
use crate::ui::Screen;
use crate::ui::style::{DELETE, paint};
use crate::ui::terminal::{Console, Terminal};

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

#[derive(Debug, Subcommand)]
enum Command {
    Login(LoginArgs),
    Logout(LogoutArgs),
    Whoami(WhoamiArgs),
    Stack(StackArgs),
    Config(ConfigArgs),
    Render(RenderArgs),
    Preview(PreviewArgs),
    Up(UpArgs),
    Drift(DriftArgs),
    Rollback(RollbackArgs),
    Rollout(RolloutArgs),
    Destroy(DestroyArgs),
    Adopt(AdoptArgs),
    Lock(LockArgs),
    Unlock(UnlockArgs),
    Cancel(CancelArgs),
    Repin(RepinArgs),
    Keys(KeysArgs),
    Doctor(DoctorArgs),
    Completions(CompletionsArgs),
    Man(ManArgs),
    Version(VersionArgs),
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
    let early = || Console::new(Screen::of_process(ColorChoice::Auto, false), true);
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
    let terminal: Arc<dyn Terminal> = Arc::new(Console::new(screen.clone(), non_interactive));
    let http = match AwsHttp::new() {
        Ok(http) => Arc::new(http),
        Err(error) => return fail(terminal.as_ref(), &error, Exit::Failed),
    };
    let folder = cwd.unwrap_or_else(|| PathBuf::from("."));
    let (clock, rng) = (Arc::new(SystemClock), Arc::new(SystemRng));
    let mut cli = CliContext::new(Arc::clone(&terminal), environment, folder, http, clock, rng);
    cli.stack_flag = stack;
    cli.config_file = config_file;
    match dispatch(parsed.command, &cli, &screen).await {
        Ok(exit) => exit,
        Err((error, exit)) => fail(terminal.as_ref(), error.as_ref(), exit),
    }
}

type Failure = (Box<dyn std::error::Error>, Exit);

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

async fn dispatch(command: Command, cli: &CliContext, screen: &Screen) -> Result<Exit, Failure> {
    macro_rules! outcome {
        ($run:expr) => {
            $run.map(|()| Exit::Success).map_err(|error| {
                let exit = error.exit();
                (Box::from(error), exit)
            })
        };
    }
    match command {
        Command::Login(args) => outcome!(args.run(cli).await),
        Command::Logout(args) => outcome!(args.run(cli)),
        Command::Whoami(args) => outcome!(args.run(cli)),
        Command::Stack(args) => outcome!(args.run(cli).await),
        Command::Config(args) => outcome!(args.run(cli).await),
        Command::Render(args) => outcome!(args.run(cli).await),
        Command::Preview(args) => outcome!(args.run(cli, screen).await),
        Command::Up(args) => outcome!(args.run(cli, screen).await),
        Command::Drift(args) => outcome!(args.run(cli, screen).await),
        Command::Rollback(args) => outcome!(args.run(cli, screen).await),
        Command::Rollout(args) => outcome!(args.run(cli, screen).await),
        Command::Destroy(args) => outcome!(args.run(cli, screen).await),
        Command::Adopt(args) => outcome!(args.run(cli, screen).await),
        Command::Lock(args) => outcome!(args.run(cli, screen).await),
        Command::Unlock(args) => outcome!(args.run(cli, screen).await),
        Command::Cancel(args) => outcome!(args.run(cli, screen).await),
        Command::Repin(args) => outcome!(args.run(cli, screen).await),
        Command::Keys(args) => outcome!(args.run(cli).await),
        Command::Doctor(args) => outcome!(args.run(cli, screen).await),
        Command::Completions(args) => outcome!(args.run(cli, Cli::command())),
        Command::Man(args) => outcome!(args.run(cli, Cli::command())),
        Command::Version(args) => {
            args.run(cli);
            Ok(Exit::Success)
        }
    }
}

fn fail(terminal: &dyn Terminal, error: &dyn std::error::Error, exit: Exit) -> Exit {
    terminal.status(&format!("{}: {error}", paint(DELETE, "error")));
    exit
}
