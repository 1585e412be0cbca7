//! `aip-deploy`: see the library of the same name.

use std::process::ExitCode;

use aip_base::Environment;
use aip_deploy::cli;

#[tokio::main]
async fn main() -> ExitCode {
    #[allow(
        clippy::disallowed_methods,
        reason = "the environment enters the program here, and nowhere else"
    )]
    let environment =
        Environment::new(std::env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        }));
    cli::run(std::env::args_os().collect(), environment)
        .await
        .into()
}
