//! App passwords: an app's session at an account's PDS that was begun with a password which the
//! person made for it, for what OAuth cannot do yet. One for each client and account.
//!
//! The password is tried at the account's own PDS before it is kept, and kept sealed, because a
//! session whose refresh token is dead is begun anew with it. From then on the keeper treats the
//! session like any other: [`Keeper::session_for`] finds it, [`Keeper::recent_session`] hands it out.

use std::sync::Arc;

use aip_atproto::Did;
use aip_base::{Blame, RowId};
use aip_pds::{AppPassword, NotAnAppPassword, PasswordSessionError};
use aip_storage::StorageError;
use aip_storage::audit::AuditKind;
use aip_storage::client::ClientId;
use aip_storage::upstream::{Credential, EndReason, SessionKind, UpstreamSession, UpstreamState};

use crate::keeper::step::keep_alive_at;
use crate::keeper::{Keeper, KeeperError};
use crate::session_sealer::{Column, SealerError};
use crate::upstream::Upstream;

/// Takes app passwords in and gives them back.
pub struct AppPasswords {
    keeper: Arc<Keeper>,
}

/// Why an app password is not kept.
#[derive(Debug, thiserror::Error)]
pub enum AppPasswordError {
    /// It does not look like one.
    #[error(transparent)]
    Form(#[from] NotAnAppPassword),
    /// The account's PDS refuses it.
    #[error("the app password is refused: {0}")]
    Refused(#[source] PasswordSessionError),
    /// The account's PDS cannot be asked now.
    #[error("the account's PDS cannot be asked now: {0}")]
    Unavailable(String),
    /// Our fault.
    #[error(transparent)]
    Keeper(#[from] KeeperError),
    /// Our fault.
    #[error(transparent)]
    Sealer(#[from] SealerError),
    /// Our fault.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl AppPasswordError {
    /// Whose fault it is.
    pub fn blame(&self) -> Blame {
        match self {
            Self::Form(_) | Self::Refused(_) => Blame::Caller,
            Self::Unavailable(_) => Blame::Upstream,
            Self::Keeper(error) => error.blame(),
            Self::Sealer(_) | Self::Storage(_) => Blame::Ours,
        }
    }
}

impl AppPasswords {
    /// With the keeper that looks after their sessions.
    pub fn new(keeper: Arc<Keeper>) -> Self {
        Self { keeper }
    }

    fn upstream(&self) -> &Upstream {
        &self.keeper.upstream
    }

    /// Tries `password` at the PDS of `did` and keeps it for `client`, in place of the one before.
    /// Returns the session. A refusal is written down by [`Self::audit_refusal`].
    pub async fn set(
        &self,
        client: &ClientId,
        did: &Did,
        password: &str,
    ) -> Result<RowId, AppPasswordError> {
        let session = self.begin(client, did, password).await?;
        let (kind, pds) = (AuditKind::AppPasswordGiven, session.pds.as_str());
        self.audit(kind, client, did, pds).await;
        Ok(session.id)
    }

    /// Writes down that a password was refused. The caller sees to it that these are not too many.
    pub async fn audit_refusal(&self, client: &ClientId, did: &Did, error: &AppPasswordError) {
        let kind = AuditKind::AppPasswordRefused;
        self.audit(kind, client, did, &error.to_string()).await;
    }

    /// Notes what is done already.
    async fn audit(&self, kind: AuditKind, client: &ClientId, did: &Did, detail: &str) {
        let event = self.upstream().audit_event(kind, detail);
        let event = event.of_account(did).of_client(client);
        self.upstream().storage.note(&event).await;
    }

    async fn begin(
        &self,
        client: &ClientId,
        did: &Did,
        password: &str,
    ) -> Result<UpstreamSession, AppPasswordError> {
        let password = AppPassword::parse(password)?;
        let proven = self
            .upstream()
            .pds
            .prove_pds(did)
            .await
            .map_err(|error| AppPasswordError::Unavailable(error.to_string()))?;
        let created = self
            .upstream()
            .pds
            .create_password_session(&proven, &password)
            .await;
        let tokens = created.map_err(|error| {
            if error.is_final() {
                AppPasswordError::Refused(error)
            } else {
                AppPasswordError::Unavailable(error.to_string())
            }
        })?;
        let now = self.upstream().clock.now();
        let id = self.upstream().new_id();
        let session = UpstreamSession {
            id,
            client_id: client.clone(),
            did: did.clone(),
            pds: proven.pds().clone(),
            credential: Credential::AppPassword(self.upstream().sealer.seal(
                password.secret(),
                Column::AppPassword,
                id,
            )?),
            scope: tokens.scope.clone(),
            email: None,
            tokens: self.upstream().sealer.seal_tokens(&tokens, id)?,
            generation: 0,
            state: UpstreamState::Active,
            next_refresh_at: keep_alive_at(now),
            failures: 0,
            rejected: None,
            last_error: None,
            refreshed_at: tokens.asked_at,
            created_at: now,
        };
        self.upstream()
            .storage
            .replace_app_password_session(&session)
            .await?;
        Ok(session)
    }

    /// Forgets the app password that `client` has for `did` and ends its session. Whether there
    /// was one.
    pub async fn remove(&self, client: &ClientId, did: &Did) -> Result<bool, AppPasswordError> {
        let kind = SessionKind::AppPassword;
        let Some(session) = self.keeper.session_for(client, did, kind).await? else {
            return Ok(false);
        };
        let ended = self
            .keeper
            .end(session.id, EndReason::PasswordRemoved)
            .await?;
        if ended {
            let (kind, pds) = (AuditKind::AppPasswordRemoved, session.pds.as_str());
            self.audit(kind, client, did, pds).await;
        }
        Ok(ended)
    }
}
