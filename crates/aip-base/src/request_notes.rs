//! What the log line of a request says of work that other crates do for it: who asked, and how long
//! other servers took. It is noted where it becomes known; nothing ever decides by it.

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

    #[tokio::test]
    async fn what_a_request_does_is_noted_for_it_alone() {
        let (one, other) = (Arc::default(), Arc::<RequestNotes>::default());
        let work = |client: &'static str| async move {
            RequestNotes::note_client(client);
            tokio::task::yield_now().await;
            RequestNotes::note_upstream(Duration::from_millis(2));
            let task = tokio::spawn(RequestNotes::carried_into(async {
                RequestNotes::note_upstream(Duration::from_millis(3));
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
        assert_eq!(one.account(), None);
    }

    #[test]
    fn a_note_outside_a_request_goes_nowhere() {
        RequestNotes::note_account("did:plc:nobody");
        RequestNotes::note_upstream(Duration::from_secs(1));
    }
}
