//! The keeper's decisions as tables and laws.

use std::time::Duration;

use aip_atproto::{Did, Issuer, Origin, ScopeSet};
use aip_base::{RowId, SystemRng, Timestamp};
use aip_keys::Sealed;
use aip_storage::client::ClientId;
use aip_storage::refresh::RefreshFailure;
use aip_storage::upstream::{
    Credential, EndReason, Lease, OAuthCredential, ReauthReason, Rejections, SealedTokens,
    UpstreamSession, UpstreamState,
};
use proptest::prelude::*;

use super::*;

const HOUR: Duration = Duration::from_hours(1);
pub(in crate::keeper) const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

/// A session whose access token of one hour has `left` to live.
pub(in crate::keeper) fn session(state: UpstreamState, left: Duration) -> UpstreamSession {
    let sealed = || Sealed::from_stored("v1.k.s.c".to_owned());
    UpstreamSession {
        id: RowId::new(&aip_base::SystemClock, &SystemRng),
        client_id: "app".parse::<ClientId>().unwrap(),
        did: "did:web:alice.test".parse::<Did>().unwrap(),
        pds: Origin::parse("https://pds.test").unwrap(),
        credential: Credential::OAuth(OAuthCredential {
            issuer: Issuer::parse("https://pds.test").unwrap(),
            upstream_client_id: "https://aip.test/oauth-client-metadata.json".to_owned(),
            client_key_id: Some("k1".to_owned()),
            dpop_key: sealed(),
        }),
        scope: "atproto".parse::<ScopeSet>().unwrap(),
        email: None,
        tokens: SealedTokens {
            access: sealed(),
            refresh: Some(sealed()),
            access_expires_at: NOW + left,
        },
        generation: 3,
        state,
        next_refresh_at: NOW + HOUR,
        failures: 0,
        rejected: None,
        last_error: None,
        refreshed_at: NOW + left - HOUR,
        created_at: NOW - HOUR,
    }
}

fn plan(session: &UpstreamSession, trigger: Trigger, now: Timestamp) -> Plan {
    super::plan(&session.status(), trigger, now)
}

fn is_token_usable(session: &UpstreamSession, trigger: Trigger, now: Timestamp) -> bool {
    super::is_token_usable(&session.status(), trigger, now)
}

/// A session after so many failed attempts.
fn failed(failures: u32) -> UpstreamSession {
    UpstreamSession {
        failures,
        ..session(UpstreamState::Active, HOUR)
    }
}

fn lease(until: Timestamp) -> UpstreamState {
    UpstreamState::Refreshing(Lease {
        owner: "other".to_owned(),
        fence: 9,
        until,
    })
}

#[test]
fn a_public_client_knows_when_its_session_ends() {
    let confidential = session(UpstreamState::Active, HOUR);
    assert_eq!(ends_at(&confidential.status()), None);
    let mut public = confidential;
    if let Credential::OAuth(oauth) = &mut public.credential {
        oauth.client_key_id = None;
    }
    assert_eq!(
        ends_at(&public.status()),
        Some(public.created_at + HOUR * 14 * 24)
    );
    public.credential = Credential::AppPassword(Sealed::from_stored("v1.k.s.c".to_owned()));
    assert_eq!(ends_at(&public.status()), None);
}

#[test]
fn a_fresh_token_is_used_and_a_stale_one_refreshed() {
    use UpstreamState::{Active, Uncertain};
    let plan_of = |state, left| plan(&session(state, left), Trigger::Use, NOW);
    assert_eq!(plan_of(Active, HOUR / 2), Plan::Use);
    assert_eq!(plan_of(Active, Duration::from_secs(59)), Plan::Refresh);
    assert_eq!(plan_of(Active, Duration::ZERO), Plan::Refresh);
    assert_eq!(plan_of(Uncertain, Duration::ZERO), Plan::Refresh);
}

#[test]
fn a_held_lease_is_waited_for_and_a_lapsed_one_taken() {
    let later = NOW + Duration::from_secs(5);
    let stale = Duration::ZERO;
    assert_eq!(
        plan(&session(lease(later), stale), Trigger::Use, NOW),
        Plan::Wait(later)
    );
    assert_eq!(
        plan(&session(lease(NOW), stale), Trigger::Use, NOW),
        Plan::Refresh
    );
}

