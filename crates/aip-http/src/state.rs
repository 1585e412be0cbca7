//! What every handler works with.

use std::sync::{Arc, Mutex};

use aip_atproto::ScopeSet;
use aip_base::{RowId, Timestamp, lock};
use aip_oauth::{AuthorizationServer, Issuer};
use aip_pds::Resolver;
use aip_sessions::{Keeper, SignIn};
use aip_storage::Storage;
use aip_storage::client::IdTokenAlg;
use aip_xrpc::Forwarder;
use bytes::Bytes;
use tokio_util::task::TaskTracker;

use crate::api_error::ApiError;
use crate::caller::{Caller, TrustedProxies};
use crate::endpoint::Endpoint;
use crate::health::Health;
use crate::incoming_request::IncomingRequest;
use crate::limits::{Limit, LimitKey, RateLimiter};
use crate::lookups::Lookups;
use crate::public_keys::{self, PublicKeys};
use crate::request_metrics::RequestMetrics;
use crate::service_auth::ServiceIdentity;
use crate::upstream_document::UpstreamDocument;
use crate::v1_names::V1Names;

/// What the binary hands in.
pub struct Parts {
    /// The authorization server.
    pub server: AuthorizationServer,
    /// Signing in at PDSs.
    pub sign_in: SignIn,
    /// Sessions at PDSs.
    pub keeper: Arc<Keeper>,
    /// Calls on PDSs.
    pub forwarder: Forwarder,
    /// The tasks of requests that are answered to the end even if the client leaves. Whoever shuts
    /// the listener down waits for them.
    pub handlers: TaskTracker,
    /// How the process is.
    pub health: Arc<dyn Health>,
    /// Rate limits.
    pub limiter: RateLimiter,
    /// The proxies in front of this process.
    pub proxies: TrustedProxies,
    /// What this server is as a service of the AT Protocol.
    pub service: ServiceIdentity,
    /// The name on the pages.
    pub brand: String,
    /// The scopes named in the discovery document.
    pub scopes_supported: ScopeSet,
    /// AIP's own client metadata document; `None` for a loopback client, which has none.
    pub client_metadata: Option<UpstreamDocument>,
    /// How the names of AIP v1 are answered; `None` where there are none.
    pub v1: Option<V1Names>,
}

/// What every handler works with; cheap to clone.
#[derive(Clone)]
pub struct AppState(Arc<Shared>);

struct Shared {
    parts: Parts,
    /// The metadata of the authorization server, and the algorithms of the keys that it was made
    /// for. No request changes it.
    metadata: Mutex<Option<(Vec<IdTokenAlg>, Bytes)>>,
    public_keys: PublicKeys,
    lookups: Lookups,
    metrics: RequestMetrics,
}

impl AppState {
    /// Takes what the binary hands in.
    pub fn new(parts: Parts) -> Self {
        Self(Arc::new(Shared {
            parts,
            metadata: Mutex::default(),
            public_keys: PublicKeys::default(),
            lookups: Lookups::default(),
            metrics: RequestMetrics::new(),
        }))
    }

    pub(crate) fn parts(&self) -> &Parts {
        &self.0.parts
    }

    /// The metadata of the authorization server that signs with `algs`, made by the first request
    /// that asks.
    pub(crate) fn metadata(&self, algs: &[IdTokenAlg], make: impl FnOnce() -> Bytes) -> Bytes {
        let mut known = lock(&self.0.metadata);
        match &*known {
            Some((made_for, body)) if made_for == algs => body.clone(),
            _ => {
                let body = make();
                *known = Some((algs.to_vec(), body.clone()));
                body
            }
        }
    }

    /// The public keys as JSON.
    pub(crate) fn public_keys(&self) -> public_keys::RenderedKeySets {
        self.0.public_keys.of(self.server().keys.current())
    }

    /// How the names of AIP v1 are answered, if they are.
    pub(crate) fn v1(&self) -> Option<&V1Names> {
        self.0.parts.v1.as_ref()
    }

