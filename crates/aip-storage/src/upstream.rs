//! Upstream sessions: AIP's sessions at accounts' PDSs. How they are refreshed is in
//! [`refresh`](crate::refresh).

use aip_atproto::{Did, Issuer, Origin, ScopeSet};
use aip_base::{RowId, Timestamp};
use aip_keys::Sealed;
use async_trait::async_trait;
use strum::{EnumIter, EnumString, IntoStaticStr};

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
    /// The PDS it is used at.
    pub pds: Origin,
    /// What it was begun with, and is refreshed with.
    pub credential: Credential,
    /// What the PDS granted.
    pub scope: ScopeSet,
    /// What the PDS last told this session of the account's e-mail address; `None` when it was not
    /// asked yet.
    pub email: Option<EmailReading>,
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
    /// The definite refusals of the refresh token that the latest attempts met and nothing else, if
    /// they did.
    pub rejected: Option<Rejections>,
    /// What the last failed attempt met, in words without a secret; kept until the next one.
    pub last_error: Option<String>,
    /// When the tokens of this generation were asked for: the life of the access token counts from
    /// then.
    pub refreshed_at: Timestamp,
    /// When it began.
    pub created_at: Timestamp,
}

/// Definite refusals of a refresh token in a row that do not say that it is dead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rejections {
    /// How many.
    pub times: u32,
    /// When the first of them came.
    pub since: Timestamp,
}

/// What a PDS told one session of the account's e-mail address. It is never shown to another app:
/// the person may have refused it there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmailReading {
    /// The address; `None` when the PDS told none.
    pub email: Option<Email>,
    /// The PDS that told it. It vouches for the address only as long as the account is there.
    pub pds: Origin,
    /// When it was asked.
    pub read_at: Timestamp,
}

/// An e-mail address as the account's PDS reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Email {
    /// The address: an `addr-spec` of RFC 5322.
    pub address: String,
    /// Whether the PDS says that the person confirmed it.
    pub confirmed: bool,
}

/// What a session was begun with.
#[derive(Debug, Clone)]
pub enum Credential {
    /// The account's authorization server issued it (OAuth with `DPoP`).
    OAuth(OAuthCredential),
    /// The person gave an app password (column `password`), which begins the session anew when
    /// its refresh token is dead. Tokens are sent as `Bearer`.
    AppPassword(Sealed),
}

/// What an OAuth session is bound to for life.
#[derive(Debug, Clone)]
pub struct OAuthCredential {
    /// The authorization server that issued it.
    pub issuer: Issuer,
    /// The `client_id` AIP used at the PDS.
    pub upstream_client_id: String,
    /// `kid` of the client key it is bound to; `None` for a public (loopback) client.
    pub client_key_id: Option<String>,
    /// The private DPoP key, sealed (column `dpop_key`).
    pub dpop_key: Sealed,
}

/// The kinds of [`Credential`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EnumIter, IntoStaticStr, EnumString)]
#[strum(serialize_all = "snake_case")]
pub enum SessionKind {
    /// OAuth with `DPoP`.
    #[strum(serialize = "oauth")]
    OAuth,
    /// Begun with an app password.
    AppPassword,
}

/// The states as operators filter and count by them. A lease is no state of its own here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EnumIter, IntoStaticStr, EnumString)]
#[strum(serialize_all = "snake_case")]
pub enum StateName {
    /// Can be used.
    Active,
    /// The outcome of a refresh is unknown.
    Uncertain,
    /// The person must sign in again.
    NeedsReauth,
    /// Over.
    Ended,
}

impl StateName {
    /// Whether its session serves calls, perhaps after a refresh.
    pub fn serves_calls(self) -> bool {
        matches!(self, Self::Active | Self::Uncertain)
    }
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
    /// Can be used.
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumIter, IntoStaticStr, EnumString)]
#[strum(serialize_all = "snake_case")]
pub enum ReauthReason {
    /// The PDS refused the refresh token.
    Refused,
    /// The answer to a refresh was lost and the PDS refused the old token afterwards.
    LostResponse,
    /// The account moved to another PDS or authorization server.
    Moved,
    /// The PDS gave no refresh token and the access token has expired.
    NoRefreshToken,
    /// The PDS rejects even an access token that it has just given.
    Rejected,
    /// The answer to a refresh was for another account.
    OtherAccount,
}

/// Why a session was ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumIter, IntoStaticStr, EnumString)]
#[strum(serialize_all = "snake_case")]
pub enum EndReason {
    /// The last grant that used it was revoked.
    GrantRevoked,
    /// Its client was deleted.
    ClientDeleted,
    /// The sign-in was never finished: the person left or said no.
    Abandoned,
    /// The person gave another app password.
    Replaced,
    /// The person took the app password back.
    PasswordRemoved,
    /// An operator ended it.
    ByOperator,
    /// Its client is for authentication only.
    AuthenticationOnly,
    /// The delegation that it served has ended.
    DelegationEnded,
}

