//! Whether the token and the key of a session at a PDS may be handed to an app, which AIP v2 did for
//! every app. Here the operator gives a client the scope `aip:credentials`, the person allows it on the
//! consent page (for the operator's own apps, too), and each token is written down before it leaves for
//! the first time.

use std::sync::Arc;

use aip_atproto::Scope;
use aip_base::RowId;
use aip_storage::StorageError;
use aip_storage::audit::AuditKind;
use aip_storage::grant::{AccessToken, Grant};
use quick_cache::sync::Cache;

use crate::AuthorizationServer;
use crate::resource::AuthorizedSessionCall;

/// How many hand-outs are remembered. One that is forgotten is written down again.
const MAX_HAND_OUTS: usize = 16_384;

/// The hand-outs that this process wrote down, shared by clones. Apps of AIP v2 ask before each of their
/// calls, and get the same token for an hour: one event says that they have it.
#[derive(Clone)]
pub struct RecordedCredentials(Arc<Cache<RecordedHandOut, ()>>);

/// The tokens of a session under a grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct RecordedHandOut {
    grant: RowId,
    session: RowId,
    /// Which token pair of the session.
    generation: i64,
}

impl Default for RecordedCredentials {
    fn default() -> Self {
        Self(Arc::new(Cache::new(MAX_HAND_OUTS)))
    }
}

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
        if !scope.contains(&Scope::Credentials) || grant.delegate().is_some() {
            return Ok(None);
        }
        let client = self.known_client(&grant.client_id).await?;
        // A document is what the app says of itself; the scope is the operator's to give.
        let is_registered = client
            .is_some_and(|it| !it.from_document && it.settings.scope.contains(&Scope::Credentials));
        Ok(is_registered.then_some(CredentialsPermit(grant)))
    }

    /// Writes down that the token pair `generation` of `session` is handed out, unless this process did
    /// so for the same grant. Without that it stays here.
    pub async fn record_credentials(
        &self,
        permit: &CredentialsPermit<'_>,
        session: RowId,
        generation: i64,
    ) -> Result<(), StorageError> {
        let hand_out = RecordedHandOut {
            grant: permit.0.id,
            session,
            generation,
        };
        let RecordedCredentials(recorded) = &self.recorded_credentials;
        if recorded.get(&hand_out).is_some() {
            return Ok(());
        }
        let detail = format!("upstream session {session}, token pair {generation}");
        let kind = AuditKind::CredentialsHandedOut;
        let event = self.grant_event(kind, permit.0, &detail);
        self.storage.record(&event).await?;
        recorded.insert(hand_out, ());
        Ok(())
    }
}
