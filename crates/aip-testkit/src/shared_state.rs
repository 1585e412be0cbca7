//! What every implementation of the shared traits holds: one contract, run on each of them.

use std::collections::BTreeSet;
use std::time::Duration;

use aip_atproto::{Did, Origin};
use aip_base::Timestamp;
use aip_storage::nonces::{ReceivedNonce, ServerRole, SharedNonces};
use aip_storage::notices::{Notice, Notices};
use aip_storage::rates::{Quota, RateLimits, Verdict};
use futures_util::future::join_all;
use futures_util::stream::{BoxStream, StreamExt as _};
use tokio::time::{Instant, timeout};

/// How long a notice may take.
const NOTICE_TIMEOUT: Duration = Duration::from_secs(20);

/// Not a round number, so that arithmetic in anything but whole microseconds shows.
const NOW: Timestamp = Timestamp::from_micros(1_767_225_600_123_457);

/// Runs all that holds for rate limits.
pub async fn rate_limits_hold(rates: &dyn RateLimits) {
    a_burst_is_permitted_and_then_one_at_a_time(rates).await;
    a_refused_call_is_not_counted(rates).await;
    keys_are_apart(rates).await;
    callers_at_the_same_time_get_what_the_quota_says(rates).await;
}

async fn a_burst_is_permitted_and_then_one_at_a_time(rates: &dyn RateLimits) {
    let quota = Quota {
        burst: 3,
        every: Duration::from_micros(20_000_001),
    };
    let take = |at| rates.take("burst", quota, at);
    for _ in 0..3 {
        assert_eq!(take(NOW).await.unwrap(), Verdict::Permitted);
    }
    let half = Duration::from_secs(10);
    let retry_after = Duration::from_micros(10_000_001);
    assert_eq!(
        take(NOW + half).await.unwrap(),
        Verdict::Refused { retry_after }
    );
    let due = NOW + half + retry_after;
    let micro = Duration::from_micros(1);
    assert_eq!(
        take(due - micro).await.unwrap(),
        Verdict::Refused { retry_after: micro }
    );
    assert_eq!(take(due).await.unwrap(), Verdict::Permitted);
    assert_eq!(
        take(due).await.unwrap(),
        Verdict::Refused {
            retry_after: quota.every
        }
    );
    // Quiet for long: the whole burst again, and no more than that.
    let later = due + Duration::from_hours(2);
    for _ in 0..3 {
        assert_eq!(take(later).await.unwrap(), Verdict::Permitted);
    }
    assert_ne!(take(later).await.unwrap(), Verdict::Permitted);
}

async fn a_refused_call_is_not_counted(rates: &dyn RateLimits) {
    let quota = Quota {
        burst: 1,
        every: Duration::from_mins(1),
    };
    let first = rates.take("refused", quota, NOW).await.unwrap();
    assert_eq!(first, Verdict::Permitted);
    for _ in 0..10 {
        let verdict = rates.take("refused", quota, NOW).await.unwrap();
        let retry_after = quota.every;
        assert_eq!(verdict, Verdict::Refused { retry_after });
    }
    let after = rates.take("refused", quota, NOW + quota.every).await;
    assert_eq!(after.unwrap(), Verdict::Permitted);
}

async fn keys_are_apart(rates: &dyn RateLimits) {
    let quota = Quota {
        burst: 1,
        every: Duration::from_hours(1),
    };
    for key in [
        "apart:2001:db8::/64",
        "apart:192.0.2.1",
        "apart:it's \"1\" %s",
    ] {
        assert_eq!(
            rates.take(key, quota, NOW).await.unwrap(),
            Verdict::Permitted
        );
        assert_ne!(
            rates.take(key, quota, NOW).await.unwrap(),
            Verdict::Permitted
        );
    }
}

