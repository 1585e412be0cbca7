//! The shared state of a replica, as the binary hands it in.

use std::sync::Arc;

use aip_storage::nonces::SharedNonces;
use aip_storage::notices::{LocalNotices, Notices};
use aip_storage::rates::RateLimits;

use crate::fallback::Fallback;
use crate::local::LocalRates;
use crate::valkey::Valkey;

/// What replicas share besides the database.
#[derive(Clone)]
pub struct SharedState {
    /// The newest nonces of servers; `None` where there is only one process.
    pub nonces: Option<Arc<dyn SharedNonces>>,
    /// Rate limits.
    pub rates: Arc<dyn RateLimits>,
    /// What replicas tell each other.
    pub notices: Arc<dyn Notices>,
}

impl SharedState {
    /// For one process.
    pub fn local() -> Self {
        Self {
            nonces: None,
            rates: Arc::new(LocalRates::default()),
            notices: Arc::new(LocalNotices::default()),
        }
    }

    /// Valkey first, and `self` behind it.
    #[must_use]
    pub fn behind(self, valkey: &Arc<Valkey>) -> Self {
        let nonces: Arc<dyn SharedNonces> = match self.nonces {
            Some(behind) => Arc::new(Fallback {
                valkey: Arc::clone(valkey),
                behind,
            }),
            None => Arc::clone(valkey) as _,
        };
        Self {
            nonces: Some(nonces),
            rates: Arc::new(Fallback {
                valkey: Arc::clone(valkey),
                behind: self.rates,
            }),
            notices: Arc::new(Fallback {
                valkey: Arc::clone(valkey),
                behind: self.notices,
            }),
        }
    }
}
