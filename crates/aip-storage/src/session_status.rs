//! An upstream session without its secrets.

use aip_atproto::{Handle, Origin};
use aip_base::{RowId, Timestamp};

use crate::grant::AccessToken;
use crate::upstream::{Credential, UpstreamSession, UpstreamState};

/// What of a session decides whether it can be used now and until when, and what is told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionStatus {
    /// Its id.
    pub id: RowId,
    /// The PDS it is used at.
    pub pds: Origin,
    /// Where it stands.
    pub state: UpstreamState,
    /// Whether AIP is a public client there: one of OAuth without a key.
    pub is_public_client: bool,
    /// When the access token expires.
    pub access_expires_at: Timestamp,
    /// When the tokens of this generation were asked for.
    pub refreshed_at: Timestamp,
    /// Counts the token pairs.
    pub generation: i64,
    /// Failed attempts to refresh it since the last success.
    pub failures: u32,
    /// When the keeper looks at it next.
    pub next_refresh_at: Timestamp,
    /// When it began.
    pub created_at: Timestamp,
}

/// An access token with the session that serves its grant, and the account, as of one instant.
#[derive(Debug, Clone)]
pub struct TokenWithSession {
    /// The token, with its grant.
    pub token: AccessToken,
    /// `None` if the session is not there any more.
    pub session: Option<SessionStatus>,
    /// The verified handle of the grant's account; `None` if it has none.
    pub handle: Option<Handle>,
}

impl UpstreamSession {
    /// The session without its secrets.
    pub fn status(&self) -> SessionStatus {
        let is_public_client = match &self.credential {
            Credential::OAuth(oauth) => oauth.client_key_id.is_none(),
            Credential::AppPassword(_) => false,
        };
        SessionStatus {
            id: self.id,
            pds: self.pds.clone(),
            state: self.state.clone(),
            is_public_client,
            access_expires_at: self.tokens.access_expires_at,
            refreshed_at: self.refreshed_at,
            generation: self.generation,
            failures: self.failures,
            next_refresh_at: self.next_refresh_at,
            created_at: self.created_at,
        }
    }
}
