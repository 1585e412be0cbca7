//! Writing to the audit stream, with id and time filled in.

use aip_atproto::Did;
use aip_base::RowId;
use aip_storage::StorageError;
use aip_storage::audit::{AuditEvent, AuditKind};
use aip_storage::client::ClientId;

use crate::AuthorizationServer;

impl AuthorizationServer {
    /// Appends an event. `detail` is fixed words and ids, never a secret.
    pub async fn audit(
        &self,
        kind: AuditKind,
        did: Option<&Did>,
        client_id: Option<&ClientId>,
        detail: String,
    ) -> Result<(), StorageError> {
        self.storage
            .record(&AuditEvent {
                id: RowId::new(&*self.clock, &*self.rng),
                at: self.clock.now(),
                kind,
                did: did.cloned(),
                client_id: client_id.cloned(),
                detail,
            })
            .await
    }
}