#[test]
fn a_session_that_backs_off_is_used_while_its_token_lives_and_kept_afterwards() {
    let backing_off = |left| UpstreamSession {
        failures: 2,
        ..session(UpstreamState::Active, left)
    };
    let lives = Duration::from_secs(16);
    assert_eq!(plan(&backing_off(lives), Trigger::Use, NOW), Plan::Use);
    // The PDS may find it over when it looks a second time, and end the session.
    for left in [15, 14, 1, 0].map(Duration::from_secs) {
        assert_eq!(
            plan(&backing_off(left), Trigger::Use, NOW),
            Plan::BackOff(NOW + HOUR),
            "{left:?}"
        );
    }
    let due = UpstreamSession {
        next_refresh_at: NOW,
        ..backing_off(Duration::ZERO)
    };
    assert_eq!(plan(&due, Trigger::Use, NOW), Plan::Refresh);
}

/// A session whose access token lives for `life` and has `left` of that.
fn short(life: Duration, left: Duration) -> UpstreamSession {
    UpstreamSession {
        refreshed_at: NOW + left - life,
        ..session(UpstreamState::Active, left)
    }
}

#[test]
fn a_token_is_never_used_in_its_last_tenth_or_15_seconds() {
    let occasions = [Trigger::Use, Trigger::Rejected(2), Trigger::Renewed];
    for (life, closest) in [
        (HOUR, Duration::from_secs(15)),
        (Duration::from_mins(1), Duration::from_secs(6)),
        (Duration::from_secs(2), Duration::from_millis(200)),
    ] {
        let moment = Duration::from_millis(1);
        for trigger in occasions {
            assert!(is_token_usable(
                &short(life, closest + moment),
                trigger,
                NOW
            ));
            assert!(!is_token_usable(&short(life, closest), trigger, NOW));
            assert!(!is_token_usable(&short(life, Duration::ZERO), trigger, NOW));
        }
    }
}

#[test]
fn tokens_that_have_expired_when_they_come_are_not_asked_for_again_by_the_same_call() {
    let life = Duration::from_secs(30);
    let plan_of = |left, trigger| plan(&short(life, left), trigger, NOW);
    let late = Duration::from_secs(2);
    assert_eq!(plan_of(late, Trigger::Use), Plan::Refresh);
    assert_eq!(
        plan_of(late, Trigger::Renewed),
        Plan::BackOff(NOW + Duration::from_secs(2))
    );
    // Soon to be refreshed, and good for now.
    assert_eq!(plan_of(Duration::from_secs(4), Trigger::Renewed), Plan::Use);
}

#[test]
fn a_token_of_no_life_is_refreshed_before_each_use() {
    let none = UpstreamSession {
        refreshed_at: NOW,
        ..session(UpstreamState::Active, Duration::ZERO)
    };
    assert_eq!(plan(&none, Trigger::Use, NOW), Plan::Refresh);
    assert_eq!(plan(&none, Trigger::Renewed, NOW), Plan::Use);
}

#[test]
fn a_rejected_token_is_refreshed_unless_somebody_did_so_meanwhile() {
    let fresh = session(UpstreamState::Active, HOUR);
    assert_eq!(
        plan(&fresh, Trigger::Rejected(fresh.generation), NOW),
        Plan::Refresh
    );
    assert_eq!(
        plan(&fresh, Trigger::Rejected(fresh.generation - 1), NOW),
        Plan::Use
    );
}

#[test]
fn what_has_ended_stays_ended() {
    let ended = session(UpstreamState::Ended(EndReason::GrantRevoked), HOUR);
    assert_eq!(
        plan(&ended, Trigger::Use, NOW),
        Plan::Ended(EndReason::GrantRevoked)
    );
    let moved = session(UpstreamState::NeedsReauth(ReauthReason::Moved), HOUR);
    assert_eq!(
        plan(&moved, Trigger::Use, NOW),
        Plan::Reauthenticate(ReauthReason::Moved)
    );
}

