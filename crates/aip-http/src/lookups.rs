//! Looking up who somebody is for callers with an access token: bounded in number, in time, and in how
//! many are under way, so that it takes nothing from sign-ins. What is remembered already is answered at once,
//! however many others wait. What is found stays in the bounded cache of the resolver and nowhere else.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aip_base::{Blame, HttpError, lock};
use aip_pds::ResolveError;
use http::StatusCode;
use http::header::RETRY_AFTER;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout, timeout_at};

use crate::api_error::ApiError;
use crate::state::AppState;
use crate::subject_quota::{Requester, SubjectQuota};

/// How many are under way at once in this process: of one account in one app, of one app, and of all.
/// Others wait for their turn. An account has few of its own, so that it takes many accounts to keep the
/// others of their app waiting; while more than half of all places are free, it may have more. What each of
/// them costs a host is bounded where requests go out.
const MAX_PER_ACCOUNT: usize = 3;
const MAX_PER_CLIENT: usize = 48;
const MAX_TOTAL: usize = 256;
/// Above so many shares those that nobody uses are forgotten.
const MAX_SHARES: usize = 1024;
/// How long all that one request asks for may take, with the time that it waits.
const DEADLINE: Duration = Duration::from_secs(20);
/// How long one look-up may take once it is its turn.
const LOOKUP_DEADLINE: Duration = Duration::from_secs(5);

/// What bounds the look-ups of this process.
pub(crate) struct Lookups {
    subjects: SubjectQuota,
    shares: Mutex<HashMap<Requester, Arc<Semaphore>>>,
    all: Arc<Semaphore>,
}

/// Why somebody was not found, as callers see it.
#[derive(Debug)]
pub(crate) enum LookupError {
    /// The resolver says so.
    Resolve(ResolveError),
    /// It took longer than that.
    Deadline(Duration),
    /// The time for all that the request asks for had passed before.
    QueueTimeout,
}

impl Default for Lookups {
    fn default() -> Self {
        Self {
            subjects: SubjectQuota::default(),
            shares: Mutex::default(),
            all: Arc::new(Semaphore::new(MAX_TOTAL)),
        }
    }
}

impl Lookups {
    /// Counts so many subjects that `requester` asks about, unless they are too many: 429.
    pub(crate) fn count(
        &self,
        app: &AppState,
        requester: &Requester,
        subjects: usize,
    ) -> Result<(), ApiError> {
        if !app.parts().limiter.is_on() {
            return Ok(());
        }
        let taken = self.subjects.take(requester, subjects, app.now());
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

    /// Looks somebody up for `requester`: at once if nobody needs to be asked for it, and otherwise when it
    /// is its turn.
    pub(crate) async fn run<T>(
        &self,
        requester: &Requester,
        deadline: Instant,
        is_remembered: bool,
        lookup: impl Future<Output = Result<T, ResolveError>>,
    ) -> Result<T, LookupError> {
        let in_turn = async {
            let _places = if is_remembered {
                None
            } else {
                Some(self.permits(requester).await)
            };
            timeout(LOOKUP_DEADLINE, lookup).await
        };
        match timeout_at(deadline, in_turn).await {
            Ok(Ok(found)) => found.map_err(LookupError::Resolve),
            Ok(Err(_)) => Err(LookupError::Deadline(LOOKUP_DEADLINE)),
            Err(_) => Err(LookupError::QueueTimeout),
        }
    }

    /// The places that a look-up takes. They are never closed, and without them it would run all the same.
    async fn permits(&self, requester: &Requester) -> [Option<OwnedSemaphorePermit>; 3] {
        let client = requester.common();
        let of_account = self.share(requester.clone(), MAX_PER_ACCOUNT);
        let of_client = self.share(client, MAX_PER_CLIENT);
        if of_account.available_permits() == 0
            && let Some([of_client, of_all]) = self.idle_permits(&of_client)
        {
            return [None, Some(of_client), Some(of_all)];
        }
        // The narrowest first: who waits for it holds nothing that others need.
        let of_account = of_account.acquire_owned().await;
        let of_client = of_client.acquire_owned().await;
        let of_all = Arc::clone(&self.all).acquire_owned().await;
        [of_account.ok(), of_client.ok(), of_all.ok()]
    }

    /// Places that nobody is likely to miss.
    fn idle_permits(&self, of_client: &Arc<Semaphore>) -> Option<[OwnedSemaphorePermit; 2]> {
        let are_idle = of_client.available_permits() > MAX_PER_CLIENT / 2
            && self.all.available_permits() > MAX_TOTAL / 2;
        if !are_idle {
            return None;
        }
        let of_client = Arc::clone(of_client).try_acquire_owned().ok()?;
        let of_all = Arc::clone(&self.all).try_acquire_owned().ok()?;
        Some([of_client, of_all])
    }

    fn share(&self, asking: Requester, permits: usize) -> Arc<Semaphore> {
        let mut shares = lock(&self.shares);
        if let Some(share) = shares.get(&asking) {
            return Arc::clone(share);
        }
        if shares.len() >= MAX_SHARES {
            // A permit holds its semaphore: those with one owner are idle.
            shares.retain(|_, share| Arc::strong_count(share) > 1);
        }
        let share = Arc::new(Semaphore::new(permits));
        shares.insert(asking, Arc::clone(&share));
        share
    }
}

impl LookupError {
    /// Whether another time it may be found: it took too long, or its turn did not come.
    pub(crate) fn has_timed_out(&self) -> bool {
        matches!(self, Self::Deadline(_) | Self::QueueTimeout)
    }

