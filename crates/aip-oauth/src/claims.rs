//! Claims about the person (OpenID Connect Core §5.1), for userinfo and, where the client wants it,
//! the `id_token`: what the scopes of one grant open, and nothing learned through another grant.

use crate::AuthorizationServer;
pub use crate::wire::PersonClaims;
use aip_atproto::{OpenIdScope, Scope, ScopeSet};
use aip_storage::StorageError;
use aip_storage::grant::Grant;
use async_trait::async_trait;

/// The placeholder of the AT Protocol for a handle that does not hold in both directions.
pub const INVALID_HANDLE: &str = "handle.invalid";

/// An e-mail address as it is claimed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimedEmail {
    /// The address.
    pub address: String,
    /// Whether a PDS that the operator trusts says that the person confirmed it.
    pub verified: bool,
}

/// Knows the e-mail addresses of accounts.
#[async_trait]
pub trait Emails: Send + Sync + 'static {
    /// The address as the PDS tells it to the upstream session of `grant`; `None` when it does not
    /// tell, or cannot be asked at present.
    async fn email(&self, grant: &Grant) -> Result<Option<ClaimedEmail>, StorageError>;
}

impl AuthorizationServer {
    /// What `scope`, the grant's or less, opens.
    pub async fn person_claims(
        &self,
        grant: &Grant,
        scope: &ScopeSet,
    ) -> Result<PersonClaims, StorageError> {
        let mut claims = PersonClaims::default();
        if scope.contains(&Scope::OpenId(OpenIdScope::Profile)) {
            let account = self.storage.account(&grant.subject).await?;
            let handle = account.and_then(|account| account.handle);
            claims.name = handle.as_ref().map(|it| it.as_str().to_owned());
            claims.preferred_username =
                Some(handle.map_or_else(|| INVALID_HANDLE.to_owned(), |it| it.as_str().to_owned()));
        }
        if scope.contains(&Scope::OpenId(OpenIdScope::Email))
            && let Some(email) = self.emails.email(grant).await?
        {
            claims.email = Some(email.address);
            claims.email_verified = Some(email.verified);
        }
        Ok(claims)
    }
}
