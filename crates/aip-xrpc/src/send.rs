//! Sending a permitted call: DPoP upstream, one retry for a nonce, one refresh for a rejected token,
//! bodies streamed both ways.

use std::sync::Arc;
use std::time::Duration;

use aip_atproto::Origin;
use aip_base::{Body, HttpError, OnBehalfOf, empty, full};
use aip_pds::{NonceTries, PdsCall, SendError, nonce_of};
use aip_sessions::{ActiveSession, KeeperError};
use aip_storage::nonces::ServerRole;
use aip_storage::session_read::SessionRead;
use aip_storage::upstream::ReauthReason;
use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body::Body as _;

use crate::error::ForwardError;
use crate::forward::Forwarder;
use crate::permit::PermittedCall;
use crate::verdict::{Verdict, judge};

/// How long a PDS may take until it begins to answer, after it has the whole request.
const HEAD_DEADLINE: Duration = Duration::from_mins(1);

/// A body, with or without the possibility to send it again.
pub(crate) enum Payload {
    Buffered(Bytes),
    /// `None`: it was sent.
    Stream(Option<Body>),
}

impl Payload {
    /// Whether all of it can be sent still.
    pub(crate) fn is_whole(&self) -> bool {
        matches!(self, Self::Buffered(_) | Self::Stream(Some(_)))
    }
}

/// What every attempt of a call has in common.
pub(crate) struct Outgoing {
    pub(crate) call: PermittedCall,
    pub(crate) headers: HeaderMap,
    pub(crate) caller: OnBehalfOf,
}

impl Outgoing {
    /// A call that every session may make, for the same caller.
    fn probe(other: &Self) -> Self {
        Self {
            call: PermittedCall::get_session(),
            headers: HeaderMap::new(),
            caller: other.caller.clone(),
        }
    }
}

impl Forwarder {
    /// Sends a call with the session `active`, which was `read` a moment ago. A session that is of no
    /// use leaves the payload whole: the PDS did nothing then.
    pub(crate) async fn send(
        &self,
        outgoing: &Outgoing,
        read: &SessionRead,
        active: Arc<ActiveSession>,
        payload: &mut Payload,
    ) -> Result<Response<Body>, ForwardError> {
        match payload {
            Payload::Buffered(bytes) => {
                let bytes = bytes.clone();
                self.send_buffered(outgoing, &active, bytes).await
            }
            // In a box, as what it holds would make every other call larger.
            Payload::Stream(body) => {
                Box::pin(self.send_stream(outgoing, read, &active, body)).await
            }
        }
    }

    /// Sends a body that can be sent once. So nonce and token are made sure of beforehand, by a call that
    /// costs the PDS little.
    async fn send_stream(
        &self,
        outgoing: &Outgoing,
        read: &SessionRead,
        active: &ActiveSession,
        body: &mut Option<Body>,
    ) -> Result<Response<Body>, ForwardError> {
        let mut tries = self.tries(&active.pds).await;
        let probe = Outgoing::probe(outgoing);
        let answer = self
            .send_buffered_in(&mut tries, &probe, active, Bytes::new())
            .await?;
        drop(answer);
        let active = self.keeper.recent_session(read).await?;
        let sent_before = || HttpError::Refused("the body was sent before".to_owned());
        let body = body.take().ok_or_else(sent_before)?;
        let nonce = tries.nonce_for(&active.pds).map(str::to_owned);
        let attempt = self.attempt(outgoing, &active, body, nonce.as_deref());
        let response = tries.run(attempt).await?;
        tries.end(nonce_of(response.headers()).map(str::to_owned));
        // A 401 about AIP's session must not look to the app like one about its own token.
        match judge(response, &active.auth, outgoing.call.name()).await? {
            Verdict::Good(response) => Ok(response),
            _ => Err(ForwardError::Rejected),
        }
    }

    /// Sends a body that can be sent again: for a nonce, and once more with refreshed tokens.
    async fn send_buffered(
        &self,
        outgoing: &Outgoing,
        active: &ActiveSession,
        bytes: Bytes,
    ) -> Result<Response<Body>, ForwardError> {
        let mut tries = self.tries(&active.pds).await;
        self.send_buffered_in(&mut tries, outgoing, active, bytes)
            .await
    }

    async fn send_buffered_in(
        &self,
        tries: &mut NonceTries<'_>,
        outgoing: &Outgoing,
        active: &ActiveSession,
        bytes: Bytes,
    ) -> Result<Response<Body>, ForwardError> {
        if let Ok(response) = self.exchange(tries, outgoing, active, &bytes).await? {
            return Ok(response);
        }
        // In a box, as above.
        Box::pin(self.send_again(tries, outgoing, active, bytes)).await
    }

    /// Sends a call again whose token was rejected. The token may be older than the one that is stored by
    /// now: that one is tried.
    async fn send_again(
        &self,
        tries: &mut NonceTries<'_>,
        outgoing: &Outgoing,
        active: &ActiveSession,
        bytes: Bytes,
    ) -> Result<Response<Body>, ForwardError> {
        let (id, generation) = (active.id, active.generation);
        let mut active = self.keeper.refresh_after_rejection(id, generation).await?;
        let mut rejection = match self.exchange(tries, outgoing, &active, &bytes).await? {
            Ok(response) => return Ok(response),
            Err(rejection) => rejection,
        };
        // A refresh elsewhere may have replaced that one, too, before the PDS saw it.
        let newest = self.keeper.active_session(id).await?;
        if newest.generation > active.generation {
            active = newest;
            rejection = match self.exchange(tries, outgoing, &active, &bytes).await? {
                Ok(response) => return Ok(response),
                Err(rejection) => rejection,
            };
        }
        self.rejected_twice(tries, outgoing, &active, rejection)
            .await
    }