    /// Status, error and words, as the lexicons of `com.atproto.identity` name them.
    pub(crate) fn to_error_parts(&self) -> (StatusCode, &'static str, String) {
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
            Self::Deadline(_) | Self::QueueTimeout => {
                (StatusCode::GATEWAY_TIMEOUT, "UpstreamTimeout")
            }
        };
        let words = match self {
            // What a request of AIP met says which names and addresses there are around it.
            Self::Resolve(ResolveError::Unavailable { subject, .. }) => {
                format!("`{subject}` could not be resolved now")
            }
            Self::Resolve(_) | Self::Deadline(_) | Self::QueueTimeout => self.detail(),
        };
        (status, code, words)
    }

    /// All that went wrong, for the log.
    pub(crate) fn detail(&self) -> String {
        match self {
            Self::Resolve(error) => error.to_string(),
            Self::Deadline(after) => HttpError::Deadline(*after).to_string(),
            Self::QueueTimeout => format!(
                "not looked up within the {} s of a request: ask again",
                DEADLINE.as_secs()
            ),
        }
    }
}

impl From<LookupError> for ApiError {
    fn from(error: LookupError) -> Self {
        let (status, code, words) = error.to_error_parts();
        let blame = if status == StatusCode::BAD_REQUEST {
            Blame::Caller
        } else {
            Blame::Upstream
        };
        Self::caller(status, code, words).with_detail(blame, error.detail())
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use aip_atproto::Did;
    use futures_util::future::join_all;
    use futures_util::{FutureExt as _, StreamExt as _, stream};

    use super::*;

    fn asking(client: &str, account: usize) -> Requester {
        let account = Did::parse(&format!("did:web:a{account}.example")).unwrap();
        Requester::Account(client.parse().unwrap(), account)
    }

    /// Whether one who asks now gets an answer at once.
    fn is_told(lookups: &Lookups, client: &str, account: usize, is_remembered: bool) -> bool {
        let requester = asking(client, account);
        let deadline = Lookups::deadline();
        let answer = ready(Ok(7));
        let mut run = Box::pin(lookups.run(&requester, deadline, is_remembered, answer));
        run.as_mut().now_or_never().is_some()
    }

    fn is_served(lookups: &Lookups, client: &str, account: usize) -> bool {
        is_told(lookups, client, account, false)
    }

    /// Until all who wait have had their turn as often as the runtime lets them.
    async fn settle() {
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
    }

    /// Asks for what never comes.
    async fn stuck(lookups: &Lookups, client: &str, account: usize) {
        let requester = asking(client, account);
        let never = pending::<Result<(), ResolveError>>();
        let run = lookups.run(&requester, Lookups::deadline(), false, never);
        let (status, code, _) = run.await.unwrap_err().to_error_parts();
        assert_eq!((status.as_u16(), code), (504, "UpstreamTimeout"));
    }

    #[tokio::test(start_paused = true)]
    async fn an_account_leaves_places_to_its_app_and_every_place_is_free_again() {
        let lookups = Lookups::default();
        const {
            assert!(
                MAX_PER_CLIENT / 2 > MAX_PER_ACCOUNT,
                "it may have more than its own"
            );
        };
        let of_one_account = join_all((0..100).map(|_| stuck(&lookups, "app", 0)));
        let look = async {
            settle().await;
            assert!(!is_served(&lookups, "app", 0));
            let of_app = lookups.share(asking("app", 0).common(), MAX_PER_CLIENT);
            assert_eq!(of_app.available_permits(), MAX_PER_CLIENT / 2);
            assert!(is_told(&lookups, "app", 0, true), "it is remembered");
            for account in 1..10 {
                assert!(is_served(&lookups, "app", account));
            }
        };
        tokio::join!(of_one_account, look);
        assert!(is_served(&lookups, "app", 0));
    }

    #[tokio::test(start_paused = true)]
    async fn it_takes_many_accounts_to_use_up_the_places_of_an_app_and_others_have_their_own() {
        const ENOUGH: usize = MAX_PER_CLIENT / MAX_PER_ACCOUNT;
        let lookups = Lookups::default();
        let few = (ENOUGH - 1) * MAX_PER_ACCOUNT;
        let of_few = join_all((0..few).map(|i| stuck(&lookups, "app", i / MAX_PER_ACCOUNT)));
        let look = async {
            settle().await;
            assert!(is_served(&lookups, "app", 100));
        };
        tokio::join!(of_few, look);
        let many = ENOUGH * MAX_PER_ACCOUNT + 30;
        let of_many = join_all((0..many).map(|i| stuck(&lookups, "app", i / MAX_PER_ACCOUNT)));
        let look = async {
            settle().await;
            assert!(!is_served(&lookups, "app", 100));
            assert!(is_told(&lookups, "app", 100, true), "it is remembered");
            assert!(is_served(&lookups, "other", 100));
        };
        tokio::join!(of_many, look);
        assert!(is_served(&lookups, "app", 100));
    }

    /// So many look-ups of one request, 16 at once, each of which takes that long: how many are told, and
    /// when the last.
    async fn of_one_request(count: usize, each: Duration) -> (usize, Duration) {
        let lookups = &Lookups::default();
        let requester = &asking("app", 0);
        let deadline = Lookups::deadline();
        let began = Instant::now();
        let answers = stream::iter(0..count).map(|_| async move {
            let lookup = async {
                tokio::time::sleep(each).await;
                Ok(7)
            };
            let run = lookups.run(requester, deadline, false, lookup);
            run.await
        });
        let answers: Vec<_> = answers.buffer_unordered(16).collect().await;
        let told = answers.iter().filter(|it| it.is_ok()).count();
        for refused in answers.iter().filter_map(|it| it.as_ref().err()) {
            assert!(refused.has_timed_out(), "{refused:?}");
            assert_eq!(refused.to_error_parts().1, "UpstreamTimeout");
        }
        (told, began.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn a_hundred_are_looked_up_side_by_side_while_places_are_free_and_end_in_time() {
        let seconds = Duration::from_secs;
        let (told, took) = of_one_request(100, seconds(1)).await;
        assert_eq!(told, 100);
        assert!(took < seconds(8), "{took:?}");
        for (each, expected) in [
            (LOOKUP_DEADLINE * 2, 0),
            (Duration::from_millis(4500), 64),
            (Duration::from_millis(3500), 80),
        ] {
            let (told, took) = of_one_request(100, each).await;
            assert_eq!(told, expected, "{each:?}");
            assert!(took >= DEADLINE && took < DEADLINE + seconds(1), "{took:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_does_not_end_makes_its_place_free_before_the_request_ends() {
        let lookups = Lookups::default();
        let began = Instant::now();
        let of_one_account = join_all((0..MAX_PER_ACCOUNT).map(|_| stuck(&lookups, "app", 0)));
        let next = async {
            settle().await;
            let requester = asking("app", 0);
            let deadline = Lookups::deadline();
            let run = lookups.run(&requester, deadline, false, ready(Ok(7)));
            assert_eq!(run.await.ok(), Some(7));
            assert!(began.elapsed() < LOOKUP_DEADLINE * 2);
        };
        tokio::join!(of_one_account, next);
    }

    #[test]
    fn what_a_request_met_is_for_the_log_alone() {
        for reason in [
            "`https://db.corp.example` has no public address",
            "there is no host of this name",
            "no connection: refused",
        ] {
            let error = || {
                LookupError::Resolve(ResolveError::Unavailable {
                    subject: "did:web:db.corp.example".to_owned(),
                    reason: reason.to_owned(),
                })
            };
            let (status, code, words) = error().to_error_parts();
            assert_eq!((status.as_u16(), code), (502, "UpstreamFailure"));
            assert_eq!(words, "`did:web:db.corp.example` could not be resolved now");
            assert!(error().detail().contains(reason));
            assert_eq!(ApiError::from(error()).message(), words);
        }
        let did = Did::parse("did:web:a.example").unwrap();
        let (status, code, words) =
            LookupError::Resolve(ResolveError::DidNotFound(did)).to_error_parts();
        assert_eq!((status.as_u16(), code), (400, "DidNotFound"));
        assert!(words.contains("does not exist"), "{words}");
    }

    #[test]
    fn shares_that_nobody_uses_are_forgotten() {
        let lookups = Lookups::default();
        for account in 0..MAX_SHARES * 3 {
            drop(lookups.share(asking("app", account), MAX_PER_ACCOUNT));
            assert!(lock(&lookups.shares).len() <= MAX_SHARES);
        }
    }
}
