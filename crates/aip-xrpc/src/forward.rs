//! Forwarding a call: judged by the app's token, counted, sent, and answered with what of the PDS's
//! answer is for the app.

use std::sync::Arc;

use aip_atproto::{Did, Nsid, ScopeSet, ServiceRef};
use aip_base::{AmbiguousHeader, Body, HttpError, Paced, collect, empty, full};
use aip_pds::decoded;
use aip_sessions::{ActiveSession, Keeper, KeeperError};
use aip_storage::audit::{AuditEvent, AuditKind};
use aip_storage::client::ClientId;
use aip_storage::session_read::SessionRead;
use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, ETAG};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use http_body::Body as _;
use http_body_util::BodyExt as _;

use crate::error::{CALLER_PACE, ForwardError, MAX_WRITE_BYTES};
use crate::headers::{self, ATPROTO_PROXY};
use crate::methods::is_proxied_by_pds;
use crate::permission_sets::SetReader;
use crate::permit::{CallHead, Judgement, PermittedCall, Refusal, permit, permit_write};
use crate::quota::{Allowance, CallQuota, OverQuota, tells_limits};
use crate::send::Payload;
use crate::session;
use crate::session_choice::{JudgedCall, Sent, Sessions};
use crate::verdict::{collect_answer, status_for_app};

/// Bodies up to this size are kept for a retry; larger ones stream.
const MAX_BUFFERED_BYTES: u64 = 64 * 1024;

/// Forwards calls.
pub struct Forwarder {
    /// Hands out the tokens, signs the calls and sends them.
    pub keeper: Arc<Keeper>,
    /// Counts them, if they are limited.
    pub quota: Option<CallQuota>,
}

/// A call of an app.
pub struct XrpcCall<'a> {
    /// The upstream sessions that it may be made with.
    pub sessions: Sessions<'a>,
    /// Who calls for the account, if that is somebody else: what they change is written down first, for
    /// its owner to see.
    pub delegate: Option<&'a Did>,
    /// The app.
    pub client: &'a ClientId,
    /// The service that a call of the app goes on to when it names none.
    pub default_proxy: Option<&'a ServiceRef>,
    /// What the app's token allows.
    pub scope: &'a ScopeSet,
    /// `GET`, `HEAD` or `POST`.
    pub method: Method,
    /// The method.
    pub nsid: Nsid,
    /// The raw query, kept byte for byte.
    pub query: Option<&'a str>,
    /// The app's headers, all of them.
    pub headers: &'a HeaderMap,
    /// The body.
    pub body: Body,
}

impl Forwarder {
    /// Forwards a call and returns the PDS's answer, its body still streaming.
    pub async fn forward(&self, mut call: XrpcCall<'_>) -> Result<Response<Body>, ForwardError> {
        if call.body.is_end_stream() {
            return self.judge_and_send(call).await;
        }
        let body = Paced::new(call.body, CALLER_PACE);
        let slowness = body.slowness();
        call.body = body.boxed_unsync();
        match self.judge_and_send(call).await {
            Err(_) if slowness.is_too_slow() => Err(ForwardError::TooSlow),
            outcome => outcome,
        }
    }

    async fn judge_and_send(&self, call: XrpcCall<'_>) -> Result<Response<Body>, ForwardError> {
        if call.delegate.is_some() && is_for_the_account_alone(&call.nsid) {
            return Err(Refusal::Method(call.nsid).into());
        }
        let mut to_pds = headers::to_pds(call.headers);
        let named = single(call.headers, ATPROTO_PROXY)?;
        let default = call.default_proxy.filter(|_| is_proxied_by_pds(&call.nsid));
        if let (None, Some(service)) = (named, default) {
            headers::name_service(&mut to_pds, service);
        }
        let head = CallHead {
            verb: &call.method,
            nsid: &call.nsid,
            query: call.query,
            content_type: single(call.headers, "content-type")?,
            content_coding: single(call.headers, "content-encoding")?,
            proxy: named.or(default.map(ServiceRef::as_str)),
        };
        let sets = SetReader {
            resolver: self.keeper.upstream.pds.resolver(),
            quota: self.quota.as_ref(),
            client: call.client.as_str(),
            now: self.keeper.upstream.clock.now(),
        };
        let judged = sets.judge(call.scope, |scope| permit(scope, head)).await?;
        let (permitted, body) = match judged {
            Judgement::Allowed(permitted) => (Some(permitted), call.body),
            Judgement::NeedsBody => {
                let body = collect(call.body, MAX_WRITE_BYTES).await?;
                headers::declare_json(&mut to_pds);
                let judge = |scope: &ScopeSet| permit_write(scope, head, &body);
                let permitted = sets.judge(call.scope, judge).await?;
                (Some(permitted), empty())
            }
            Judgement::NeedsSession => (None, call.body),
        };
        // The body first, which may be slow: a token is asked for when it can be used.
        let judged = permitted.as_ref().and_then(PermittedCall::judged_body);
        let payload = match judged {
            Some(judged) => Payload::Buffered(judged.clone()),
            None if call.method != Method::POST => Payload::Buffered(Bytes::new()),
            None => payload(call.headers, body).await?,
        };
        let narrow = session::withholds_email(call.nsid.as_str(), call.scope);
        if narrow {
            // The answer is read here, so it must come whole and as it is.
            headers::request_full_response(&mut to_pds);
            to_pds.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        }
        let mut judged = JudgedCall {
            sessions: call.sessions,
            delegate: call.delegate,
            client: call.client,
            scope: call.scope,
            head,
            permitted,
            headers: to_pds,
            payload,
        };
        let Sent {
            response,
            session: read,
            allowance,
        } = self.send_judged(&mut judged, &sets).await?;
        if response.status().is_success() {
            self.forget_what_changed(call.nsid.as_str(), read).await;
        }
        let (mut head, mut body) = response.into_parts();
        head.headers = headers::to_app(&head.headers);
        head.status = status_for_app(head.status);
        // What the PDS says of its limits passes, and the limit that was met is told.
        if let Some(allowance) = allowance
            && head.status != StatusCode::TOO_MANY_REQUESTS
            && !tells_limits(&head.headers)
        {
            allowance.write_headers(&mut head.headers);
        }
        if narrow {
            // They are those of the whole answer.
            head.headers.remove(CONTENT_LENGTH);
            head.headers.remove(ETAG);
        }
        if narrow && head.status.is_success() && call.method != Method::HEAD {
            let known = collect_answer(body).await?;
            // Some servers compress what nobody asked them to.
            let known = decoded(&head.headers, &known);
            head.headers.remove(CONTENT_ENCODING);
            let told = known.and_then(|known| session::without_email(&known));
            let unreadable = || HttpError::Broken("not a session".to_owned());
            body = full(told.ok_or_else(unreadable)?);
        }
        Ok(Response::from_parts(head, body))
    }

