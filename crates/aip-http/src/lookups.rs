//! Looking up who somebody is for callers with an access token: bounded in number, in time, and in how
//! many are under way, so that it takes nothing from sign-ins. What is found stays in the bounded cache
//! of the resolver and nowhere else.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aip_atproto::Did;
use aip_base::{Blame, HttpError, lock};
use aip_pds::ResolveError;
use aip_storage::client::ClientId;
use aip_storage::grant::Grant;
use http::StatusCode;
use http::header::RETRY_AFTER;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use crate::api_error::ApiError;
use crate::state::AppState;
use crate::subject_quota::{Asking, SubjectQuota};

/// How many are under way at once in this process: of one account in one app, of one app, and of all.
/// Others wait for their turn.
const OF_ACCOUNT: usize = 8;
const OF_CLIENT: usize = 16;
const OF_ALL: usize = 64;
/// Above so many shares those that nobody uses are forgotten.
const MAX_SHARES: usize = 1024;
/// How long all that one request asks for may take.
const DEADLINE: Duration = Duration::from_secs(20);

/// What bounds the look-ups of this process.
pub(crate) struct Lookups {
    subjects: SubjectQuota,
    shares: Mutex<HashMap<Asking, Arc<Semaphore>>>,
    all: Semaphore,
}

/// Why somebody was not found, as callers are told.
#[derive(Debug)]
pub(crate) enum LookupError {
    /// The resolver says so.
    Resolve(ResolveError),
    /// It took too long.
    Deadline,
}

impl Default for Lookups {
    fn default() -> Self {
        Self {
            subjects: SubjectQuota::default(),
            shares: Mutex::default(),
            all: Semaphore::new(OF_ALL),
        }
    }
}

impl Lookups {
    /// Counts so many subjects that a call under `grant` asks about, unless they are too many: 429.
    pub(crate) fn count(
        &self,
        app: &AppState,
        grant: &Grant,
        subjects: usize,
    ) -> Result<(), ApiError> {
        if !app.parts().limiter.is_on() {
            return Ok(());
        }
        let (client, account) = (&grant.client_id, &grant.subject);
        let taken = self.subjects.take(client, account, subjects, app.now());
        taken.map_err(|wait| {
            metrics::counter!("aip_rate_limited_total", "limit" => "lookups").increment(1);
            let seconds = wait.as_micros().div_ceil(1_000_000).max(1);
            ApiError::caller(
                StatusCode::TOO_MANY_REQUESTS,
                "RateLimitExceeded",
                format!("too many look-ups; these are permitted in {seconds} s"),
            )
            .with_detail(Blame::Caller, "over the limit `lookups`")
            .with(RETRY_AFTER, &seconds.to_string())
        })
    }

    /// When a request that begins now has to be answered.
    pub(crate) fn deadline() -> Instant {
        Instant::now() + DEADLINE
    }

    /// Looks somebody up for `account` in `client`, once it is its turn.
    pub(crate) async fn run<T>(
        &self,
        client: &ClientId,
        account: &Did,
        deadline: Instant,
        lookup: impl Future<Output = Result<T, ResolveError>>,
    ) -> Result<T, LookupError> {
        let in_turn = async {
            // The narrowest first: who waits for it holds nothing that others need. They are never
            // closed, and without them the look-up would run all the same.
            let account = Asking::Account(client.clone(), account.clone());
            let _of_account = self.share(account, OF_ACCOUNT).acquire_owned().await;
            let client = Asking::Client(client.clone());
            let _of_client = self.share(client, OF_CLIENT).acquire_owned().await;
            let _of_all = self.all.acquire().await;
            lookup.await
        };
        match timeout_at(deadline, in_turn).await {
            Ok(found) => found.map_err(LookupError::Resolve),
            Err(_) => Err(LookupError::Deadline),
        }
    }

