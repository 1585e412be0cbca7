//! Tasks that run as long as the process does: one that panics is begun anew.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt as _;

/// From a panic to the next begin: a task that panics each time must not fill the log.
const RESTART_PAUSE: Duration = Duration::from_secs(5);

/// Runs `task`, and again five seconds after each panic, until it returns or this is dropped. A panic
/// is a defect that the panic hook has logged and counted; it ends neither what else its process does nor, for
/// good, the task itself. `name` is for the log.
///
/// What a `task` leaves behind when it is dropped at any point must be consistent: a panic is one more way to
/// be dropped.
pub async fn supervise<T: Future<Output = ()>>(name: &'static str, task: impl Fn() -> T) {
    loop {
        let ended = AssertUnwindSafe(task()).catch_unwind().await;
        if ended.is_ok() {
            return;
        }
        tracing::error!(task = name, "background task panicked, starting it again");
        tokio::time::sleep(RESTART_PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_task_that_panics_is_begun_anew_after_a_pause_and_one_that_returns_is_not() {
        for panics in [0, 1, 5] {
            let begun = Cell::new(0_u32);
            let start = Instant::now();
            supervise("test", || async {
                begun.set(begun.get() + 1);
                tokio::task::yield_now().await;
                assert!(begun.get() > panics, "a defect");
            })
            .await;
            assert_eq!(begun.get(), panics + 1);
            assert!(start.elapsed() >= RESTART_PAUSE * panics, "{panics}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_panic_ends_no_task_beside_it() {
        let ticks = Cell::new(0_u32);
        let broken = supervise("broken", || async { panic!("a defect") });
        let sound = async {
            for _ in 0..100 {
                tokio::time::sleep(Duration::from_secs(1)).await;
                ticks.set(ticks.get() + 1);
            }
        };
        tokio::select! {
            () = broken => panic!("it never returns"),
            () = sound => {}
        }
        assert_eq!(ticks.get(), 100);
    }
}
