//! The keeper's decisions, pure: what to do with a session now, and how an attempt settles.
//!
//! Refresh tokens of a PDS are single-use and a replay ends the session there. So one holder of
//! the lease refreshes, an attempt whose outcome is unknown is repeated exactly once, and only an
//! answer that says so ends a session; every other failure keeps it.

use std::time::Duration;

use aip_base::{Backoff, Rng, Timestamp};
use aip_pds::usable_until;
use aip_storage::refresh::{Claim, RefreshFailure};
use aip_storage::session_status::SessionStatus;
use aip_storage::upstream::{EndReason, ReauthReason, UpstreamSession, UpstreamState};

/// A token closer to its end than this is refreshed before use. Far more than the time in which it
/// is not used at all ([`usable_until`]), so that a refresh that fails does not keep callers waiting.
const REFRESH_MARGIN: Duration = Duration::from_mins(1);
/// At most this is added to the margin per session, so that sessions of one hour do not all
/// refresh in the same second.
const REFRESH_MARGIN_JITTER: Duration = Duration::from_secs(30);
/// A session that nobody uses is refreshed this often. Its refresh token would live for 14 days
/// at least, so a PDS may be away for a week without a loss.
const IDLE_REFRESH_INTERVAL: Duration = Duration::from_hours(7 * 24);
/// A session of a paused account that nobody uses is refreshed this often: its refresh token lives for
/// 14 days at least, and nobody is to lose a session because they took a pause.
const PAUSED_REFRESH_INTERVAL: Duration = Duration::from_hours(13 * 24);
/// How long a session of a public client lives.
const PUBLIC_SESSION_LIFETIME: Duration = Duration::from_hours(14 * 24);
/// Between failed attempts. Far below the life of a session, so that no back-off ends one.
const RETRY_BACKOFF: Backoff = Backoff {
    base: Duration::from_secs(2),
    cap: Duration::from_mins(5),
};

/// So many definite refusals in a row, over this time, are believed whatever they are called.
const MIN_REJECTIONS: u32 = 3;
const MIN_REJECTED_DURATION: Duration = Duration::from_hours(2);

/// The longest `Retry-After` that is honoured. A longer one is a mistake, and would end the session.
const MAX_RETRY_AFTER: Duration = Duration::from_hours(1);

/// What to do with a session that somebody wants to use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Plan {
    /// The access token is fresh: hand it out.
    Use,
    /// Take the lease and refresh. If that fails while the access token can be used, the next plan
    /// is to use it.
    Refresh,
    /// Somebody refreshes it until then: wait and read again.
    Wait(Timestamp),
    /// A failed attempt is backing off and the access token has expired, or too close to its end.
    BackOff(Timestamp),
    /// The person must sign in again.
    Reauthenticate(ReauthReason),
    /// Over.
    Ended(EndReason),
}

/// Why a session is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trigger {
    /// An app uses it.
    Use,
    /// The PDS said that the access token of this generation is no good.
    Rejected(i64),
    /// For any reason, and its tokens were refreshed since then: they are as fresh as they get.
    Renewed,
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The identity proof found the account elsewhere. Nothing was sent.
    Moved,
    /// Nothing reached the PDS, or it said "later": the refresh token is unspent.
    NotSpent {
        /// What the PDS asked for (`Retry-After`).
        retry_after: Option<Duration>,
    },
    /// The request may have been processed and no answer came.
    Unknown,
    /// `invalid_grant`.
    Refused,
    /// A definite refusal that names neither the token nor this client (RFC 6749 §5.2 has
    /// `invalid_grant` for a dead token, and not every server knows that).
    Rejected,
    /// `invalid_client` and the like: our own keys or metadata are at fault.
    OurFault,
    /// There is no refresh token to send.
    NoRefreshToken,
    /// The tokens that came are for another account.
    OtherAccount,
}

/// What a holder of the lease has to think of the refresh token, from what others left behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PriorSend {
    /// Nobody has sent it.
    Unsent,
    /// The holder before sent it and has not settled: it may be alive and hold new tokens that
    /// it cannot store, or come back and find them in its spill. To send the old one now would
    /// end that session, so the lease is held for [`OWNER_GRACE`] and nothing is sent.
    Unsettled,
    /// It was sent, the outcome is unknown, and whoever knew more has had time to say so. It is
    /// tried once more.
    Unknown,
}

/// How long the sender of an unsettled refresh has to store what it received, once the database
/// is there again and its lease has lapsed. Longer than its pause between two tries, and than a
/// restart takes.
pub const OWNER_GRACE: Duration = Duration::from_secs(30);

/// Judges what the holders before left behind. Everybody who takes the lease after the sender
/// gives it the grace; whoever follows knows by the gap between the fences that it was given.
pub fn prior_send(claim: &Claim) -> PriorSend {
    match claim.sent_under {
        Some(sent) if sent + 1 >= claim.lease.fence => PriorSend::Unsettled,
        Some(_) => PriorSend::Unknown,
        None if claim.uncertain => PriorSend::Unknown,
        None => PriorSend::Unsent,
    }
}

