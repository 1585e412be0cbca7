//! What a piece of work costs the database: how many statements, how long they took, and how long
//! it waited for a connection.
//!
//! [`measure`] wraps the work; implementations of the storage traits [`add`] each statement. The
//! figures belong to the task: what the work spawns is not part of them.

use std::cell::Cell;
use std::time::Duration;

/// What was used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct QueryStats {
    /// Statements sent, `BEGIN` and `COMMIT` aside.
    pub statements: u32,
    /// Time from sending statements to their answers, `BEGIN` and `COMMIT` included.
    pub execute_time: Duration,
    /// Time until there was a connection to send them on.
    pub acquire_time: Duration,
}

tokio::task_local! {
    static QUERY_STATS: Cell<QueryStats>;
}

/// Does the work and tells what it used of the database.
pub async fn measure<F: Future>(work: F) -> (F::Output, QueryStats) {
    QUERY_STATS
        .scope(Cell::new(QueryStats::default()), async {
            let output = work.await;
            (output, QUERY_STATS.with(Cell::get))
        })
        .await
}

/// Adds to the figures of the work that is being measured, if any is.
pub fn add(used: QueryStats) {
    // An error says that nobody does.
    let _ = QUERY_STATS.try_with(|query_stats| {
        let so_far = query_stats.get();
        query_stats.set(QueryStats {
            statements: so_far.statements.saturating_add(used.statements),
            execute_time: so_far.execute_time.saturating_add(used.execute_time),
            acquire_time: so_far.acquire_time.saturating_add(used.acquire_time),
        });
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: QueryStats = QueryStats {
        statements: 1,
        execute_time: Duration::from_millis(2),
        acquire_time: Duration::from_millis(1),
    };

    #[tokio::test]
    async fn each_work_is_measured_on_its_own() {
        let work = |count: u32| {
            measure(async move {
                for _ in 0..count {
                    add(ONE);
                    tokio::task::yield_now().await;
                }
            })
        };
        let (((), two), ((), three)) = tokio::join!(work(2), work(3));

        assert_eq!((two.statements, three.statements), (2, 3));
        assert_eq!(two.execute_time, Duration::from_millis(4));
        assert_eq!(three.acquire_time, Duration::from_millis(3));
    }

    #[test]
    fn work_that_is_not_measured_is_done() {
        add(ONE);
    }
}
