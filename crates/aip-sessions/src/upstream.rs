//! What signing in at a PDS and keeping its sessions alive both work with.

use std::sync::Arc;

use aip_base::{Clock, Rng, RowId};
use aip_keys::TokenHasher;
use aip_pds::PdsClient;
use aip_storage::Storage;
use aip_storage::audit::{AuditEvent, AuditKind};

use crate::identity::UpstreamIdentity;
use crate::session_sealer::SessionSealer;

/// AIP as a client of PDSs.
#[derive(Clone)]
pub struct Upstream {
    /// Sends the requests.
    pub pds: Arc<PdsClient>,
    /// The OAuth client that AIP is there.
    pub identity: UpstreamIdentity,
    /// Holds flows and sessions.
    pub storage: Arc<dyn Storage>,
    /// Seals and opens their secrets.
    pub sealer: SessionSealer,
    /// Hashes `state` parameters, and refresh tokens for the journal.
    pub hasher: Arc<TokenHasher>,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub rng: Arc<dyn Rng>,
}

impl Upstream {
    pub(crate) fn new_id(&self) -> RowId {
        RowId::new(&*self.clock, &*self.rng)
    }

    pub(crate) fn audit_event(&self, kind: AuditKind, detail: &str) -> AuditEvent {
        AuditEvent::new(&*self.clock, &*self.rng, kind, detail)
    }
}