#[test]
fn tokens_of_seconds_are_not_refreshed_all_the_time() {
    let life = Duration::from_secs(10);
    let short = UpstreamSession {
        refreshed_at: NOW,
        ..session(UpstreamState::Active, life)
    };
    assert_eq!(plan(&short, Trigger::Use, NOW), Plan::Use);
}

#[test]
fn a_refusal_after_a_lost_answer_is_distinguished_from_a_plain_one() {
    let settled = |outcome, repeated| settle(outcome, repeated, &failed(0), NOW, &SystemRng);
    assert_eq!(
        settled(Outcome::Refused, false),
        RefreshFailure::NeedsReauth(ReauthReason::Refused)
    );
    assert_eq!(
        settled(Outcome::Refused, true),
        RefreshFailure::NeedsReauth(ReauthReason::LostResponse)
    );
    assert!(matches!(
        settled(Outcome::Unknown, false),
        RefreshFailure::Uncertain(_)
    ));
    // Nothing was learnt about the lost answer, so it is still to be found out.
    let not_spent = Outcome::NotSpent { retry_after: None };
    assert!(matches!(
        settled(not_spent, true),
        RefreshFailure::Uncertain(_)
    ));
    assert!(matches!(
        settled(Outcome::OurFault, true),
        RefreshFailure::Uncertain(_)
    ));
}

/// A session that was refused so often, the first time so long ago, and whose access token has
/// `left` to live.
fn rejected(times: u32, since: Duration, left: Duration) -> UpstreamSession {
    UpstreamSession {
        rejected: Some(Rejections {
            times,
            since: NOW - since,
        }),
        failures: times,
        ..session(UpstreamState::Active, left)
    }
}

#[test]
fn a_server_that_says_no_for_hours_is_believed_whatever_it_calls_that() {
    let over = Duration::ZERO;
    let settled = |session: &UpstreamSession, repeated| {
        settle(Outcome::Rejected, repeated, session, NOW, &SystemRng)
    };
    let dead = RefreshFailure::NeedsReauth(ReauthReason::Refused);
    assert_eq!(settled(&rejected(2, 2 * HOUR, over), false), dead);
    assert_eq!(settled(&rejected(24, 9 * HOUR, over), false), dead);
    assert_eq!(
        settled(&rejected(2, 2 * HOUR, over), true),
        RefreshFailure::NeedsReauth(ReauthReason::LostResponse)
    );
    // Once, too few, too soon, or while the access token lives.
    let first = session(UpstreamState::Active, over);
    for early in [
        first,
        rejected(1, 2 * HOUR, over),
        rejected(24, Duration::from_secs(2 * 3600 - 1), over),
        rejected(24, 9 * HOUR, HOUR / 2),
    ] {
        let settled = settled(&early, false);
        assert!(matches!(settled, RefreshFailure::Rejected(at) if at > NOW));
    }
}

#[test]
fn what_is_our_own_fault_ends_no_session_however_long_it_lasts() {
    let session = rejected(1000, 1000 * HOUR, Duration::ZERO);
    let settled = settle(Outcome::OurFault, false, &session, NOW, &SystemRng);
    assert!(matches!(settled, RefreshFailure::Retry(_)), "{settled:?}");
}

fn claim(fence: i64, sent_under: Option<i64>, uncertain: bool) -> Claim {
    Claim {
        lease: Lease {
            owner: "me".to_owned(),
            fence,
            until: NOW,
        },
        uncertain,
        sent_under,
        paused: false,
    }
}

#[test]
fn the_sender_of_an_unsettled_refresh_is_given_time_before_its_token_is_sent_again() {
    for uncertain in [false, true] {
        // The sender was the holder before: it may come with new tokens yet.
        assert_eq!(
            prior_send(&claim(5, Some(4), uncertain)),
            PriorSend::Unsettled
        );
        // Somebody held the lease in between, which is that time.
        assert_eq!(
            prior_send(&claim(6, Some(4), uncertain)),
            PriorSend::Unknown
        );
    }
    assert_eq!(prior_send(&claim(5, None, true)), PriorSend::Unknown);
    assert_eq!(prior_send(&claim(5, None, false)), PriorSend::Unsent);
}

