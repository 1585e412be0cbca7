//! The keeper's decisions as tables and laws.

use std::time::Duration;

use aip_atproto::{Did, Issuer, Origin, ScopeSet};
use aip_base::{RowId, SystemRng, Timestamp};
use aip_keys::Sealed;
use aip_storage::client::ClientId;
use aip_storage::upstream::{
    Credential, EndReason, Lease, OAuthCredential, ReauthReason, RefreshFailure, SealedTokens,
    UpstreamSession, UpstreamState,
};
use proptest::prelude::*;

use super::*;

const HOUR: Duration = Duration::from_hours(1);
const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

/// A session whose access token of one hour has `left` to live.
fn session(state: UpstreamState, left: Duration) -> UpstreamSession {
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
        tokens: SealedTokens {
            access: sealed(),
            refresh: Some(sealed()),
            access_expires_at: NOW + left,
        },
        generation: 3,
        state,
        next_refresh_at: NOW + HOUR,
        failures: 0,
        last_error: None,
        refreshed_at: NOW + left - HOUR,
        created_at: NOW - HOUR,
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
    assert_eq!(ends_at(&confidential), None);
    let mut public = confidential;
    if let Credential::OAuth(oauth) = &mut public.credential {
        oauth.client_key_id = None;
    }
    assert_eq!(ends_at(&public), Some(public.created_at + HOUR * 14 * 24));
    public.credential = Credential::AppPassword(Sealed::from_stored("v1.k.s.c".to_owned()));
    assert_eq!(ends_at(&public), None);
}

#[test]
fn a_fresh_token_is_used_and_a_stale_one_refreshed() {
    use UpstreamState::{Active, Uncertain};
    let plan_of = |state, left| plan(&session(state, left), Occasion::Use, NOW);
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
        plan(&session(lease(later), stale), Occasion::Use, NOW),
        Plan::Wait(later)
    );
    assert_eq!(
        plan(&session(lease(NOW), stale), Occasion::Use, NOW),
        Plan::Refresh
    );
}

#[test]
fn d2_row13_a_session_that_backs_off_is_used_while_its_token_lives_and_kept_afterwards() {
    let backing_off = |left| UpstreamSession {
        failures: 2,
        ..session(UpstreamState::Active, left)
    };
    let lives = Duration::from_secs(30);
    assert_eq!(plan(&backing_off(lives), Occasion::Use, NOW), Plan::Use);
    assert_eq!(
        plan(&backing_off(Duration::ZERO), Occasion::Use, NOW),
        Plan::NotBefore(NOW + HOUR)
    );
    let due = UpstreamSession {
        next_refresh_at: NOW,
        ..backing_off(Duration::ZERO)
    };
    assert_eq!(plan(&due, Occasion::Use, NOW), Plan::Refresh);
}

#[test]
fn a_rejected_token_is_refreshed_unless_somebody_did_so_meanwhile() {
    let fresh = session(UpstreamState::Active, HOUR);
    assert_eq!(
        plan(&fresh, Occasion::Rejected(fresh.generation), NOW),
        Plan::Refresh
    );
    assert_eq!(
        plan(&fresh, Occasion::Rejected(fresh.generation - 1), NOW),
        Plan::Use
    );
}

#[test]
fn what_is_over_stays_over() {
    let ended = session(UpstreamState::Ended(EndReason::GrantRevoked), HOUR);
    assert_eq!(
        plan(&ended, Occasion::Use, NOW),
        Plan::Ended(EndReason::GrantRevoked)
    );
    let moved = session(UpstreamState::NeedsReauth(ReauthReason::Moved), HOUR);
    assert_eq!(
        plan(&moved, Occasion::Use, NOW),
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
    assert_eq!(plan(&short, Occasion::Use, NOW), Plan::Use);
}

#[test]
fn d2_row14_a_refusal_after_a_lost_answer_is_told_apart_from_a_plain_one() {
    let settled = |outcome, repeated| settle(outcome, repeated, 0, NOW, &SystemRng);
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

fn claim(fence: i64, sent_under: Option<i64>, uncertain: bool) -> Claim {
    Claim {
        lease: Lease {
            owner: "me".to_owned(),
            fence,
            until: NOW,
        },
        uncertain,
        sent_under,
    }
}

#[test]
fn d2_row14_the_sender_of_an_unsettled_refresh_is_given_time_before_its_token_is_sent_again() {
    for uncertain in [false, true] {
        // The sender was the holder before: it may come with new tokens yet.
        assert_eq!(earlier(&claim(5, Some(4), uncertain)), Earlier::Unsettled);
        // Somebody held the lease in between, which is that time.
        assert_eq!(earlier(&claim(6, Some(4), uncertain)), Earlier::Unknown);
    }
    assert_eq!(earlier(&claim(5, None, true)), Earlier::Unknown);
    assert_eq!(earlier(&claim(5, None, false)), Earlier::Unsent);
}

#[test]
fn what_the_pds_asks_for_is_waited_within_reason() {
    let years = Duration::from_hours(24 * 365 * 3);
    for (asked, waited) in [(HOUR / 3, HOUR / 3), (HOUR, HOUR), (years, HOUR)] {
        let retry_after = Some(asked);
        let outcome = Outcome::NotSpent { retry_after };
        let failure = settle(outcome, false, 0, NOW, &SystemRng);
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
        Just(Outcome::OurFault),
        Just(Outcome::NoRefreshToken),
    ]
}

/// What a holder of the lease may do.
#[derive(Debug, Clone, Copy)]
enum Deed {
    Dies,
    SendsAndDies,
    FailsUnsent,
}

fn deeds() -> impl Strategy<Value = Vec<Deed>> {
    let deed = prop_oneof![
        Just(Deed::Dies),
        Just(Deed::SendsAndDies),
        Just(Deed::FailsUnsent)
    ];
    proptest::collection::vec(deed, 0..20)
}

proptest! {
    /// A model of the lease, the fence and the journal as the storage has them: between a send and
    /// the next one there is always a whole lease in which its sender could have stored.
    #[test]
    fn d2_row14_between_two_sends_there_is_always_a_lease_in_which_nothing_is_sent(deeds in deeds()) {
        let (mut fence, mut journal, mut uncertain) = (0, None, false);
        let mut sent: Vec<i64> = Vec::new();
        for deed in deeds {
            fence += 1;
            let earlier = earlier(&claim(fence, journal, uncertain));
            if earlier == Earlier::Unsettled {
                continue;
            }
            match deed {
                Deed::Dies => {}
                Deed::SendsAndDies => {
                    journal = Some(fence);
                    sent.push(fence);
                }
                Deed::FailsUnsent => uncertain = earlier == Earlier::Unknown,
            }
        }
        prop_assert!(sent.windows(2).all(|pair| pair[1] - pair[0] > 1), "{sent:?}");
    }

    #[test]
    fn d2_row13_no_failure_that_may_pass_ends_a_session(
        outcome in outcomes(), repeated: bool, failures in 0..1000_u32,
    ) {
        let failure = settle(outcome, repeated, failures, NOW, &SystemRng);
        let final_outcome = matches!(outcome, Outcome::Moved | Outcome::Refused | Outcome::NoRefreshToken);
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
        match settle(outcome, repeated, failures, NOW, &SystemRng) {
            RefreshFailure::Retry(at) | RefreshFailure::Uncertain(at) => {
                prop_assert!(at > NOW && at <= NOW + asked.max(Duration::from_mins(5)));
            }
            RefreshFailure::NeedsReauth(_) => {}
            RefreshFailure::Deferred(_) => prop_assert!(false, "an attempt was made"),
        }
    }
}
