//! `aip-deploy` for tests: it stops at the fail point that `FAIL_POINT` names, says so on standard output
//! and waits to be killed. The program itself stops nowhere.

use std::process::ExitCode;
use std::sync::Arc;

use aip_apply::apply::{FailPoint, FailPoints};
use async_trait::async_trait;

struct StopAt(String);

#[async_trait]
impl FailPoints for StopAt {
    async fn reached(&self, point: FailPoint) {
        if point.to_string() == self.0 {
            #[allow(clippy::print_stdout, reason = "the test reads it")]
            {
                println!("stopped at {point}");
            }
            std::future::pending::<()>().await;
        }
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    #[allow(
        clippy::disallowed_methods,
        reason = "set by the test for this program alone"
    )]
    let point = std::env::var("FAIL_POINT").unwrap_or_default();
    aip_deploy::main(Arc::new(StopAt(point))).await
}
