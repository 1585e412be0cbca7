//! The verbs of the keeper, which refreshes upstream sessions.
//!
//! Refresh tokens of a PDS are single-use and a replay ends the session there, so a refresh is a
//! small distributed transaction: lease with a fence → journal `sent` → request → compare-and-set
//! on `generation`. Every verb below is one statement (or one transaction) with its conditions
//! inside; leases are judged by the database's clock where there are several replicas.
//!
//! Tokens that were received are worth more than a lease: they are stored also after it has
//! lapsed, as long as nobody has *sent* the old refresh token since. So whoever finds a send that
//! its holder did not settle leaves that holder time before it sends anything itself.

use std::time::Duration;

use aip_atproto::{Origin, ScopeSet};
use aip_base::{RowId, Timestamp};
use aip_keys::TokenHash;
use async_trait::async_trait;

use crate::StorageError;
use crate::upstream::{Lease, ReauthReason, SealedTokens, UpstreamSession};

/// A lease that was just taken, with what the holders before left behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The right to refresh, until it lapses.
    pub lease: Lease,
    /// An attempt before was settled as uncertain.
    pub uncertain: bool,
    /// The fence under which a refresh was sent that nobody has settled.
    pub sent_under: Option<i64>,
    /// The account is paused: its PDS said that it is not in use.
    pub paused: bool,
}

/// Which due sessions to claim.
#[derive(Debug, Clone, Copy)]
pub struct ClaimDue<'a> {
    /// Who claims.
    pub owner: &'a str,
    /// For how long.
    pub length: Duration,
    /// What is due by then.
    pub now: Timestamp,
    /// How many at most.
    pub limit: u32,
    /// Sessions at these PDSs are left alone.
    pub except: &'a [Origin],
}

/// The outcome of asking for a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TakeLease {
    /// The lease is held now.
    Leased(Claim),
    /// Somebody else holds it until then.
    Held(Timestamp),
    /// The session has another generation or state by now: read it again.
    Changed,
}

/// A refreshed token pair to be stored.
#[derive(Debug, Clone)]
pub struct Refreshed {
    /// The session.
    pub id: RowId,
    /// The generation whose refresh token was spent.
    pub generation: i64,
    /// The lease under which it was.
    pub fence: i64,
    /// The new tokens.
    pub tokens: SealedTokens,
    /// The account's PDS, as just proved: it may have moved to another one of the same issuer.
    pub pds: Origin,
    /// The scope as granted now.
    pub scope: ScopeSet,
    /// When to look at it next.
    pub next_refresh_at: Timestamp,
    /// What is wrong with them, if the answer brought no access token that can be used: then this
    /// was a failed attempt, which left another refresh token behind.
    pub partial: Option<PartialRefresh>,
    /// When the new tokens were asked for.
    pub asked_at: Timestamp,
}

/// A refresh that brought a refresh token and nothing else of use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartialRefresh {
    /// Failed attempts, this one included.
    pub failures: u32,
    /// What the answer lacks, in words without a secret.
    pub error: String,
}

/// The outcome of a compare-and-set on a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settle {
    /// Written.
    Stored,
    /// Somebody with a newer fence or generation was here, or the session ended: nothing written.
    Superseded,
}

/// An attempt under a lease that brought no tokens.
#[derive(Debug, Clone, Copy)]
pub struct FailedRefresh<'a> {
    /// The session.
    pub id: RowId,
    /// The generation that was to be refreshed.
    pub generation: i64,
    /// The lease.
    pub fence: i64,
    /// What follows from it.
    pub failure: &'a RefreshFailure,
    /// What was met, in words without a secret.
    pub error: &'a str,
    /// The time of the process, from which the next try counts.
    pub now: Timestamp,
}

/// How a refresh attempt ended without new tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RefreshFailure {
    /// Nothing was tried, which is nobody's failure: come back at that time.
    Deferred(Timestamp),
    /// Nothing is lost: try again at that time.
    Retry(Timestamp),
    /// The server said no, and not that the token is dead: try again at that time, and count.
    Rejected(Timestamp),
    /// A request was sent and its outcome is unknown: try the old token once, at that time.
    Uncertain(Timestamp),
    /// The person must sign in again.
    NeedsReauth(ReauthReason),
}

/// A refresh that was sent and not settled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalEntry {
    /// The session.
    pub id: RowId,
    /// The lease under which it was sent.
    pub fence: i64,
    /// The keyed hash of the refresh token that was sent.
    pub refresh: TokenHash,
    /// Before the request leaves.
    pub sent_at: Timestamp,
}

/// Refreshes of upstream sessions.
#[async_trait]
pub trait Refreshes: Send + Sync {
    /// Takes the right to refresh generation `generation` for `length`, if nobody holds it. The
    /// ends of leases are instants of the database's clock where replicas share a database, and
    /// of `now` where they do not.
    async fn lease(
        &self,
        id: RowId,
        generation: i64,
        owner: &str,
        length: Duration,
        now: Timestamp,
    ) -> Result<TakeLease, StorageError>;

    /// Takes the leases of sessions whose `next_refresh_at` has come, oldest first. Callers at the
    /// same time get different ones. A row that cannot be read is an item of its own.
    async fn claim_due(
        &self,
        claim: ClaimDue<'_>,
    ) -> Result<Vec<Result<(UpstreamSession, Claim), StorageError>>, StorageError>;

    /// Lets a lease run for `length` from now on, whatever was left of it.
    async fn hold_lease(
        &self,
        id: RowId,
        fence: i64,
        length: Duration,
        now: Timestamp,
    ) -> Result<Settle, StorageError>;

    /// Writes down, before the request leaves, that this refresh token is sent under this fence.
    /// `Superseded` also when the lease has lapsed: nothing may be sent then.
    async fn journal_sent(&self, entry: &JournalEntry) -> Result<Settle, StorageError>;

    /// The unsettled refresh of a session, if there is one.
    async fn journalled(&self, id: RowId) -> Result<Option<JournalEntry>, StorageError>;

    /// Stores new tokens, clears lease and journal, back to `Active`. Also when the lease has
    /// lapsed, or somebody else holds it by now: what counts is that the generation is the one
    /// whose token was spent, and that nobody has sent it again since.
    async fn store_refreshed(&self, refreshed: &Refreshed) -> Result<Settle, StorageError>;

    /// Settles an attempt that brought no tokens; clears its lease, and its own journal entry
    /// (the entry of a holder before stays, which may still store what it received). With
    /// [`RefreshFailure::NeedsReauth`] the grants that use the session end, too: their apps learn
    /// at their next refresh or introspection that the person must sign in again.
    async fn settle_failure(&self, failed: FailedRefresh<'_>) -> Result<Settle, StorageError>;

    /// A session whose tokens of `generation` its PDS does not accept although they are fresh
    /// needs its person; its grants end. Not while somebody refreshes it, or did so with an
    /// unknown outcome: that may be why the tokens are dead.
    async fn reject_tokens(
        &self,
        id: RowId,
        generation: i64,
        now: Timestamp,
    ) -> Result<Settle, StorageError>;
}
