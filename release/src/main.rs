//! Writes images and release folders from programs that are already built. `cargo xtask image` and
//! `cargo xtask release` build the programs and call it.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{Args, Parser, Subcommand};
use release::folder;
use release::image::{self, Contents, Layout, Registry};
use release::origin::Origin;
use release::program::Program;
use secrecy::SecretString;

#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Writes the image of `aip` as an OCI layout
    Image(ImageArgs),
    /// Pushes a layout to a registry
    Push(PushArgs),
    /// Writes only the files of the image, for a builder that makes the layer itself
    Files(FilesArgs),
    /// Writes a release folder
    Folder(FolderArgs),
}

#[derive(Args)]
struct OriginArgs {
    /// The version, as in 0.1.0
    #[arg(long)]
    version: String,
    /// What everything is dated with, in seconds since 1970; the date of the commit unless set
    #[arg(long, env = "SOURCE_DATE_EPOCH", value_name = "SECONDS")]
    epoch: Option<i64>,
}

#[derive(Args)]
struct ImageArgs {
    #[command(flatten)]
    origin: OriginArgs,
    /// The static program `aip`; once for each architecture
    #[arg(long, required = true)]
    program: Vec<PathBuf>,
    /// Its bill of materials, as `CycloneDX` JSON
    #[arg(long)]
    sbom: Option<PathBuf>,
    /// The folder of the layout
    #[arg(long)]
    output: PathBuf,
}

#[derive(Args)]
struct PushArgs {
    /// The folder of the layout, or the file of a release folder
    #[arg(long)]
    layout: PathBuf,
    /// Reaches the registry without TLS
    #[arg(long)]
    plain_http: bool,
    /// The user of the registry
    #[arg(long, env = "REGISTRY_USER", requires = "password")]
    user: Option<String>,
    /// Not on the command line, where others see it
    #[arg(long, env = "REGISTRY_PASSWORD", hide = true, hide_env_values = true)]
    password: Option<String>,
    /// Where to, as REGISTRY/REPOSITORY:TAG
    reference: String,
}

#[derive(Args)]
struct FilesArgs {
    /// The static program `aip`
    #[arg(long)]
    program: PathBuf,
    /// The folder that becomes the root of the image
    #[arg(long)]
    output: PathBuf,
}

#[derive(Args)]
struct FolderArgs {
    #[command(flatten)]
    origin: OriginArgs,
    /// A static program; once for each program and architecture
    #[arg(long, required = true)]
    program: Vec<PathBuf>,
    /// The layout of the image
    #[arg(long)]
    image: PathBuf,
    /// A bill of materials, named for its program: `aip.cdx.json`
    #[arg(long)]
    sbom: Vec<PathBuf>,
    /// The checkout, for change log, licences and unit files
    #[arg(long)]
    checkout: PathBuf,
    /// The folder to write; replaced if it is a release folder
    #[arg(long)]
    output: PathBuf,
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(said) => {
            let _ = writeln!(std::io::stdout().lock(), "{said}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            let _ = writeln!(std::io::stderr().lock(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Does it; what is said of it.
fn run(command: Command) -> Result<String> {
    match command {
        Command::Image(args) => {
            let sbom = args.sbom.as_ref().map(|path| {
                std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
            });
            let (programs, sbom) = (read(&args.program)?, sbom.transpose()?);
            let contents = Contents {
                programs: &programs,
                sbom: sbom.as_deref(),
                origin: &args.origin.origin()?,
            };
            image::write(&args.output, &contents)
        }
        Command::Push(args) => {
            let registry = Registry {
                plain_http: args.plain_http,
                user: args.user.zip(args.password.map(SecretString::from)),
            };
            let layout = Layout::open(&args.layout)?;
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            let pushed = runtime.block_on(image::push(&layout, &args.reference, &registry))?;
            for warning in &pushed.warnings {
                let _ = writeln!(std::io::stderr().lock(), "warning: {warning}");
            }
            Ok(pushed.digest)
        }
        Command::Files(args) => {
            let program = Program::read(&args.program)?;
            image::write_below(&args.output, &image::files(&program))?;
            Ok(args.output.display().to_string())
        }
        Command::Folder(args) => {
            let contents = folder::Contents {
                programs: read(&args.program)?,
                image: Layout::open(&args.image)?,
                sboms: args.sbom,
                checkout: args.checkout,
                origin: args.origin.origin()?,
            };
            folder::write(&args.output, &contents)?;
            Ok(args.output.display().to_string())
        }
    }
}

impl OriginArgs {
    fn origin(&self) -> Result<Origin> {
        Origin::of_this_commit(self.version.clone(), self.epoch)
    }
}

fn read(paths: &[PathBuf]) -> Result<Vec<Program>> {
    paths.iter().map(|path| Program::read(path)).collect()
}
