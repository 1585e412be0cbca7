//! Whether the token and the key of a session at a PDS may be handed to an app, which AIP v2 did for
//! every app. Here the operator gives a client the scope `aip:credentials`, the person allows it, and
//! each time is written down before anything leaves.

use aip_atproto::Scope;
use aip_base::RowId;
use aip_storage::StorageError;
use aip_storage::audit::AuditKind;
use aip_storage::grant::{AccessToken, Grant};

use crate::AuthorizationServer;
use crate::resource::AuthorizedSessionCall;

/// That the credentials of a session may be handed to whoever made a call. Made only by
/// [`AuthorizationServer::permit_credentials`].
#[derive(Debug)]
pub struct CredentialsPermit<'a>(&'a Grant);

impl AuthorizationServer {
    /// Whether whoever made that call may have the credentials of sessions of its client and
    /// account: the token has the scope, the client is registered for it now, and the account is
    /// nobody else's than that of the person who allowed it. A client that the operator takes the
    /// scope from is refused within a second.
    pub async fn permit_credentials<'a>(
        &self,
        call: &'a AuthorizedSessionCall,
    ) -> Result<Option<CredentialsPermit<'a>>, StorageError> {
        let AccessToken { grant, scope, .. } = call.token();
        if !scope.contains(&Scope::Credentials) || grant.subject != grant.actor {
            return Ok(None);
        }
        let client = self.known_client(&grant.client_id).await?;
        // A document is what the app says of itself; the scope is the operator's to give.
        let is_registered = client
            .is_some_and(|it| !it.from_document && it.settings.scope.contains(&Scope::Credentials));
        Ok(is_registered.then_some(CredentialsPermit(grant)))
    }

    /// Writes down that the credentials of `session` are handed out. Without that they stay here.
    pub async fn record_credentials(
        &self,
        permit: &CredentialsPermit<'_>,
        session: RowId,
    ) -> Result<(), StorageError> {
        let detail = format!("upstream session {session}");
        let kind = AuditKind::CredentialsHandedOut;
        self.note(kind, permit.0, &detail).await
    }
}
