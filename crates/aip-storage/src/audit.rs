//! The audit stream: what happened to accounts, grants and sessions, without any secret.

use aip_atproto::Did;
use aip_base::{Clock, Rng, RowId, Timestamp};
use async_trait::async_trait;
use strum::{EnumIter, EnumString, IntoStaticStr};

use crate::StorageError;
use crate::client::ClientId;

/// The longest detail, in characters.
const MAX_DETAIL: usize = 500;

/// What happened. The names are stable: operators build alerts on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumIter, IntoStaticStr, EnumString)]
#[strum(serialize_all = "snake_case")]
pub enum AuditKind {
    /// A person signed in through their PDS.
    SignedIn,
    /// A sign-in was refused: an identity proof or a token check failed.
    SignInRefused,
    /// A person allowed an app.
    GrantGiven,
    /// A grant ended; the detail says why.
    GrantRevoked,
    /// A spent code was presented again; what it produced was revoked.
    CodeReplayed,
    /// A spent refresh token was presented again; its family was revoked.
    RefreshReplayed,
    /// An upstream session ended or needs the person; the detail says why.
    UpstreamEnded,
    /// An operator had an upstream session refreshed.
    UpstreamRefreshed,
    /// A person gave an app password.
    AppPasswordGiven,
    /// An app password was refused; the detail says why.
    AppPasswordRefused,
    /// An app password was taken back.
    AppPasswordRemoved,
    /// The token and the DPoP key of an upstream session were handed to an app; the detail says which
    /// session and token pair. What a process hands out again is not written down again.
    CredentialsHandedOut,
    /// A client registered itself.
    ClientRegistered,
    /// A client that registered itself changed its registration.
    ClientRegistrationChanged,
    /// A client that registered itself deleted itself.
    ClientRegistrationDeleted,
    /// An administrator, who is the account, changed a client; the detail says by which method.
    ClientChangedByAdmin,
    /// An owner let another account act for theirs; the detail says what and until when.
    DelegationGiven,
    /// A delegation ended; the detail says why.
    DelegationEnded,
    /// A delegate exchanged a token for one that acts for the owner; the detail says its scope.
    DelegatedToken,
    /// A delegate is about to change something for the owner; the detail says the call.
    DelegatedCall,
    /// A person made a developer token; the detail says what it allows and until when.
    DeveloperTokenMade,
    /// A developer token was revoked; the detail says by whom.
    DeveloperTokenRevoked,
    /// A device of a client that proves itself got its first client assertion (AT Protocol proposal 0010); the
    /// detail says for which authorization server and key.
    AssertionKeyBound,
    /// A client was notified that a person has signed out.
    LogoutDelivered,
    /// A client was not told, and will not be; the detail says why.
    LogoutNotDelivered,
}

/// One event.
#[derive(Debug, Clone)]
pub struct AuditEvent {
    /// Its id.
    pub id: RowId,
    /// When it happened, by the clock of the process.
    pub at: Timestamp,
    /// What happened.
    pub kind: AuditKind,
    /// The account concerned.
    pub did: Option<Did>,
    /// Who acted, if not the account itself: a delegate of its owner.
    pub actor: Option<Did>,
    /// The client concerned.
    pub client_id: Option<ClientId>,
    /// Which check, which reason: fixed words, at most 500 characters, no secret.
    pub detail: String,
}

impl AuditEvent {
    /// An event of this moment. A longer `detail` is cut.
    pub fn new(clock: &dyn Clock, rng: &dyn Rng, kind: AuditKind, detail: &str) -> Self {
        Self {
            id: RowId::new(clock, rng),
            at: clock.now(),
            kind,
            did: None,
            actor: None,
            client_id: None,
            detail: detail.chars().take(MAX_DETAIL).collect(),
        }
    }

    /// The same event, about that account.
    #[must_use]
    pub fn of_account(mut self, did: &Did) -> Self {
        self.did = Some(did.clone());
        self
    }

    /// The same event, by that delegate.
    #[must_use]
    pub fn by_delegate(mut self, did: &Did) -> Self {
        self.actor = Some(did.clone());
        self
    }

    /// The same event, about that client.
    #[must_use]
    pub fn of_client(mut self, client_id: &ClientId) -> Self {
        self.client_id = Some(client_id.clone());
        self
    }
}

/// The audit stream. What must not be without its event is stored in one transaction with it; or, if it is not
/// in the database, done after [`Audit::record`].
#[async_trait]
pub trait Audit: Send + Sync {
    /// Appends an event.
    async fn record(&self, event: &AuditEvent) -> Result<(), StorageError>;

    /// Appends an event of what is done already. Where that fails, the log has it instead: an error would say
    /// that it was not done, and cost whoever asked for it the answer.
    async fn note(&self, event: &AuditEvent) {
        if let Err(error) = self.record(event).await {
            let AuditEvent {
                kind,
                did,
                actor,
                client_id,
                detail,
                ..
            } = event;
            let (did, actor) = (
                did.as_ref().map(Did::as_str),
                actor.as_ref().map(Did::as_str),
            );
            let client = client_id.as_ref().map(ClientId::as_str);
            tracing::error!(
                kind = kind.as_str(), did, actor, client, words = detail, %error,
                "writing the audit log failed"
            );
        }
    }

    /// The newest events, newest first, at most `limit`.
    async fn audit_events(&self, limit: u32) -> Result<Vec<AuditEvent>, StorageError>;
}
