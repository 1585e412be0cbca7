//! `image`: the container image of a release, which brings no registry of its own.

use std::path::PathBuf;

use aip_apply::registry::{PushError, PushImageError, push};
use clap::{Args, Subcommand};

use crate::context::Context;
use crate::exit::Exit;

/// Push the container image of a release to a registry
#[derive(Debug, Args)]
#[command(after_help = examples![
    "image push aip-0.1.0-image.tar registry.example.org/aip:v0.1.0",
    "image push aip-0.1.0-image.tar 127.0.0.1:5000/aip:v0.1.0",
])]
pub(crate) struct ImageArgs {
    #[command(subcommand)]
    command: ImageCommand,
}

#[derive(Debug, Subcommand)]
enum ImageCommand {
    /// Push an image, and print the digest that its tag means from now on
    Push(PushArgs),
}

/// As the user of `REGISTRY_USER` and `REGISTRY_PASSWORD`, or whom `docker login` knows. Nothing of the state or of a
/// cluster is needed.
#[derive(Debug, Args)]
#[command(after_help = examples![
    "image push aip-0.1.0-image.tar registry.example.org/aip:v0.1.0",
    "image push aip-0.1.0-image.tar 127.0.0.1:5000/aip:v0.1.0",
])]
struct PushArgs {
    /// The file `aip-VERSION-image.tar` of a release, or the folder of an OCI layout
    file: PathBuf,
    /// Where to, as REGISTRY/REPOSITORY:TAG
    reference: String,
}

#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub(crate) struct ImageError(#[from] PushImageError);

impl ImageArgs {
    pub(crate) async fn run(self, ctx: &Context) -> Result<(), ImageError> {
        let ImageCommand::Push(args) = self.command;
        // A path is one of `--cwd`, as with every command.
        let file = ctx.folder.join(&args.file);
        let pushed = push(&file, &args.reference, &ctx.environment).await?;
        for warning in &pushed.warnings {
            ctx.screen.status(format!("warning: {warning}"));
        }
        let digest = pushed.digest;
        ctx.screen
            .line(format!("pushed {}@{digest}", args.reference));
        Ok(())
    }
}

impl ImageError {
    pub(crate) fn exit(&self) -> Exit {
        match &self.0 {
            PushImageError::IncompleteLogin
            | PushImageError::Push(PushError::Reference(_) | PushError::Layout(_)) => Exit::Usage,
            PushImageError::Credentials(_) | PushImageError::Push(PushError::NotAllowed { .. }) => {
                Exit::Authentication
            }
            PushImageError::Push(PushError::Registry { .. } | PushError::WithoutSbom { .. }) => {
                Exit::Failed
            }
        }
    }
}
