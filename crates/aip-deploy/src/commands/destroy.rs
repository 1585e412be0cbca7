//! `destroy`: deletes every object of the stack.

use std::time::Duration;

use clap::Args;

use crate::commands::failure::CommandError;
use crate::context::{Context, SecretsMode};
use crate::workflow::destroy::{Destruction, destroy};

/// Delete all objects of the stack
#[derive(Debug, Args)]
#[command(after_help = examples!["destroy", "destroy --stack dev --yes --timeout 120", "destroy --delete-data aip-postgres"])]
pub(crate) struct DestroyArgs {
    /// Skip the confirmation prompt
    #[arg(short, long)]
    yes: bool,
    /// Time limit for the deletion, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    timeout: u64,
    /// Also delete the protected objects of this name, with the data in them; may be repeated
    #[arg(long, value_name = "NAME")]
    delete_data: Vec<String>,
}

impl DestroyArgs {
    pub(crate) async fn run(self, ctx: &Context) -> Result<(), CommandError> {
        let stack = ctx.open_stack().await?;
        // What is deleted does not depend on secrets: no passphrase is needed.
        let target = stack.target(SecretsMode::Placeholder).await?;
        let destruction = Destruction {
            yes: self.yes,
            timeout: Duration::from_secs(self.timeout),
            delete_data: &self.delete_data,
        };
        destroy(&stack, &target, destruction).await
    }
}