#[test]
fn what_the_pds_asks_for_is_waited_within_reason() {
    let years = Duration::from_hours(24 * 365 * 3);
    for (asked, waited) in [(HOUR / 3, HOUR / 3), (HOUR, HOUR), (years, HOUR)] {
        let retry_after = Some(asked);
        let outcome = Outcome::NotSpent { retry_after };
        let failure = settle(outcome, false, &failed(0), NOW, &SystemRng);
        assert_eq!(failure, RefreshFailure::Retry(NOW + waited));
    }
}

fn outcomes() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        Just(Outcome::Moved),
        proptest::option::of(0..100_000_u64).prop_map(|secs| Outcome::NotSpent {
            retry_after: secs.map(Duration::from_secs)
        }),
        Just(Outcome::Unknown),
        Just(Outcome::Refused),
        Just(Outcome::Rejected),
        Just(Outcome::OurFault),
        Just(Outcome::NoRefreshToken),
        Just(Outcome::OtherAccount),
    ]
}

/// What a holder of the lease may do.
#[derive(Debug, Clone, Copy)]
enum LeaseHolderAct {
    Dies,
    SendsAndDies,
    FailsUnsent,
}

fn deeds() -> impl Strategy<Value = Vec<LeaseHolderAct>> {
    let deed = prop_oneof![
        Just(LeaseHolderAct::Dies),
        Just(LeaseHolderAct::SendsAndDies),
        Just(LeaseHolderAct::FailsUnsent)
    ];
    proptest::collection::vec(deed, 0..20)
}

proptest! {
    /// A model of the lease, the fence and the journal as the storage has them: between a send and
    /// the next one there is always a whole lease in which its sender could have stored.
    #[test]
    fn between_two_sends_there_is_always_a_lease_in_which_nothing_is_sent(deeds in deeds()) {
        let (mut fence, mut journal, mut uncertain) = (0, None, false);
        let mut sent: Vec<i64> = Vec::new();
        for deed in deeds {
            fence += 1;
            let prior_send = prior_send(&claim(fence, journal, uncertain));
            if prior_send == PriorSend::Unsettled {
                continue;
            }
            match deed {
                LeaseHolderAct::Dies => {}
                LeaseHolderAct::SendsAndDies => {
                    journal = Some(fence);
                    sent.push(fence);
                }
                LeaseHolderAct::FailsUnsent => uncertain = prior_send == PriorSend::Unknown,
            }
        }
        prop_assert!(sent.windows(2).all(|pair| pair[1] - pair[0] > 1), "{sent:?}");
    }

    #[test]
    fn no_failure_that_may_pass_ends_a_session(
        outcome in outcomes(), repeated: bool, failures in 0..1000_u32,
    ) {
        let failure = settle(outcome, repeated, &failed(failures), NOW, &SystemRng);
        let final_outcome = matches!(outcome, Outcome::Moved | Outcome::Refused | Outcome::NoRefreshToken | Outcome::OtherAccount);
        prop_assert_eq!(matches!(failure, RefreshFailure::NeedsReauth(_)), final_outcome);
    }

    #[test]
    fn every_retry_comes_later_and_within_what_was_asked_or_five_minutes(
        outcome in outcomes(), repeated: bool, failures in 0..1000_u32,
    ) {
        let asked = match outcome {
            Outcome::NotSpent { retry_after } => retry_after.unwrap_or_default(),
            _ => Duration::ZERO,
        };
        match settle(outcome, repeated, &failed(failures), NOW, &SystemRng) {
            RefreshFailure::Retry(at)
            | RefreshFailure::Rejected(at)
            | RefreshFailure::Uncertain(at) => {
                prop_assert!(at > NOW && at <= NOW + asked.max(Duration::from_mins(5)));
            }
            RefreshFailure::NeedsReauth(_) => {}
            RefreshFailure::Deferred(_) => prop_assert!(false, "an attempt was made"),
        }
    }
}