    fn share(&self, asking: Asking, places: usize) -> Arc<Semaphore> {
        let mut shares = lock(&self.shares);
        if let Some(share) = shares.get(&asking) {
            return Arc::clone(share);
        }
        if shares.len() >= MAX_SHARES {
            // A permit holds its semaphore: those with one owner are idle.
            shares.retain(|_, share| Arc::strong_count(share) > 1);
        }
        let share = Arc::new(Semaphore::new(places));
        shares.insert(asking, Arc::clone(&share));
        share
    }
}

impl LookupError {
    /// Status, error and words, as the lexicons of `com.atproto.identity` name them.
    pub(crate) fn told(&self) -> (StatusCode, &'static str, String) {
        let unknown = StatusCode::BAD_REQUEST;
        let (status, code) = match self {
            Self::Resolve(error) => match error {
                ResolveError::HandleNotResolvable(_)
                | ResolveError::HandleNotFound(_)
                | ResolveError::HandleAmbiguous(_) => (unknown, "HandleNotFound"),
                ResolveError::DidNotFound(_) => (unknown, "DidNotFound"),
                ResolveError::DidTombstoned(_) => (unknown, "DidDeactivated"),
                ResolveError::BadDocument { .. }
                | ResolveError::NoPds(_)
                | ResolveError::Unavailable { .. } => (StatusCode::BAD_GATEWAY, "UpstreamFailure"),
            },
            Self::Deadline => (StatusCode::GATEWAY_TIMEOUT, "UpstreamTimeout"),
        };
        let words = match self {
            Self::Resolve(error) => error.to_string(),
            Self::Deadline => HttpError::Deadline(DEADLINE).to_string(),
        };
        (status, code, words)
    }
}

impl From<LookupError> for ApiError {
    fn from(error: LookupError) -> Self {
        let (status, code, words) = error.told();
        let blame = if status == StatusCode::BAD_REQUEST {
            Blame::Caller
        } else {
            Blame::Upstream
        };
        let detail = words.clone();
        Self::caller(status, code, words).with_detail(blame, detail)
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use futures_util::FutureExt as _;
    use futures_util::future::join_all;

    use super::*;

    fn asking(client: &str, account: usize) -> (ClientId, Did) {
        let account = Did::parse(&format!("did:web:a{account}.example")).unwrap();
        (client.parse().unwrap(), account)
    }

    /// Whether one who asks now gets an answer at once.
    fn is_served(lookups: &Lookups, client: &str, account: usize) -> bool {
        let (client, account) = asking(client, account);
        let mut run = Box::pin(lookups.run(&client, &account, Lookups::deadline(), ready(Ok(7))));
        run.as_mut().now_or_never().is_some()
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_uses_up_what_others_have_and_every_place_is_free_again() {
        let lookups = Lookups::default();
        let stuck = async |client: &str, account: usize| {
            let (client, account) = asking(client, account);
            let never = pending::<Result<(), ResolveError>>();
            let run = lookups.run(&client, &account, Lookups::deadline(), never);
            let (status, code, _) = run.await.unwrap_err().told();
            assert_eq!((status.as_u16(), code), (504, "UpstreamTimeout"));
        };
        let of_one_account = join_all((0..20).map(|_| stuck("app", 0)));
        let look = async {
            tokio::task::yield_now().await;
            assert!(!is_served(&lookups, "app", 0));
            assert!(is_served(&lookups, "app", 1));
        };
        tokio::join!(of_one_account, look);
        let of_one_app = join_all((0..20).map(|account| stuck("app", account)));
        let look = async {
            tokio::task::yield_now().await;
            assert!(!is_served(&lookups, "app", 30));
            assert!(is_served(&lookups, "other", 30));
        };
        tokio::join!(of_one_app, look);
        assert!(is_served(&lookups, "app", 0));
    }

    #[test]
    fn shares_that_nobody_uses_are_forgotten() {
        let lookups = Lookups::default();
        for account in 0..MAX_SHARES * 3 {
            let (client, account) = asking("app", account);
            drop(lookups.share(Asking::Account(client, account), OF_ACCOUNT));
            assert!(lock(&lookups.shares).len() <= MAX_SHARES);
        }
    }
}
