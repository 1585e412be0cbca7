//! Housekeeping: how long what has ended is kept, and the verbs that forget it in batches.
//!
//! | what | forgotten |
//! | --- | --- |
//! | authorization requests, upstream flows | when they expire |
//! | how requests were answered | 1 minute after they were |
//! | codes | 1 day after they expire, so that a late replay is still recognised |
//! | access tokens, those of clients themselves, refresh tokens, values of the replay guard | when they expire |
//! | device codes | 1 day after they expire, so that the device is told that they have |
//! | the last refresh token of a grant, a code that was not redeemed | when the grant has ended, too |
//! | browser sessions, with their consents | when they expire |
//! | initial access tokens | when they expire, used up or not |
//! | orders of developer tokens | when their link has expired |
//! | grants, with their codes and what is known of developer tokens | 30 days after they ended |
//! | upstream sessions | 30 days after they ended, if their PDS knows |
//! | delegations | 30 days after they ended |
//! | that an app had an upstream client document of its own | 1 day after it lost it, once no session is bound to it |
//! | that an account is paused | 30 days after its PDS said so |
//! | how far a stream of events was read | 30 days after it was read last |
//! | devices that client assertions are signed for | 180 days after they asked last: a refresh token of a PDS lives no longer |
//! | deliveries of logouts | 1 day after the sign-in ended, delivered or not |
//! | sessions of another server, held and never released | 30 days after an import last found them there |
//! | nonces shared between replicas | 1 day after they were given |
//! | rate limits | when the key could burst again, so that its row says nothing |
//! | audit events | after 1 year |
//!
//! Of several replicas one forgets: the one that leads the task ([`Housekeeping::acquire_leadership`]).

use std::time::Duration;

use aip_base::Timestamp;
use async_trait::async_trait;
use strum::{EnumIter, IntoStaticStr};

use crate::StorageError;

const DAY: Duration = Duration::from_hours(24);

/// What is kept for a time only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumIter, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum RetentionClass {
    /// Apps' authorization requests in flight.
    AuthorizationRequests,
    /// How they were answered.
    AnsweredRequests,
    /// Sign-ins under way at a PDS.
    UpstreamFlows,
    /// Authorization codes.
    Codes,
    /// Device codes.
    DeviceCodes,
    /// Access tokens.
    AccessTokens,
    /// Access tokens of clients themselves.
    ClientTokens,
    /// Refresh tokens.
    RefreshTokens,
    /// Values of the replay guard.
    Replays,
    /// Browser sessions.
    BrowserSessions,
    /// Initial access tokens.
    InitialAccessTokens,
    /// Developer tokens that an operator ordered.
    DeveloperTokenOrders,
    /// Ended grants.
    Grants,
    /// Ended upstream sessions.
    UpstreamSessions,
    /// Ended delegations.
    Delegations,
    /// Upstream client documents of apps that have none any more.
    UpstreamDocuments,
    /// Accounts that are not in use.
    PausedAccounts,
    /// Places in streams of events.
    EventCursors,
    /// Devices that client assertions are signed for.
    AssertionKeys,
    /// Deliveries of logouts that nobody took.
    LogoutDeliveries,
    /// Sessions of another server that were never released.
    ImportedSessions,
    /// Nonces shared between replicas.
    Nonces,
    /// Theoretical arrival times of rate limits.
    RateLimits,
    /// The audit stream.
    AuditEvents,
}

/// What one run deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PurgeReport {
    /// Rows by kind, for each [`RetentionClass`].
    pub counts: Vec<(RetentionClass, u64)>,
    /// Whether a batch was full, so that another run has work to do.
    pub more: bool,
}

/// What keeps the tables from growing for ever.
#[async_trait]
pub trait Housekeeping: Send + Sync {
    /// Forgets what is past its time, at most `batch` rows of each kind.
    async fn purge_expired(&self, now: Timestamp, batch: u32) -> Result<PurgeReport, StorageError>;

    /// Ends up to `batch` live grants, given before `before`, whose refresh tokens have all
    /// expired, or whose developer token has: nothing can come back to them, and their upstream sessions
    /// need no keeping.
    /// Returns how many there were.
    async fn end_expired_grants(
        &self,
        before: Timestamp,
        now: Timestamp,
        batch: u32,
    ) -> Result<u64, StorageError>;

    /// Takes or keeps the leadership of `task` for `length` on the clock of the database: `true` if
    /// `owner` has it now. It lapses after `length` unless it is renewed.
    async fn acquire_leadership(
        &self,
        task: &str,
        owner: &str,
        length: Duration,
        now: Timestamp,
    ) -> Result<bool, StorageError>;

    /// Whether the database answers.
    async fn ping(&self) -> Result<(), StorageError>;
}

impl RetentionClass {
    /// How long it is kept after its time has come.
    pub fn kept_for(self) -> Duration {
        match self {
            Self::AuthorizationRequests
            | Self::AnsweredRequests
            | Self::UpstreamFlows
            | Self::AccessTokens
            | Self::ClientTokens
            | Self::RefreshTokens
            | Self::Replays
            | Self::BrowserSessions
            | Self::InitialAccessTokens
            | Self::DeveloperTokenOrders
            | Self::RateLimits => Duration::ZERO,
            Self::Codes | Self::DeviceCodes | Self::Nonces | Self::UpstreamDocuments => DAY,
            Self::LogoutDeliveries => crate::logout::KEPT_FOR,
            Self::Grants
            | Self::UpstreamSessions
            | Self::Delegations
            | Self::ImportedSessions
            | Self::PausedAccounts
            | Self::EventCursors => DAY * 30,
            // https://atproto.com/specs/oauth#tokens-and-session-lifetime
            Self::AssertionKeys => DAY * 180,
            Self::AuditEvents => DAY * 365,
        }
    }
}
