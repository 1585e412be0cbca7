//! One file (or folder) per command, and the table of them. A command is a struct of its arguments
//! with a `run`.

pub mod adopt;
pub mod apply_flags;
pub mod config;
pub mod destroy;
pub mod doctor;
pub mod drift;
pub mod failure;
pub mod generate;
pub mod keys;
pub mod lock;
pub mod login;
pub mod preview;
pub mod render;
pub mod repin;
pub mod rollback;
pub mod rollout;
pub mod stack;
pub mod up;

use clap::Subcommand;

use crate::context::Context;
use crate::exit::Exit;

/// A command that failed: what to say, and the exit code.
pub type Failure = (Box<dyn std::error::Error>, Exit);

/// Declares the commands: name and arguments, and `=> await` behind those whose `run` is asynchronous.
macro_rules! commands {
    ($($name:ident($args:ty) $(=> $wait:tt)?,)+) => {
        /// A command with its arguments.
        #[derive(Debug, Subcommand)]
        pub enum Command {
            $(#[allow(missing_docs, reason = "clap shows the documentation of the arguments")]
            $name($args),)+
        }

        impl Command {
            /// Runs the command.
            pub async fn run(self, ctx: &Context) -> Result<(), Failure> {
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
    Doctor(doctor::DoctorArgs) => await,
    Completions(generate::CompletionsArgs),
    Man(generate::ManArgs),
    Version(generate::VersionArgs),
}