    /// Writes down what a delegate is about to do. Without that nothing is sent.
    pub(crate) async fn record(
        &self,
        delegate: &Did,
        client: &ClientId,
        active: &ActiveSession,
        call: &PermittedCall,
    ) -> Result<(), KeeperError> {
        let upstream = &self.keeper.upstream;
        let (clock, rng) = (&*upstream.clock, &*upstream.rng);
        let event = AuditEvent::new(clock, rng, AuditKind::DelegatedCall, &call.to_text());
        let event = event.of_account(&active.did).by_delegate(delegate);
        upstream.storage.record(&event.of_client(client)).await?;
        Ok(())
    }

    /// Forgets what is remembered of the account and what a call that succeeded has changed.
    async fn forget_what_changed(&self, method: &str, read: &SessionRead) {
        let upstream = &self.keeper.upstream;
        if session::changes_email(method) {
            let id = read.session.id;
            if let Err(error) = upstream.storage.forget_email(id).await {
                tracing::warn!(session = %id, %error, "invalidating the cached e-mail address failed");
            }
        }
        if session::changes_identity(method) {
            let account = &read.session.did;
            // Here at once, so that the next call of the app is told what is so now.
            upstream.pds.resolver().forget(account);
            self.keeper.identity_changed(account).await;
        }
    }

    /// Counts a call of an app.
    pub(crate) fn count(
        &self,
        client: &str,
        active: &ActiveSession,
    ) -> Result<Option<Allowance>, OverQuota> {
        let Some(quota) = &self.quota else {
            return Ok(None);
        };
        let now = self.keeper.upstream.clock.now();
        let taken = quota.take(client, &active.did, &active.pds, now);
        if taken.is_err() {
            metrics::counter!("aip_rate_limited_total", "limit" => "xrpc").increment(1);
        }
        taken.map(Some)
    }
}

/// Whether the answer to a call is a credential of the account, which is for nobody who acts for it: with a
/// service token its delegate could call others as the account, where nobody sees it.
fn is_for_the_account_alone(nsid: &Nsid) -> bool {
    nsid.as_str()
        .eq_ignore_ascii_case("com.atproto.server.getServiceAuth")
}

async fn payload(headers: &HeaderMap, body: Body) -> Result<Payload, ForwardError> {
    let length = text(headers, &CONTENT_LENGTH).map_or(Some(0), |it| it.parse::<u64>().ok());
    let chunked = headers.contains_key(http::header::TRANSFER_ENCODING);
    match length {
        Some(length) if length <= MAX_BUFFERED_BYTES && !chunked => {
            Ok(Payload::Buffered(collect(body, MAX_WRITE_BYTES).await?))
        }
        _ => Ok(Payload::Stream(Some(body))),
    }
}

/// The header of that name, at most once and as text: what is judged is what the PDS gets.
fn single<'a>(headers: &'a HeaderMap, name: &'static str) -> Result<Option<&'a str>, ForwardError> {
    headers::single_header_text(headers, name).map_err(|AmbiguousHeader| ForwardError::Header(name))
}

fn text(headers: &HeaderMap, name: impl http::header::AsHeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_that_could_be_read_in_two_ways_is_refused() {
        const NAME: &str = "atproto-proxy";
        let mut headers = HeaderMap::new();
        assert!(matches!(single(&headers, NAME), Ok(None)));
        headers.append(NAME, HeaderValue::from_static("did:web:api.example#one"));
        assert!(matches!(
            single(&headers, NAME),
            Ok(Some("did:web:api.example#one"))
        ));
        headers.append(NAME, HeaderValue::from_static("did:web:evil.example#two"));
        assert!(matches!(
            single(&headers, NAME),
            Err(ForwardError::Header(NAME))
        ));
        let unreadable = HeaderValue::from_bytes(b"did:web:evil.example#\xff").unwrap();
        headers.insert(NAME, unreadable);
        assert!(matches!(
            single(&headers, NAME),
            Err(ForwardError::Header(NAME))
        ));
    }
}
