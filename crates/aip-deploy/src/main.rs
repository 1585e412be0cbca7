//! `aip-deploy`: see the library of the same name.

use std::process::ExitCode;
use std::sync::Arc;

use aip_apply::apply::NoFailPoints;

#[tokio::main]
async fn main() -> ExitCode {
    aip_deploy::main(Arc::new(NoFailPoints)).await
}