/// A session that has ended at AIP and not yet at its PDS.
#[derive(Debug, Clone)]
pub struct DueRevocation {
    /// The session, with the tokens to revoke.
    pub session: UpstreamSession,
    /// How often it was tried.
    pub attempts: u32,
}

/// Which sessions an operator wants to see; what is `None` does not matter.
#[derive(Debug, Clone, Default)]
pub struct SessionFilter {
    /// Only sessions in this state; `None`: in any.
    pub state: Option<StateName>,
    /// Of this account.
    pub did: Option<Did>,
    /// For this app.
    pub client_id: Option<ClientId>,
}

/// How many sessions there are, for metrics.
#[derive(Debug, Clone, Default)]
pub struct SessionCounts {
    /// Of each kind and state, where there are any.
    pub counts: Vec<(SessionKind, StateName, u64)>,
    /// When the session that is due for longest came due, if one is.
    pub oldest_due: Option<Timestamp>,
}

/// Upstream sessions; the keeper's verbs on them are [`Refreshes`](crate::refresh::Refreshes).
#[async_trait]
pub trait UpstreamSessions: Send + Sync {
    /// Stores a new session.
    async fn create_upstream_session(&self, session: &UpstreamSession) -> Result<(), StorageError>;

    /// The session of that id.
    async fn upstream_session(&self, id: RowId) -> Result<Option<UpstreamSession>, StorageError>;

    /// The newest usable session of that kind, client and account.
    async fn usable_upstream_session(
        &self,
        kind: SessionKind,
        client: &ClientId,
        did: &Did,
    ) -> Result<Option<UpstreamSession>, StorageError>;

    /// The newest usable OAuth session of that client and account whose scope covers `needed`: it
    /// may serve another grant. A narrower one that is newer does not hide it.
    async fn fitting_upstream_session(
        &self,
        client: &ClientId,
        did: &Did,
        needed: &ScopeSet,
    ) -> Result<Option<UpstreamSession>, StorageError>;

    /// Stores what the PDS told session `id` of the e-mail address, unless it was asked again
    /// since.
    async fn store_email(&self, id: RowId, reading: &EmailReading) -> Result<(), StorageError>;

    /// Forgets the e-mail address of session `id`: it may have changed.
    async fn forget_email(&self, id: RowId) -> Result<(), StorageError>;

    /// Stores the session of an app password in place of the one before, which is ended: an app
    /// has one for each account.
    async fn replace_app_password_session(
        &self,
        session: &UpstreamSession,
    ) -> Result<(), StorageError>;

    /// Sessions by id, which is by age: those after `after`, at most `limit`. A row that cannot be
    /// read is an item of its own.
    async fn list_upstream_sessions(
        &self,
        filter: &SessionFilter,
        after: Option<RowId>,
        limit: u32,
    ) -> Result<Vec<Result<UpstreamSession, StorageError>>, StorageError>;

    /// Counts them. Reads every row: for once a minute.
    async fn count_upstream_sessions(&self, now: Timestamp) -> Result<SessionCounts, StorageError>;

    /// Ends a session and the grants that use it, and makes it due for revocation at its PDS.
    /// Whether it was live.
    async fn end_upstream_session(
        &self,
        id: RowId,
        reason: EndReason,
        now: Timestamp,
    ) -> Result<bool, StorageError>;

    /// Ends a session on purpose, unless a live grant uses it, and makes it due for revocation at
    /// its PDS. Whether it did.
    async fn end_unused_session(
        &self,
        id: RowId,
        reason: EndReason,
        now: Timestamp,
    ) -> Result<bool, StorageError>;

    /// Ends live sessions older than `before` that no live grant uses: sign-ins never finished.
    /// An app password's session is used by every grant of its client and account, and outlives
    /// those that ended with their OAuth session: the person is expected back.
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

impl UpstreamSession {
    /// The authorization server that issued it, if it is an OAuth session.
    pub fn issuer(&self) -> Option<&Issuer> {
        match &self.credential {
            Credential::OAuth(oauth) => Some(&oauth.issuer),
            Credential::AppPassword(_) => None,
        }
    }
}

impl Credential {
    /// Its kind.
    pub fn kind(&self) -> SessionKind {
        match self {
            Self::OAuth(_) => SessionKind::OAuth,
            Self::AppPassword(_) => SessionKind::AppPassword,
        }
    }
}

impl UpstreamState {
    /// Its name. A session under a lease goes by what it is without.
    pub fn name(&self) -> StateName {
        match self {
            Self::Active | Self::Refreshing(_) => StateName::Active,
            Self::Uncertain => StateName::Uncertain,
            Self::NeedsReauth(_) => StateName::NeedsReauth,
            Self::Ended(_) => StateName::Ended,
        }
    }
}
