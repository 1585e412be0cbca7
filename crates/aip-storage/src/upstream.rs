//! Upstream sessions: AIP's sessions at accounts' PDSs, and the verbs of the keeper.
//!
//! Refresh tokens of a PDS are single-use and a replay ends the session there, so a refresh is a
//! small distributed transaction: lease with a fence → journal `sent` → request → compare-and-set
//! on `generation`. Every verb below is one statement (or one transaction) with its conditions
//! inside; leases are judged by the database's clock where there are several replicas.

use std::time::Duration;

use aip_atproto::{Did, Issuer, Origin, ScopeSet};
use aip_base::{RowId, Timestamp};
use aip_keys::{Sealed, TokenHash};
use async_trait::async_trait;

use crate::StorageError;
use crate::client::ClientId;

/// AIP's session at an account's PDS for one client.
#[derive(Debug, Clone)]
pub struct UpstreamSession {
    /// Its id, also the associated data of its sealed columns.
    pub id: RowId,
    /// The app it serves.
    pub client_id: ClientId,
    /// The account.
    pub did: Did,
    /// The authorization server that issued it.
    pub issuer: Issuer,
    /// The PDS it is used at.
    pub pds: Origin,
    /// The `client_id` AIP used at the PDS.
    pub upstream_client_id: String,
    /// `kid` of the client key it is bound to for life; `None` for a public (loopback) client.
    pub client_key_id: Option<String>,
    /// The private DPoP key, sealed (column `dpop_key`).
    pub dpop_key: Sealed,
    /// What the PDS granted.
    pub scope: ScopeSet,
    /// The tokens of this generation.
    pub tokens: SealedTokens,
    /// Counts the token pairs: a writer names the one it read.
    pub generation: i64,
    /// Where it stands.
    pub state: UpstreamState,
    /// When the keeper looks at it next.
    pub next_refresh_at: Timestamp,
    /// Failed attempts since the last success.
    pub failures: u32,
    /// When the tokens of this generation were received.
    pub refreshed_at: Timestamp,
    /// When it began.
    pub created_at: Timestamp,
}

/// A token pair at rest.
#[derive(Debug, Clone)]
pub struct SealedTokens {
    /// The access token, sealed (column `access_token`).
    pub access: Sealed,
    /// The refresh token, sealed (column `refresh_token`); some servers give none.
    pub refresh: Option<Sealed>,
    /// When the access token expires.
    pub access_expires_at: Timestamp,
}

/// Where an upstream session stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UpstreamState {
    /// Usable.
    Active,
    /// Somebody refreshes it.
    Refreshing(Lease),
    /// A refresh was sent and its outcome is unknown; the old token is tried once more.
    Uncertain,
    /// The person must sign in again; nothing else helps.
    NeedsReauth(ReauthReason),
    /// Over, on purpose.
    Ended(EndReason),
}

/// The right to refresh a session until `until`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// Which process.
    pub owner: String,
    /// Grows with each lease: a stalled holder's writes fail by it.
    pub fence: i64,
    /// When the lease lapses.
    pub until: Timestamp,
}

/// Why the person must sign in again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReauthReason {
    /// The PDS refused the refresh token.
    Refused,
    /// The answer to a refresh was lost and the PDS refused the old token afterwards.
    LostResponse,
    /// The account moved to another PDS or authorization server.
    Moved,
    /// The PDS gave no refresh token and the access token is over.
    NoRefreshToken,
}

/// Why a session was ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndReason {
    /// The last grant that used it was revoked.
    GrantRevoked,
    /// Its client was deleted.
    ClientDeleted,
    /// The sign-in was never finished: the person left or said no.
    Abandoned,
}

/// The outcome of asking for a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TakeLease {
    /// The lease is held now.
    Leased(Lease),
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
    /// When the new tokens were received.
    pub now: Timestamp,
}

/// The outcome of a compare-and-set on a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settle {
    /// Written.
    Stored,
    /// Somebody with a newer fence or generation was here, or the session ended: nothing written.
    Superseded,
}

