//! What a piece of work costs the database: how many statements, how long they took, and how long
//! it waited for a connection.
//!
//! Whoever wants to know wraps the work in [`counted`]; implementations of the storage traits
//! [`add`] each statement. The tally belongs to the task: what the work spawns is not part of it.

use std::cell::Cell;
use std::time::Duration;

/// What was used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Statements sent, `BEGIN` and `COMMIT` aside.
    pub statements: u32,
    /// Time from sending statements to their answers, `BEGIN` and `COMMIT` included.
    pub took: Duration,
    /// Time until there was a connection to send them on.
    pub waited: Duration,
}

tokio::task_local! {
    static TALLY: Cell<Tally>;
}

/// Does the work and tells what it used of the database.
pub async fn counted<F: Future>(work: F) -> (F::Output, Tally) {
    TALLY
        .scope(Cell::new(Tally::default()), async {
            let output = work.await;
            (output, TALLY.with(Cell::get))
        })
        .await
}

/// Adds to the tally of the present work, if anybody keeps one.
pub fn add(used: Tally) {
    // An error says that nobody does.
    let _ = TALLY.try_with(|tally| {
        let so_far = tally.get();
        tally.set(Tally {
            statements: so_far.statements.saturating_add(used.statements),
            took: so_far.took.saturating_add(used.took),
            waited: so_far.waited.saturating_add(used.waited),
        });
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Tally = Tally {
        statements: 1,
        took: Duration::from_millis(2),
        waited: Duration::from_millis(1),
    };

    #[tokio::test]
    async fn each_work_has_a_tally_of_its_own() {
        let work = |count: u32| {
            counted(async move {
                for _ in 0..count {
                    add(ONE);
                    tokio::task::yield_now().await;
                }
            })
        };
        let (((), two), ((), three)) = tokio::join!(work(2), work(3));

        assert_eq!((two.statements, three.statements), (2, 3));
        assert_eq!(two.took, Duration::from_millis(4));
        assert_eq!(three.waited, Duration::from_millis(3));
    }

    #[test]
    fn work_of_which_nobody_keeps_a_tally_is_done_all_the_same() {
        add(ONE);
    }
}
