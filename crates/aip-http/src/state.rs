//! What every handler works with.

use std::sync::Arc;

use aip_atproto::ScopeSet;
use aip_base::Timestamp;
use aip_oauth::{AuthorizationServer, Issuer};
use aip_storage::Storage;

use crate::ports::{Health, SignIn, XrpcProxy};

/// What the binary hands in.
pub struct Parts {
    /// The authorization server.
    pub server: AuthorizationServer,
    /// Signing in at PDSs.
    pub sign_in: Arc<dyn SignIn>,
    /// Calls on PDSs.
    pub xrpc: Arc<dyn XrpcProxy>,
    /// How the process is.
    pub health: Arc<dyn Health>,
    /// The name on the pages.
    pub brand: String,
    /// The scopes named in the discovery document.
    pub scopes_supported: ScopeSet,
    /// AIP's own client metadata document; `None` for a loopback client, which has none.
    pub client_metadata: Option<serde_json::Value>,
}

/// What every handler works with; cheap to clone.
#[derive(Clone)]
pub struct App(Arc<Parts>);

impl App {
    /// Takes what the binary hands in.
    pub fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }

    pub(crate) fn parts(&self) -> &Parts {
        &self.0
    }

    pub(crate) fn server(&self) -> &AuthorizationServer {
        &self.0.server
    }

    pub(crate) fn storage(&self) -> &dyn Storage {
        &*self.0.server.storage
    }

    pub(crate) fn issuer(&self) -> &Issuer {
        &self.0.server.issuer
    }

    pub(crate) fn health(&self) -> &dyn Health {
        &*self.0.health
    }

    pub(crate) fn brand(&self) -> &str {
        &self.0.brand
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.0.server.clock.now()
    }

    /// Whether browsers reach us over TLS.
    pub(crate) fn is_https(&self) -> bool {
        self.issuer().as_str().starts_with("https://")
    }
}
