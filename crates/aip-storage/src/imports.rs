//! Sessions of another server whose place AIP is going to take: held until that server has stopped,
//! because two that refresh one session end it, and then released.
//!
//! What is held is in tables of its own. Nothing else of AIP reads these, so until it is released no
//! held session is refreshed, used, counted or revoked at its PDS, and no held token is accepted.

use aip_atproto::ScopeSet;
use aip_base::{RowId, Timestamp};
use aip_keys::TokenHash;
use async_trait::async_trait;

use crate::StorageError;
use crate::upstream::UpstreamSession;

/// A session with what apps hold of it.
#[derive(Debug, Clone)]
pub struct HeldSession {
    /// The session as it begins here. Its id follows from that at the other server, so that the same
    /// session is always recognised. Its secrets are sealed for `upstream_sessions`.
    pub session: UpstreamSession,
    /// What apps hold of it; `None` for the session of an app password. The id of the grant is that
    /// of the session.
    pub grant: Option<HeldGrant>,
    /// The keyed hash of all that it was made from: another one says that it has changed there.
    pub content: TokenHash,
}

/// A grant that a session serves, with its tokens.
#[derive(Debug, Clone)]
pub struct HeldGrant {
    /// What was allowed.
    pub scope: ScopeSet,
    /// The thumbprint of the DPoP key of the refresh token, if it is bound to one.
    pub dpop_jkt: Option<String>,
    /// When it was given.
    pub created_at: Timestamp,
    /// The live tokens. At least one is a refresh token: the grant ends with the last of those.
    pub tokens: Vec<HeldToken>,
}

/// A token of an app.
#[derive(Debug, Clone)]
pub struct HeldToken {
    /// Its keyed hash.
    pub hash: TokenHash,
    /// Access or refresh token, with what only that has.
    pub kind: HeldTokenKind,
    /// When it was issued.
    pub issued_at: Timestamp,
    /// When it expires.
    pub expires_at: Timestamp,
}

/// What a held token is.
#[derive(Debug, Clone)]
pub enum HeldTokenKind {
    /// An access token.
    Access {
        /// Its scope if narrower than the grant's.
        scope: Option<ScopeSet>,
        /// The thumbprint of the DPoP key that it is bound to.
        dpop_jkt: Option<String>,
    },
    /// A refresh token.
    Refresh,
}

/// What is known of a session of the other server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImportState {
    /// It is held with the same content.
    Unchanged,
    /// It was released and is AIP's own.
    Released,
    /// It is not held, or with another content.
    Changed,
}

/// What became of a session that was to be held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HoldOutcome {
    /// It is held, as this run or a later one has seen it.
    Held,
    /// It was released before and is AIP's own: nothing was changed.
    Released,
    /// There is no such client: nothing was stored.
    NoClient,
}

/// Verbs for taking over what another server holds.
#[async_trait]
pub trait Imports: Send + Sync {
    /// What is known of each session, by its id and its content. The run which began at `run` has seen
    /// those that are held unchanged.
    async fn known_sessions(
        &self,
        sessions: &[(RowId, TokenHash)],
        run: Timestamp,
    ) -> Result<Vec<ImportState>, StorageError>;

    /// Holds each session in place of what was held under its id, all in one transaction, and notes
    /// that the run which began at `run` has seen them. What a later run has seen stays as it is. A token
    /// that was held with another session is this one's.
    async fn hold_sessions(
        &self,
        sessions: &[HeldSession],
        run: Timestamp,
    ) -> Result<Vec<HoldOutcome>, StorageError>;

    /// Forgets held sessions that the run which began at `run` has not seen: they have ended at the
    /// other server. How many there were.
    async fn drop_unseen_sessions(&self, run: Timestamp) -> Result<u64, StorageError>;

    /// Forgets held sessions that are bound to the client key `kid`, which is lost. How many there were.
    async fn forget_held_sessions(&self, kid: &str) -> Result<u64, StorageError>;

    /// How many sessions are held.
    async fn count_held_sessions(&self) -> Result<u64, StorageError>;

    /// Notes that sessions are released from `now` on, unless that was noted before. When it was at
    /// first.
    async fn begin_release(&self, now: Timestamp) -> Result<Timestamp, StorageError>;

    /// When sessions were released at first.
    async fn released_at(&self) -> Result<Option<Timestamp>, StorageError>;

    /// Makes up to `batch` held sessions AIP's own, with their grants and tokens, in one transaction.
    /// How many it was: none when none is held any more. Sessions of app passwords come last, and are
    /// forgotten instead where the app has one for the account already.
    async fn release_sessions(&self, batch: u32) -> Result<u64, StorageError>;
}