/// How a refresh attempt ended without new tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RefreshFailure {
    /// Nothing is lost: try again at that time.
    Retry(Timestamp),
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
    /// When.
    pub sent_at: Timestamp,
}

/// A session that is over at AIP and not yet at its PDS.
#[derive(Debug, Clone)]
pub struct DueRevocation {
    /// The session, with the tokens to revoke.
    pub session: UpstreamSession,
    /// How often it was tried.
    pub attempts: u32,
}

/// Upstream sessions and the keeper's verbs.
#[async_trait]
pub trait UpstreamSessions: Send + Sync {
    /// Stores a new session.
    async fn create_upstream_session(&self, session: &UpstreamSession) -> Result<(), StorageError>;

    /// The session of that id.
    async fn upstream_session(&self, id: RowId) -> Result<Option<UpstreamSession>, StorageError>;

    /// The newest usable session of that client and account, to serve another grant.
    async fn usable_upstream_session(
        &self,
        client: &ClientId,
        did: &Did,
    ) -> Result<Option<UpstreamSession>, StorageError>;

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

    /// Writes down, before the request leaves, that this refresh token is sent under this fence.
    /// `Superseded` also when the lease has lapsed: nothing may be sent then.
    async fn journal_sent(&self, entry: &JournalEntry) -> Result<Settle, StorageError>;

    /// The unsettled refresh of a session, if there is one.
    async fn journalled(&self, id: RowId) -> Result<Option<JournalEntry>, StorageError>;

    /// Stores new tokens, clears lease and journal, back to `Active`.
    async fn store_refreshed(&self, refreshed: &Refreshed) -> Result<Settle, StorageError>;

    /// Settles an attempt that brought no tokens; clears lease and journal. With
    /// [`RefreshFailure::NeedsReauth`] the grants that use the session end, too: their apps learn
    /// at their next refresh or introspection that the person must sign in again.
    async fn settle_failure(
        &self,
        id: RowId,
        generation: i64,
        fence: i64,
        failure: &RefreshFailure,
        now: Timestamp,
    ) -> Result<Settle, StorageError>;

    /// Sessions whose `next_refresh_at` has come, oldest first.
    async fn due_sessions(&self, now: Timestamp, limit: u32) -> Result<Vec<RowId>, StorageError>;

    /// Ends a session on purpose, unless a live grant uses it, and makes it due for revocation at
    /// its PDS. Whether it did.
    async fn end_unused_session(
        &self,
        id: RowId,
        reason: EndReason,
        now: Timestamp,
    ) -> Result<bool, StorageError>;

    /// Ends live sessions older than `before` that no live grant uses: sign-ins never finished.
    async fn end_abandoned_sessions(
        &self,
        before: Timestamp,
        now: Timestamp,
    ) -> Result<u64, StorageError>;

    /// Claims ended sessions that are due for revocation at their PDS: each is handed out to one
    /// caller and comes due again at `retry_at`.
    async fn claim_revocations(
        &self,
        now: Timestamp,
        retry_at: Timestamp,
        limit: u32,
    ) -> Result<Vec<DueRevocation>, StorageError>;

    /// Notes that the PDS knows: the tokens are forgotten here too.
    async fn revocation_done(&self, id: RowId) -> Result<(), StorageError>;
}

impl ReauthReason {
    /// Every reason.
    pub const ALL: [Self; 4] = [
        Self::Refused,
        Self::LostResponse,
        Self::Moved,
        Self::NoRefreshToken,
    ];

    /// The stable name, as stored and as apps see it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::LostResponse => "lost_response",
            Self::Moved => "moved",
            Self::NoRefreshToken => "no_refresh_token",
        }
    }
}

impl EndReason {
    /// Every reason.
    pub const ALL: [Self; 3] = [Self::GrantRevoked, Self::ClientDeleted, Self::Abandoned];

    /// The stable name, as stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::GrantRevoked => "grant_revoked",
            Self::ClientDeleted => "client_deleted",
            Self::Abandoned => "abandoned",
        }
    }
}
