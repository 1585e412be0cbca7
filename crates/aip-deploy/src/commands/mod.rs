//! One file (or folder) per command, and the table of them. A command is a struct of its arguments
//! with a `run`.

/// The `after_help` of a command: lines that an operator types, without the program's name. A test
/// parses each of them.
macro_rules! examples {
    ($($line:literal),+ $(,)?) => {
        concat!("Examples:", $("\n  aip-deploy ", $line),+)
    };
}
pub(crate) use examples;

pub(crate) mod adopt;
pub(crate) mod apply_flags;
pub(crate) mod cert;
pub(crate) mod config;
pub(crate) mod deps;
pub(crate) mod destroy;
pub(crate) mod doctor;
pub(crate) mod drift;
pub(crate) mod failure;
#[allow(
    clippy::unnecessary_wraps,
    clippy::unused_self,
    reason = "the form of every command"
)]
pub(crate) mod generate;
pub(crate) mod image;
pub(crate) mod keys;
pub(crate) mod lock;
pub(crate) mod login;
pub(crate) mod plan_flags;
pub(crate) mod preview;
pub(crate) mod render;
pub(crate) mod repin;
pub(crate) mod rollback;
pub(crate) mod rollout;
pub(crate) mod stack;
pub(crate) mod up;

use clap::Subcommand;

use crate::context::Context;
use crate::exit::Exit;

/// A command that failed: what to say, and the exit code.
pub(crate) type Failure = (Box<dyn std::error::Error>, Exit);

/// Declares the commands: name and arguments, and `=> await` behind those whose `run` is asynchronous.
macro_rules! commands {
    ($($name:ident($args:ty) $(=> $wait:tt)?,)+) => {
        #[derive(Debug, Subcommand)]
        pub(crate) enum Command {
            $(#[allow(missing_docs, reason = "clap shows the documentation of the arguments")]
            $name($args),)+
        }

        impl Command {
            pub(crate) async fn run(self, ctx: &Context) -> Result<(), Failure> {
                match self {
                    $(Self::$name(args) => args.run(ctx)$(.$wait)?.map_err(|error| {
                        let exit = error.exit();
                        (Box::from(error), exit)
                    }),)+
                }
            }
        }
    };
}

commands! {
    Login(login::LoginArgs) => await,
    Logout(login::LogoutArgs),
    Whoami(login::WhoamiArgs),
    Stack(stack::StackArgs) => await,
    Config(config::ConfigArgs) => await,
    Render(render::RenderArgs) => await,
    Preview(preview::PreviewArgs) => await,
    Up(up::UpArgs) => await,
    Drift(drift::DriftArgs) => await,
    Rollback(rollback::RollbackArgs) => await,
    Rollout(rollout::RolloutArgs) => await,
    Destroy(destroy::DestroyArgs) => await,
    Adopt(adopt::AdoptArgs) => await,
    Lock(lock::LockArgs) => await,
    Unlock(lock::UnlockArgs) => await,
    Cancel(lock::CancelArgs) => await,
    Repin(repin::RepinArgs) => await,
    Keys(keys::KeysArgs) => await,
    Cert(cert::CertArgs) => await,
    Deps(deps::DepsArgs) => await,
    Image(image::ImageArgs) => await,
    Doctor(doctor::DoctorArgs) => await,
    Completions(generate::CompletionsArgs),
    Man(generate::ManArgs),
    Version(generate::VersionArgs),
}
