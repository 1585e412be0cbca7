//! The client: [`aip_base::Http`] behind the guard.

use std::error::Error;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aip_base::{Body, DnsError, Http, HttpError, OnBehalfOf, Share};
use async_trait::async_trait;
use http::header::USER_AGENT;
use http::{HeaderValue, Request, Response};
use http_body_util::BodyExt as _;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tracing::Instrument as _;

use crate::body::{AnswerBody, SendState, SendTrackingBody};
use crate::connector::{GuardedConnector, WithTimeout};
use crate::host_limits::HostLimits;
use crate::policy::{CheckedTargets, GuardRefusal, Policy};
use crate::upstream_span::UpstreamSpan;
use crate::{OutboundConfig, OutboundConfigError, Resolve, tls};

/// The most headers of an answer.
const MAX_HEADERS: usize = 100;

/// The most bytes of an answer's head.
const MAX_HEAD_BYTES: usize = 64 * 1024;

/// How long an unused connection is kept.
const IDLE_CONNECTION_TIMEOUT: Duration = Duration::from_secs(30);

/// The guarded HTTP client.
pub struct Outbound {
    client: Client<WithTimeout<HttpsConnector<GuardedConnector>>, SendTrackingBody>,
    targets: CheckedTargets,
    hosts: HostLimits,
    user_agent: HeaderValue,
    connect_timeout: Duration,
}

impl Outbound {
    /// The client for `config`, which finds addresses with `resolver`.
    pub fn new(
        config: OutboundConfig,
        resolver: Arc<dyn Resolve>,
    ) -> Result<Self, OutboundConfigError> {
        let policy = Arc::new(Policy {
            extra_ports: config.extra_ports,
            development: config.development,
        });
        let guarded = GuardedConnector {
            policy: Arc::clone(&policy),
            resolver,
        };
        let https = HttpsConnectorBuilder::new()
            .with_tls_config(tls::client_config(&config.extra_ca_pem)?)
            .https_or_http() // which of the two is the policy's decision
            .enable_http1()
            .wrap_connector(guarded);
        let connector = WithTimeout {
            inner: https,
            timeout: config.connect_timeout,
        };
        #[allow(
            clippy::disallowed_methods,
            reason = "this is the client that everybody is handed"
        )]
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_CONNECTION_TIMEOUT)
            .pool_max_idle_per_host(64)
            .http1_max_headers(MAX_HEADERS)
            .http1_max_buf_size(MAX_HEAD_BYTES)
            .build(connector);
        Ok(Self {
            client,
            targets: CheckedTargets::new(policy),
            hosts: HostLimits::new(config.capacity),
            user_agent: HeaderValue::from_str(&config.user_agent)
                .unwrap_or(HeaderValue::from_static("aip")),
            connect_timeout: config.connect_timeout,
        })
    }

    async fn exchange(
        &self,
        request: Request<SendTrackingBody>,
        host: &Arc<str>,
    ) -> Result<Response<Body>, Failure> {
        let caller = request.extensions().get::<OnBehalfOf>().cloned();
        let waits_for = Mutex::new(Share::Host);
        let slot = self.hosts.slot(host, caller.as_ref(), &waits_for);
        let slot = tokio::time::timeout(self.connect_timeout, slot).await;
        let Ok(Some(slot)) = slot else {
            let share = waits_for.into_inner();
            return Err(Failure::Busy(share.unwrap_or_else(PoisonError::into_inner)));
        };
        let response = self.client.request(request).await?;
        Ok(response.map(|body| AnswerBody::new(body, slot).boxed_unsync()))
    }
}

#[async_trait]
impl Http for Outbound {
    async fn send(
        &self,
        mut request: Request<Body>,
        deadline: Duration,
    ) -> Result<Response<Body>, HttpError> {
        // The connector checks again for each new connection; here the refusal is early and
        // holds for pooled connections as well.
        let target = self.targets.check(request.uri());
        let target = target.map_err(|refusal| HttpError::Refused(refusal.to_string()))?;
        request
            .headers_mut()
            .entry(USER_AGENT)
            .or_insert_with(|| self.user_agent.clone());
        let upstream_span = UpstreamSpan::begin(request.method(), &target.name);
        let send_state = SendState::new();
        let request = request.map(|body| SendTrackingBody::new(body, send_state.clone()));
        let exchange = self.exchange(request, &target.host);
        let exchange = exchange.instrument(upstream_span.span());
        let mut exchange = pin!(exchange);
        let outcome = loop {
            let until = send_state.waits_until(deadline);
            match tokio::time::timeout_at(until, &mut exchange).await {
                Ok(Ok(response)) => break Ok(response),
                Ok(Err(failure)) => break Err(failure.into_http_error(&send_state)),
                Err(_) if send_state.waits_until(deadline) > until => {}
                Err(_) if send_state.has_begun() => break Err(HttpError::Deadline(deadline)),
                Err(_) => {
                    let reason = format!("not connected within {deadline:?}");
                    break Err(HttpError::Connect(reason));
                }
            }
        };
        upstream_span.end(&outcome);
        outcome
    }
}

/// Why an exchange failed, before it is known whether the request left.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("too many requests {0} are in flight to this host")]
    Busy(Share),
    #[error(transparent)]
    Client(#[from] hyper_util::client::legacy::Error),
}

impl Failure {
    pub(crate) fn into_http_error(self, send_state: &SendState) -> HttpError {
        if let Self::Busy(share) = self {
            return HttpError::Busy(share);
        }
        let causes = || {
            std::iter::successors(Some(&self as &(dyn Error + 'static)), |&error| {
                error.source()
            })
        };
        if let Some(refusal) = causes().find_map(|error| error.downcast_ref::<GuardRefusal>()) {
            return HttpError::Refused(refusal.to_string());
        }
        if causes().any(|error| error.downcast_ref::<DnsError>() == Some(&DnsError::NoRecord)) {
            return HttpError::NoHost;
        }
        let mut messages: Vec<String> = causes().map(ToString::to_string).collect();
        messages.dedup();
        let reason = messages.join(": ");
        if send_state.has_begun() {
            HttpError::Broken(reason)
        } else {
            HttpError::Connect(reason)
        }
    }
}