async fn callers_at_the_same_time_get_what_the_quota_says(rates: &dyn RateLimits) {
    let quota = Quota {
        burst: 10,
        every: Duration::from_hours(1),
    };
    let calls = (0..50).map(|_| rates.take("crowd", quota, NOW));
    let verdicts = join_all(calls).await;
    let permitted = verdicts
        .into_iter()
        .filter(|verdict| *verdict.as_ref().unwrap() == Verdict::Permitted);
    assert_eq!(permitted.count(), 10);
}

/// Runs all that holds for shared nonces.
pub async fn shared_nonces_hold(nonces: &dyn SharedNonces) {
    let one = Origin::parse("https://one.example").unwrap();
    let two = Origin::parse("https://two.example:8443").unwrap();
    let role = ServerRole::Authorization;
    assert_eq!(nonces.newest_nonce(role, &one).await.unwrap(), None);

    let given = |nonce: &str, seconds| ReceivedNonce {
        nonce: nonce.to_owned(),
        at: NOW + Duration::from_secs(seconds),
    };
    let (old, new, newer) = (
        given("old", 0),
        given("n-e.w~ 'x' %s", 5),
        given("newer", 6),
    );
    nonces.offer_nonce(role, &one, &new).await.unwrap();
    assert_eq!(
        nonces.newest_nonce(role, &one).await.unwrap().as_ref(),
        Some(&new)
    );
    nonces.offer_nonce(role, &one, &old).await.unwrap();
    assert_eq!(
        nonces.newest_nonce(role, &one).await.unwrap().as_ref(),
        Some(&new)
    );
    nonces.offer_nonce(role, &one, &newer).await.unwrap();
    assert_eq!(
        nonces.newest_nonce(role, &one).await.unwrap().as_ref(),
        Some(&newer)
    );
    // Nonces never cross over.
    let resource = nonces.newest_nonce(ServerRole::Resource, &one).await;
    assert_eq!(resource.unwrap(), None);
    assert_eq!(nonces.newest_nonce(role, &two).await.unwrap(), None);

    // Of many offers at the same time the newest stays.
    let offers: Vec<_> = (0..20)
        .map(|at| given(&format!("nonce {at}"), at * 7 % 20))
        .collect();
    join_all(offers.iter().map(|it| nonces.offer_nonce(role, &two, it))).await;
    let kept = nonces.newest_nonce(role, &two).await.unwrap().unwrap();
    assert_eq!(kept.at, NOW + Duration::from_secs(19));
}

/// What one replica publishes, every replica hears, itself included.
///
/// Hand in two ends of the same thing: two connections, or the same one twice.
pub async fn notices_hold(here: &dyn Notices, there: &dyn Notices) {
    let mut listeners = [here.subscribe(), here.subscribe(), there.subscribe()];
    let row = "0192f3a4-7b1c-7def-8abc-0123456789ab";
    let settled = Notice::SessionSettled(row.parse().unwrap());
    for listener in &mut listeners {
        until_heard(here, &settled, listener).await;
        until_heard(there, &settled, listener).await;
    }
    let dids: BTreeSet<String> = (0..20)
        .map(|n| format!("did:web:host{n}.example"))
        .collect();
    for did in &dids {
        let did = Did::parse(did).unwrap();
        here.publish(&Notice::IdentityChanged(did)).await;
    }
    for listener in &mut listeners {
        let mut missing = dids.clone();
        while !missing.is_empty() {
            let heard = timeout(NOTICE_TIMEOUT, listener.next()).await;
            if let Some(Notice::IdentityChanged(did)) = heard.expect("a notice in time") {
                missing.remove(did.as_str());
            }
        }
    }
}

/// Publishes until it is heard: a listener may need a moment before it listens.
pub async fn until_heard(
    publisher: &dyn Notices,
    notice: &Notice,
    listener: &mut BoxStream<'static, Notice>,
) {
    let deadline = Instant::now() + NOTICE_TIMEOUT;
    loop {
        assert!(Instant::now() < deadline, "{notice:?} is not heard");
        publisher.publish(notice).await;
        while let Ok(heard) = timeout(Duration::from_millis(200), listener.next()).await {
            if heard.expect("the stream never ends") == *notice {
                return;
            }
        }
    }
}