    /// The tries of a call to `pds`, once it is its turn.
    async fn tries<'a>(&'a self, pds: &'a Origin) -> NonceTries<'a> {
        self.keeper
            .upstream
            .pds
            .nonce_tries(ServerRole::Resource, pds)
            .await
    }

    /// Sends a body that can be sent again, and again with the nonce that the PDS demands. The
    /// answer is an error if it rejects the token.
    async fn exchange(
        &self,
        tries: &mut NonceTries<'_>,
        outgoing: &Outgoing,
        active: &ActiveSession,
        bytes: &Bytes,
    ) -> Result<Result<Response<Body>, Response<Body>>, ForwardError> {
        let mut is_repeated = false;
        loop {
            // What the first try took may have brought the token close to its end.
            if is_repeated && self.keeper.upstream.clock.now() >= active.usable_until {
                return Ok(Err(close_to_its_end()));
            }
            is_repeated = true;
            let body = if bytes.is_empty() {
                empty()
            } else {
                full(bytes.clone())
            };
            let nonce = tries.nonce_for(&active.pds).map(str::to_owned);
            let attempt = self.attempt(outgoing, active, body, nonce.as_deref());
            let response = tries.run(attempt).await?;
            let given = nonce_of(response.headers()).map(str::to_owned);
            let nonce = match judge(response, &active.auth, outgoing.call.name()).await? {
                Verdict::NewNonce(nonce) => nonce,
                Verdict::Good(response) => {
                    tries.end(given);
                    return Ok(Ok(response));
                }
                Verdict::Rejected(response) => {
                    tries.end(given);
                    return Ok(Err(response));
                }
            };
            metrics::counter!("aip_upstream_nonce_retries_total", "role" => "resource")
                .increment(1);
            // A challenge to AIP must not look to the app like one to itself.
            if !tries.challenged(nonce).await {
                return Err(ForwardError::Rejected);
            }
        }
    }

    /// A fresh token is rejected, too. If the PDS rejects it for its own plainest call as well, the
    /// session needs its person; if not, the answer was about something else and is the app's.
    async fn rejected_twice(
        &self,
        tries: &mut NonceTries<'_>,
        outgoing: &Outgoing,
        active: &ActiveSession,
        rejection: Response<Body>,
    ) -> Result<Response<Body>, ForwardError> {
        let probe = Outgoing::probe(outgoing);
        if self
            .exchange(tries, &probe, active, &Bytes::new())
            .await?
            .is_ok()
        {
            tracing::warn!(session = %active.id, status = %rejection.status(), "PDS rejected the call with a fresh access token that it accepts elsewhere");
            return Ok(rejection);
        }
        let (id, generation) = (active.id, active.generation);
        if !self.keeper.end_if_rejected(id, generation).await? {
            return Err(ForwardError::Rejected);
        }
        let reason = ReauthReason::Rejected;
        Err(KeeperError::NeedsReauth(reason).into())
    }

    async fn attempt(
        &self,
        outgoing: &Outgoing,
        active: &ActiveSession,
        body: Body,
        nonce: Option<&str>,
    ) -> Result<Response<Body>, ForwardError> {
        let url = active.pds.join(&outgoing.call.path());
        let mut request = Request::new(body);
        *request.method_mut() = outgoing.call.method().clone();
        *request.uri_mut() = url
            .parse()
            .map_err(|_| HttpError::Refused("not a URL".to_owned()))?;
        *request.headers_mut() = outgoing.headers.clone();
        // The client says it of no empty body, and a procedure has one (RFC 9110 §8.6).
        if outgoing.call.method() == Method::POST && request.body().is_end_stream() {
            let zero = HeaderValue::from_static("0");
            request.headers_mut().insert(CONTENT_LENGTH, zero);
        }
        request.extensions_mut().insert(outgoing.caller.clone());
        let call = PdsCall {
            method: outgoing.call.method(),
            pds: &active.pds,
            url: &url,
            nonce,
        };
        let pds = &self.keeper.upstream.pds;
        let signed = pds.call_headers(&active.auth, &active.access, call).await?;
        signed.apply(request.headers_mut());
        let response = pds
            .send_call(&active.pds, request, HEAD_DEADLINE)
            .await
            .map_err(|error| match error {
                SendError::Paused(paused) => KeeperError::Later(paused.0).into(),
                SendError::Http(error) => ForwardError::from(error),
            })?;
        pds.learn_nonce(&active.auth, &active.pds, response.headers())
            .await;
        Ok(response)
    }
}

/// Stands for the answer of a PDS that was not asked, because the token may not be used any more.
fn close_to_its_end() -> Response<Body> {
    let mut response = Response::new(empty());
    *response.status_mut() = StatusCode::UNAUTHORIZED;
    response
}
