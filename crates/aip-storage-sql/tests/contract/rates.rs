//! Rate limits: a burst at once, then the steady rate, counted over all replicas.

use aip_storage::rates::{Quota, Verdict};

use crate::world::{HOUR, NOW, SECOND, World, at_once};

super::on_both_engines_and_behind_a_pooler!(
    of_many_calls_at_once_the_burst_is_permitted,
    after_the_burst_calls_are_permitted_at_the_steady_rate,
    a_refused_call_does_not_count,
    each_key_has_a_quota_of_its_own,
    a_key_that_was_quiet_bursts_again,
    a_clock_that_is_behind_refuses_no_longer_than_it_is_behind,
);

const QUOTA: Quota = Quota {
    burst: 3,
    every: SECOND,
};

async fn of_many_calls_at_once_the_burst_is_permitted(world: World) {
    let verdicts = at_once(12, |_| {
        let rates = world.database.rate_limits();
        async move { rates.take("key", QUOTA, NOW).await.unwrap() }
    })
    .await;

    let permitted = verdicts.iter().filter(|it| **it == Verdict::Permitted);
    assert_eq!(permitted.count(), 3, "{verdicts:?}");
    for verdict in verdicts {
        if let Verdict::Refused { retry_after } = verdict {
            assert_eq!(retry_after, SECOND);
        }
    }
}

async fn after_the_burst_calls_are_permitted_at_the_steady_rate(world: World) {
    let rates = world.database.rate_limits();
    for _ in 0..3 {
        rates.take("key", QUOTA, NOW).await.unwrap();
    }
    for second in 1..5 {
        let at = NOW + second * SECOND;
        let early = rates.take("key", QUOTA, at - SECOND / 4).await.unwrap();
        assert_eq!(
            early,
            Verdict::Refused {
                retry_after: SECOND / 4
            }
        );
        assert_eq!(
            rates.take("key", QUOTA, at).await.unwrap(),
            Verdict::Permitted
        );
    }
}

async fn a_refused_call_does_not_count(world: World) {
    let rates = world.database.rate_limits();
    for _ in 0..20 {
        rates.take("key", QUOTA, NOW).await.unwrap();
    }
    assert_eq!(
        rates.take("key", QUOTA, NOW + SECOND).await.unwrap(),
        Verdict::Permitted
    );
}

async fn each_key_has_a_quota_of_its_own(world: World) {
    let rates = world.database.rate_limits();
    for _ in 0..4 {
        rates.take("busy", QUOTA, NOW).await.unwrap();
    }
    assert_eq!(
        rates.take("other", QUOTA, NOW).await.unwrap(),
        Verdict::Permitted
    );
}

/// With its row, and after the clean-up has forgotten it.
async fn a_key_that_was_quiet_bursts_again(world: World) {
    let rates = world.database.rate_limits();
    for round in 0..3 {
        let now = NOW + round * HOUR;
        for _ in 0..3 {
            assert_eq!(
                rates.take("key", QUOTA, now).await.unwrap(),
                Verdict::Permitted
            );
        }
        assert_ne!(
            rates.take("key", QUOTA, now).await.unwrap(),
            Verdict::Permitted
        );
        if round > 0 {
            world.storage.purge_expired(now + HOUR, 10).await.unwrap();
        }
    }
}

async fn a_clock_that_is_behind_refuses_no_longer_than_it_is_behind(world: World) {
    let rates = world.database.rate_limits();
    let ahead = NOW + 30 * SECOND;
    rates.take("key", QUOTA, ahead).await.unwrap();

    assert_eq!(
        rates.take("key", QUOTA, NOW).await.unwrap(),
        Verdict::Refused {
            retry_after: 29 * SECOND
        }
    );
}