/// Decides what to do with `session` at `now`.
pub fn plan(session: &SessionStatus, trigger: Trigger, now: Timestamp) -> Plan {
    match &session.state {
        UpstreamState::NeedsReauth(reason) => return Plan::Reauthenticate(*reason),
        UpstreamState::Ended(reason) => return Plan::Ended(*reason),
        UpstreamState::Refreshing(lease) if lease.until > now => return Plan::Wait(lease.until),
        UpstreamState::Refreshing(_) | UpstreamState::Uncertain | UpstreamState::Active => {}
    }
    let usable = is_token_usable(session, trigger, now);
    if usable && session.access_expires_at > now + refresh_margin(session) {
        return Plan::Use;
    }
    if session.failures > 0 && session.next_refresh_at > now {
        return if usable {
            Plan::Use
        } else {
            Plan::BackOff(session.next_refresh_at)
        };
    }
    if trigger == Trigger::Renewed {
        // One refresh for each use is enough, also where tokens live for seconds, or (`expires_in`
        // 0) for this one use.
        return if usable || access_token_lifetime(session).is_zero() {
            Plan::Use
        } else {
            Plan::BackOff(now + RETRY_BACKOFF.base)
        };
    }
    Plan::Refresh
}

/// Whether the access token can be used: neither rejected, nor close to its end.
pub fn is_token_usable(session: &SessionStatus, trigger: Trigger, now: Timestamp) -> bool {
    let rejected = trigger == Trigger::Rejected(session.generation);
    let until = usable_until(session.refreshed_at, session.access_expires_at);
    !rejected && until > now
}

/// How long the access token lives, as its PDS has it.
fn access_token_lifetime(session: &SessionStatus) -> Duration {
    session.access_expires_at.since(session.refreshed_at)
}

/// How a failed attempt settles. `repeated`: the same refresh token had been sent before and the
/// outcome of that was unknown.
pub fn settle(
    outcome: Outcome,
    repeated: bool,
    session: &UpstreamSession,
    now: Timestamp,
    rng: &dyn Rng,
) -> RefreshFailure {
    let later = |floor: Option<Duration>| {
        let floor = floor.unwrap_or_default().min(MAX_RETRY_AFTER);
        now + RETRY_BACKOFF.delay(session.failures, rng).max(floor)
    };
    let refused = if repeated {
        ReauthReason::LostResponse
    } else {
        ReauthReason::Refused
    };
    match outcome {
        Outcome::Moved => RefreshFailure::NeedsReauth(ReauthReason::Moved),
        Outcome::NoRefreshToken => RefreshFailure::NeedsReauth(ReauthReason::NoRefreshToken),
        Outcome::OtherAccount => RefreshFailure::NeedsReauth(ReauthReason::OtherAccount),
        Outcome::Refused => RefreshFailure::NeedsReauth(refused),
        Outcome::Rejected if is_rejected_for_good(session, now) => {
            RefreshFailure::NeedsReauth(refused)
        }
        Outcome::Rejected => RefreshFailure::Rejected(later(None)),
        Outcome::Unknown => RefreshFailure::Uncertain(later(None)),
        // What was uncertain before stays uncertain: this attempt has told nothing about it.
        Outcome::NotSpent { retry_after } if repeated => {
            RefreshFailure::Uncertain(later(retry_after))
        }
        Outcome::OurFault if repeated => RefreshFailure::Uncertain(later(None)),
        Outcome::NotSpent { retry_after } => RefreshFailure::Retry(later(retry_after)),
        Outcome::OurFault => RefreshFailure::Retry(later(None)),
    }
}

/// Whether one more definite refusal says that the refresh token is dead: the access token has expired,
/// and for hours the server, which answered everything else, has said nothing but no.
fn is_rejected_for_good(session: &UpstreamSession, now: Timestamp) -> bool {
    session.rejected.is_some_and(|rejected| {
        rejected.times + 1 >= MIN_REJECTIONS && now.since(rejected.since) >= MIN_REJECTED_DURATION
    }) && !is_token_usable(&session.status(), Trigger::Use, now)
}

/// When to try again after an attempt that brought a refresh token and no usable access token.
pub fn next_try(failures: u32, now: Timestamp, rng: &dyn Rng) -> Timestamp {
    now + RETRY_BACKOFF.delay(failures, rng)
}

/// When its PDS ends a session, refreshed or not: a public client, as AIP is one on a loopback
/// address, gets two weeks (<https://atproto.com/specs/oauth#tokens-and-session-lifetime>).
pub fn ends_at(session: &SessionStatus) -> Option<Timestamp> {
    session
        .is_public_client
        .then(|| session.created_at + PUBLIC_SESSION_LIFETIME)
}

/// When the keeper refreshes a session unasked that was refreshed at `now`. Sessions in use are
/// refreshed by their use, long before.
pub fn keep_alive_at(now: Timestamp) -> Timestamp {
    now + IDLE_REFRESH_INTERVAL
}

/// Until when the session of a paused account is left alone whose tokens were asked for then.
pub fn paused_until(refreshed_at: Timestamp) -> Timestamp {
    refreshed_at + PAUSED_REFRESH_INTERVAL
}

/// Sessions whose tokens were asked for before then are due, if their account was not paused.
pub fn overdue_before(now: Timestamp) -> Timestamp {
    now - IDLE_REFRESH_INTERVAL
}

/// The margin of one session. The jitter comes from its id, so that every replica agrees on it.
/// Tokens that live only minutes get a margin in proportion.
fn refresh_margin(session: &SessionStatus) -> Duration {
    let bytes = session.id.to_string();
    let spread = bytes.bytes().rev().take(4).fold(0_u32, |sum, byte| {
        sum.wrapping_mul(31).wrapping_add(u32::from(byte))
    });
    let jitter = REFRESH_MARGIN_JITTER.mul_f64(f64::from(spread % 1000) / 1000.0);
    (REFRESH_MARGIN + jitter).min(access_token_lifetime(session) / 5)
}

#[cfg(test)]
pub(super) mod tests;
