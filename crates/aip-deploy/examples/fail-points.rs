//! `aip-deploy` for tests: it stops at the fail point that `FAIL_POINT` names, the first time or the number of
//! times that `FAIL_POINT_PASSES` says, tells so on standard output and waits to be killed. The program itself
//! stops nowhere.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use aip_apply::apply::{FailPoint, FailPoints};
use async_trait::async_trait;

struct StopAt {
    point: String,
    passes_left: AtomicU32,
}

#[async_trait]
impl FailPoints for StopAt {
    async fn reached(&self, point: FailPoint) {
        if point.to_string() == self.point && self.passes_left.fetch_sub(1, Ordering::Relaxed) <= 1
        {
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
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let passes = variable("FAIL_POINT_PASSES").parse().unwrap_or(1);
    let stop_at = StopAt {
        point: variable("FAIL_POINT"),
        passes_left: AtomicU32::new(passes),
    };
    aip_deploy::main(Arc::new(stop_at)).await
}