    /// Whether there is that endpoint.
    pub(crate) fn mounts(&self, endpoint: Endpoint) -> bool {
        match endpoint {
            Endpoint::V1Debug => self.v1().is_some_and(|it| it.development),
            endpoint => self.v1().is_some() || !endpoint.is_of_v1(),
        }
    }

    /// Counts requests.
    pub(crate) fn metrics(&self) -> &RequestMetrics {
        &self.0.metrics
    }

    /// What bounds the look-ups of accounts.
    pub(crate) fn lookups(&self) -> &Lookups {
        &self.0.lookups
    }

    /// Looks accounts up.
    pub(crate) fn resolver(&self) -> &Resolver {
        self.0.parts.keeper.upstream.pds.resolver()
    }

    pub(crate) fn server(&self) -> &AuthorizationServer {
        &self.0.parts.server
    }

    pub(crate) fn storage(&self) -> &dyn Storage {
        &*self.0.parts.server.storage
    }

    pub(crate) fn issuer(&self) -> &Issuer {
        &self.0.parts.server.issuer
    }

    pub(crate) fn health(&self) -> &dyn Health {
        &*self.0.parts.health
    }

    pub(crate) fn brand(&self) -> &str {
        &self.0.parts.brand
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.0.parts.server.clock.now()
    }

    /// Counts a call by its network, unless that is one too many.
    pub(crate) async fn count(
        &self,
        limit: Limit,
        incoming: &IncomingRequest,
    ) -> Result<(), ApiError> {
        let network = LimitKey::Network(self.caller(incoming));
        self.0.parts.limiter.count(limit, network, self.now()).await
    }

    /// Reads the document of the client that the parameters name, if that has to be read. Whoever
    /// makes AIP ask others too often is refused, unless the request can be answered without.
    pub(crate) async fn read_client_document(
        &self,
        incoming: &IncomingRequest,
        params: &[u8],
    ) -> Result<(), ApiError> {
        let Some(due) = self.server().due_document(params).await? else {
            return Ok(());
        };
        match self.count(Limit::CLIENT_DOCUMENTS, incoming).await {
            Ok(()) => Ok(self.server().read_document(due).await?),
            Err(_) if due.is_known() => Ok(()),
            Err(refused) => Err(refused),
        }
    }

    /// Counts a call by its client, unless that is one too many.
    pub(crate) async fn count_for_client(&self, limit: Limit, id: &str) -> Result<(), ApiError> {
        let client = LimitKey::Client(id);
        self.0.parts.limiter.count(limit, client, self.now()).await
    }

    /// Counts a call under a grant, unless that is one too many.
    pub(crate) async fn count_for_grant(&self, limit: Limit, id: RowId) -> Result<(), ApiError> {
        let grant = LimitKey::Grant(id);
        self.0.parts.limiter.count(limit, grant, self.now()).await
    }

    /// Counts a failed authentication, by network and by `client`, whose secret was wrong.
    pub(crate) async fn count_failure(
        &self,
        incoming: &IncomingRequest,
        client: Option<&str>,
    ) -> Result<(), ApiError> {
        let by_network = self
            .count(Limit::CLIENT_FAILURES_PER_NETWORK, incoming)
            .await;
        let by_client = match client {
            Some(id) => {
                self.count_for_client(Limit::CLIENT_FAILURES_PER_CLIENT, id)
                    .await
            }
            None => Ok(()),
        };
        by_network.and(by_client)
    }

    /// Where a call comes from.
    pub(crate) fn caller(&self, incoming: &IncomingRequest) -> Caller {
        let head = &incoming.head;
        self.0.parts.proxies.caller(&head.extensions, &head.headers)
    }

    /// Whether browsers reach us over TLS.
    pub(crate) fn is_https(&self) -> bool {
        self.issuer().origin().is_https()
    }
}
