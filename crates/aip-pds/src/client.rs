//! [`PdsClient`]: everything that is needed to talk to authorization servers and PDSs.

use std::sync::Arc;
use std::time::Duration;

use aip_atproto::{Issuer, Origin};
use aip_base::{Clock, Http, Rng};
use aip_storage::nonces::ServerRole;

use crate::cache::{AnswerCache, CachePolicy, Capacity, Source};
use crate::metadata::{AuthServer, MetadataError, TrustedServer, fetch_auth_server, fetch_issuer};
use crate::nonce::NonceStore;
use crate::nonce_tries::{NewestNonceServers, NonceTries};
use crate::origins::Origins;
use crate::request_timer::RequestMetrics;
use crate::resolve::Resolver;
use crate::trace::{Step, Trace};

/// Ages of authorization server metadata. It is only cached for its endpoints; which server is
/// trusted is asked anew by every proof.
const SERVER_AGES: CachePolicy = CachePolicy {
    soft: Duration::from_mins(10),
    hard: Duration::from_hours(1),
    negative: Duration::from_secs(10),
    pause: Duration::from_secs(5),
};

/// How many authorization servers are remembered.
const SERVERS: Capacity = Capacity {
    entries: 4096,
    bytes: 8 * 1024 * 1024,
};

/// Talks to authorization servers and PDSs in the name of AIP.
pub struct PdsClient {
    pub(crate) http: Arc<dyn Http>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) rng: Arc<dyn Rng>,
    pub(crate) nonces: Arc<dyn NonceStore>,
    pub(crate) origins: Origins,
    pub(crate) one_at_a_time: NewestNonceServers,
    pub(crate) request_metrics: RequestMetrics,
    resolver: Arc<Resolver>,
    servers: AnswerCache<Issuer, Arc<AuthServer>, MetadataError>,
}

impl PdsClient {
    /// A client with an empty cache.
    pub fn new(
        http: Arc<dyn Http>,
        clock: Arc<dyn Clock>,
        rng: Arc<dyn Rng>,
        nonces: Arc<dyn NonceStore>,
        resolver: Arc<Resolver>,
    ) -> Self {
        let servers = AnswerCache::new(SERVERS, SERVER_AGES, Arc::clone(&clock));
        let origins = Origins::new(Arc::clone(&clock), Arc::clone(&rng));
        let one_at_a_time = NewestNonceServers::new(Arc::clone(&clock));
        Self {
            http,
            clock,
            rng,
            nonces,
            origins,
            one_at_a_time,
            request_metrics: RequestMetrics::default(),
            resolver,
            servers,
        }
    }

    /// How the servers are doing.
    pub fn origins(&self) -> &Origins {
        &self.origins
    }

    /// The resolver of handles and DIDs.
    pub fn resolver(&self) -> &Resolver {
        &self.resolver
    }

    /// The tries of a request to `origin`, once it is its turn.
    pub async fn nonce_tries<'a>(&'a self, role: ServerRole, origin: &'a Origin) -> NonceTries<'a> {
        NonceTries::begin(&self.one_at_a_time, role, origin).await
    }

    /// The authorization server that `pds` trusts now, both documents checked.
    pub async fn server_of_pds(
        &self,
        pds: &Origin,
        trace: &mut Trace,
    ) -> Result<Arc<AuthServer>, MetadataError> {
        let issuer = self.issuer_of_pds(pds, trace).await?;
        self.server_for_pds(&issuer, pds, trace).await
    }

    /// The issuer that `pds` trusts now, read anew.
    pub(crate) async fn issuer_of_pds(
        &self,
        pds: &Origin,
        trace: &mut Trace,
    ) -> Result<Issuer, MetadataError> {
        let step = Step::begin(&*self.clock, "protected resource metadata", pds.as_str());
        let admission = match self.origins.admit(pds) {
            Ok(admission) => admission,
            Err(paused) => {
                let error = MetadataError::Unreachable {
                    url: pds.to_string(),
                    reason: paused.to_string(),
                };
                trace.steps.push(step.failed(error.to_string()));
                return Err(error);
            }
        };
        let trusted = fetch_issuer(&*self.http, pds).await;
        if trusted.as_ref().is_err_and(MetadataError::is_transient) {
            admission.failed();
        } else {
            admission.answered();
        }
        match trusted {
            Ok(TrustedServer::Named(issuer)) => {
                trace
                    .steps
                    .push(step.found(format!("authorization server {issuer}")));
                Ok(issuer)
            }
            Ok(TrustedServer::Itself(server)) => {
                trace
                    .steps
                    .push(step.found("none; it is an authorization server itself"));
                let issuer = server.issuer.clone();
                self.servers.put(issuer.clone(), Arc::from(server));
                Ok(issuer)
            }
            Err(error) => {
                trace.steps.push(step.failed(error.to_string()));
                Err(error)
            }
        }
    }

    /// The metadata of `issuer`, which `pds` trusts, if it does not disown `pds`.
    pub(crate) async fn server_for_pds(
        &self,
        issuer: &Issuer,
        pds: &Origin,
        trace: &mut Trace,
    ) -> Result<Arc<AuthServer>, MetadataError> {
        let server = self.server(issuer, trace).await?;
        server.check_serves(pds)?;
        Ok(server)
    }

    /// The checked metadata of `issuer`, from the cache when it is young.
    pub async fn server(
        &self,
        issuer: &Issuer,
        trace: &mut Trace,
    ) -> Result<Arc<AuthServer>, MetadataError> {
        let step = Step::begin(
            &*self.clock,
            "authorization server metadata",
            issuer.as_str(),
        );
        let fetch = async { fetch_auth_server(&*self.http, issuer).await.map(Arc::new) };
        let (outcome, source) = self.servers.get(issuer, fetch).await;
        trace.steps.push(match (&outcome, source) {
            (Err(error), _) => step.failed(error.to_string()),
            (Ok(_), Source::Fetched) => step.found("all checks passed"),
            (Ok(_), Source::Cache { age }) => {
                step.found(format!("remembered from {} s ago", age.as_secs()))
            }
        });
        outcome
    }
}
