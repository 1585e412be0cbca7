//! What the log line of a request says of work that other crates do for it: who asked, how long other
//! servers took, and what it cost the database. It is noted where it becomes known; nothing ever decides
//! by it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

tokio::task_local! {
    static NOTES: Arc<RequestNotes>;
}

/// Notes about one request. Outside a request, notes go nowhere.
#[derive(Debug, Default)]
pub struct RequestNotes {
    client: OnceLock<String>,
    account: OnceLock<String>,
    upstream_calls: AtomicU64,
    upstream_micros: AtomicU64,
    statements: AtomicU64,
    execute_nanos: AtomicU64,
    acquire_nanos: AtomicU64,
}

/// What a piece of work costs the database.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct QueryStats {
    /// Statements sent, `BEGIN` and `COMMIT` aside.
    pub statements: u64,
    /// Time from sending statements to their answers, `BEGIN` and `COMMIT` included.
    pub execute_time: Duration,
    /// Time until there was a connection to send them on.
    pub acquire_time: Duration,
}

impl RequestNotes {
    /// Does `work`, which notes things here.
    pub async fn during<F: Future>(self: Arc<Self>, work: F) -> F::Output {
        NOTES.scope(self, work).await
    }

    /// Does `work` for the present request, if there is one, in a task of its own: a task does not
    /// inherit the notes of the one that started it.
    pub fn carried_into<F: Future>(work: F) -> impl Future<Output = F::Output> {
        let notes = NOTES.try_with(Arc::clone).unwrap_or_default();
        notes.during(work)
    }

    /// Notes which client asks, once it is known for sure.
    pub fn note_client(id: &str) {
        Self::with(|notes| drop(notes.client.set(id.to_owned())));
    }

    /// Notes whose account it is about.
    pub fn note_account(did: &str) {
        Self::with(|notes| drop(notes.account.set(did.to_owned())));
    }

    /// Notes a call on another server.
    pub fn note_upstream(took: Duration) {
        Self::with(|notes| {
            let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
            notes.upstream_calls.fetch_add(1, Ordering::Relaxed);
            notes.upstream_micros.fetch_add(micros, Ordering::Relaxed);
        });
    }

    /// Notes what a statement cost the database.
    pub fn note_query(used: QueryStats) {
        Self::with(|notes| {
            let add = |total: &AtomicU64, time: Duration| {
                let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
                total.fetch_add(nanos, Ordering::Relaxed);
            };
            notes
                .statements
                .fetch_add(used.statements, Ordering::Relaxed);
            add(&notes.execute_nanos, used.execute_time);
            add(&notes.acquire_nanos, used.acquire_time);
        });
    }

    /// What it cost the database.
    pub fn query_stats(&self) -> QueryStats {
        let time = |total: &AtomicU64| Duration::from_nanos(total.load(Ordering::Relaxed));
        QueryStats {
            statements: self.statements.load(Ordering::Relaxed),
            execute_time: time(&self.execute_nanos),
            acquire_time: time(&self.acquire_nanos),
        }
    }

    /// The client that asks.
    pub fn client(&self) -> Option<&str> {
        self.client.get().map(String::as_str)
    }

    /// The account it is about.
    pub fn account(&self) -> Option<&str> {
        self.account.get().map(String::as_str)
    }

    /// How many calls on other servers it took.
    pub fn upstream_calls(&self) -> u64 {
        self.upstream_calls.load(Ordering::Relaxed)
    }

    /// How long these calls took together.
    pub fn upstream_time(&self) -> Duration {
        Duration::from_micros(self.upstream_micros.load(Ordering::Relaxed))
    }

    fn with(note: impl FnOnce(&Self)) {
        // Work that no request waits for has no notes.
        let _ = NOTES.try_with(|notes| note(notes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE_QUERY: QueryStats = QueryStats {
        statements: 1,
        execute_time: Duration::from_millis(2),
        acquire_time: Duration::from_millis(1),
    };

    #[tokio::test]
    async fn what_a_request_does_is_noted_for_it_alone() {
        let (one, other) = (Arc::default(), Arc::<RequestNotes>::default());
        let work = |client: &'static str| async move {
            RequestNotes::note_client(client);
            tokio::task::yield_now().await;
            RequestNotes::note_upstream(Duration::from_millis(2));
            RequestNotes::note_query(ONE_QUERY);
            let task = tokio::spawn(RequestNotes::carried_into(async {
                RequestNotes::note_upstream(Duration::from_millis(3));
                RequestNotes::note_query(ONE_QUERY);
            }));
            task.await.unwrap();
        };
        let first: Arc<RequestNotes> = Arc::clone(&one);
        tokio::join!(
            first.during(work("photo-book")),
            Arc::clone(&other).during(work("another")),
        );
        assert_eq!(one.client(), Some("photo-book"));
        assert_eq!(other.client(), Some("another"));
        assert_eq!(one.upstream_calls(), 2);
        assert_eq!(one.upstream_time(), Duration::from_millis(5));
        let two = QueryStats {
            statements: 2,
            execute_time: Duration::from_millis(4),
            acquire_time: Duration::from_millis(2),
        };
        assert_eq!(one.query_stats(), two);
        assert_eq!(one.account(), None);
    }

    #[test]
    fn a_note_outside_a_request_goes_nowhere() {
        RequestNotes::note_account("did:plc:nobody");
        RequestNotes::note_upstream(Duration::from_secs(1));
        RequestNotes::note_query(ONE_QUERY);
    }
}
