//! Housekeeping: how long what is over is kept, and the verbs that forget it in batches.
//!
//! | what | forgotten |
//! | --- | --- |
//! | authorization requests, upstream flows | when they expire |
//! | how requests were answered | 1 minute after they were |
//! | codes | 1 day after they expire, so that a late replay is still recognised |
//! | access tokens, refresh tokens, values of the replay guard | when they expire |
//! | the last refresh token of a grant, a code that was not redeemed | when the grant has ended, too |
//! | browser sessions, with their consents | when they expire |
//! | grants, with their codes | 30 days after they ended |
//! | upstream sessions | 30 days after they ended, if their PDS knows |
//! | nonces shared between replicas | 1 day after they were given |
//! | rate limits | when the key could burst again, so that its row says nothing |
//! | audit events | after 1 year |
//!
//! Of several replicas one forgets: the one that leads the task ([`Housekeeping::lead`]).

use std::time::Duration;

use aip_base::Timestamp;
use async_trait::async_trait;

use crate::StorageError;

const DAY: Duration = Duration::from_hours(24);

/// What is kept for a time only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetentionClass {
    /// Apps' authorization requests in flight.
    AuthorizationRequests,
    /// How they were answered.
    AnsweredRequests,
    /// Sign-ins under way at a PDS.
    UpstreamFlows,
    /// Authorization codes.
    Codes,
    /// Access tokens.
    AccessTokens,
    /// Refresh tokens.
    RefreshTokens,
    /// Values of the replay guard.
    Replays,
    /// Browser sessions.
    BrowserSessions,
    /// Ended grants.
    Grants,
    /// Ended upstream sessions.
    UpstreamSessions,
    /// Nonces shared between replicas.
    Nonces,
    /// Theoretical arrival times of rate limits.
    RateLimits,
    /// The audit stream.
    AuditEvents,
}

/// What one round of housekeeping forgot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PurgeReport {
    /// Rows by kind, for each of [`RetentionClass::ALL`].
    pub counts: Vec<(RetentionClass, u64)>,
    /// Whether a batch was full, so that another round has work to do.
    pub more: bool,
}

/// What keeps the tables from growing for ever.
#[async_trait]
pub trait Housekeeping: Send + Sync {
    /// Forgets what is past its time, at most `batch` rows of each kind.
    async fn purge_expired(&self, now: Timestamp, batch: u32) -> Result<PurgeReport, StorageError>;

    /// Ends up to `batch` live grants, given before `before`, whose refresh tokens have all
    /// expired: nothing can come back to them, and their upstream sessions need no keeping.
    /// Returns how many there were.
    async fn end_expired_grants(
        &self,
        before: Timestamp,
        now: Timestamp,
        batch: u32,
    ) -> Result<u64, StorageError>;

    /// Takes or keeps the lead of `task` for `length` on the clock of the database: `true` if
    /// `owner` leads it now. Who stops asking loses it after `length`.
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
    /// Every kind, in the order in which they are forgotten.
    pub const ALL: [Self; 13] = [
        Self::AuthorizationRequests,
        Self::AnsweredRequests,
        Self::UpstreamFlows,
        Self::Codes,
        Self::AccessTokens,
        Self::RefreshTokens,
        Self::Replays,
        Self::BrowserSessions,
        Self::Grants,
        Self::UpstreamSessions,
        Self::Nonces,
        Self::RateLimits,
        Self::AuditEvents,
    ];

    /// The stable name, for metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AuthorizationRequests => "authorization_requests",
            Self::AnsweredRequests => "answered_requests",
            Self::UpstreamFlows => "upstream_flows",
            Self::Codes => "codes",
            Self::AccessTokens => "access_tokens",
            Self::RefreshTokens => "refresh_tokens",
            Self::Replays => "replays",
            Self::BrowserSessions => "browser_sessions",
            Self::Grants => "grants",
            Self::UpstreamSessions => "upstream_sessions",
            Self::Nonces => "nonces",
            Self::RateLimits => "rate_limits",
            Self::AuditEvents => "audit_events",
        }
    }

    /// How long it is kept after its time has come.
    pub fn kept_for(self) -> Duration {
        match self {
            Self::AuthorizationRequests
            | Self::AnsweredRequests
            | Self::UpstreamFlows
            | Self::AccessTokens
            | Self::RefreshTokens
            | Self::Replays
            | Self::BrowserSessions
            | Self::RateLimits => Duration::ZERO,
            Self::Codes | Self::Nonces => DAY,
            Self::Grants | Self::UpstreamSessions => DAY * 30,
            Self::AuditEvents => DAY * 365,
        }
    }
}
