//! The forwarding itself: DPoP upstream, one retry for a nonce, one refresh for a rejected token,
//! bodies streamed both ways.

use std::sync::Arc;
use std::time::Duration;

use aip_atproto::{Nsid, Origin, ScopeSet};
use aip_base::{
    AmbiguousHeader, Blame, Body, BodyError, CollectError, HttpError, OnBehalfOf, Pace, Paced,
    RowId, Share, collect, empty, full, single_header,
};
use aip_jose::SignError;
use aip_pds::{NonceTries, PdsCall, SendError, nonce_of};
use aip_sessions::{ActiveSession, Keeper, KeeperError};
use aip_storage::nonces::ServerRole;
use aip_storage::upstream::ReauthReason;
use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, CONTENT_LENGTH, ETAG};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::BodyExt as _;

use crate::headers;
use crate::permit::{
    CallHead, Judgement, PermittedCall, Refusal, permit, permit_default_service, permit_write,
};
use crate::quota::{Allowance, CallQuota, OverQuota};
use crate::session;
use crate::verdict::{Verdict, judge, status_for_app};

/// Bodies up to this size are kept for a retry; larger ones stream.
const KEPT: u64 = 64 * 1024;
/// The largest JSON body that is judged before it leaves; PDSs accept 150 KiB by default.
const MAX_WRITE: usize = 1024 * 1024;
/// The minimum rate of an app's body. A file of any size may come as slowly as a telephone sends.
const CALLER: Pace = Pace {
    grace: Duration::from_secs(30),
    bytes_per_second: 8 * 1024,
};
/// How long a PDS may take until it begins to answer, after it has the whole request.
const HEAD_DEADLINE: Duration = Duration::from_mins(1);

/// Forwards calls.
pub struct Forwarder {
    /// Hands out the tokens, signs the calls and sends them.
    pub keeper: Arc<Keeper>,
    /// Counts them, if they are limited.
    pub quota: Option<CallQuota>,
}

/// A call of an app.
pub struct XrpcCall<'a> {
    /// The upstream session of the grant that the app's token belongs to.
    pub session: RowId,
    /// The app.
    pub client: &'a str,
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

/// Why a call is not forwarded, or not answered.
#[derive(Debug, thiserror::Error)]
pub enum ForwardError {
    /// 403: the app's token does not allow it; 400: it is no call that could be judged. Nothing
    /// was sent.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// 400: what the call is judged by could be read in two ways. Nothing was sent.
    #[error("the header {0} is repeated or unreadable")]
    Header(&'static str),
    /// 429: the app calls too often.
    #[error(transparent)]
    TooOften(#[from] OverQuota),
    /// 408: the app sends too slowly.
    #[error("the body came more slowly than {} bytes per second", CALLER.bytes_per_second)]
    TooSlow,
    /// 413.
    #[error("the body is larger than {MAX_WRITE} bytes")]
    TooLarge,
    /// 400: the app's body broke off.
    #[error(transparent)]
    Broken(#[from] BodyError),
    /// 401: the person must sign in again. 503: later. 500: our fault.
    #[error(transparent)]
    Session(#[from] KeeperError),
    /// 401: the PDS rejects even fresh tokens.
    #[error("the PDS rejects the session's fresh access token")]
    Rejected,
    /// 502 or 504: the PDS did not answer.
    #[error("the PDS did not answer: {0}")]
    Pds(#[from] HttpError),
    /// Our fault.
    #[error(transparent)]
    Sign(#[from] SignError),
}

/// A body, with or without the possibility to send it again.
enum Payload {
    Kept(Bytes),
    Stream(Body),
}

impl ForwardError {
    /// Whose fault it is.
    pub fn blame(&self) -> Blame {
        match self {
            Self::Refused(_)
            | Self::Header(_)
            | Self::TooOften(_)
            | Self::TooSlow
            | Self::TooLarge
            | Self::Broken(_)
            | Self::Pds(HttpError::Busy(Share::Account | Share::Client)) => Blame::Caller,
            Self::Session(error) => error.blame(),
            Self::Rejected | Self::Pds(_) => Blame::Upstream,
            Self::Sign(_) => Blame::Ours,
        }
    }
}

impl Forwarder {
    /// Forwards a call and returns the PDS's answer, its body still streaming.
    pub async fn forward(&self, mut call: XrpcCall<'_>) -> Result<Response<Body>, ForwardError> {
        let body = Paced::new(call.body, CALLER);
        let slowness = body.slowness();
        call.body = body.boxed_unsync();
        match self.judge_and_send(call).await {
            Err(_) if slowness.is_too_slow() => Err(ForwardError::TooSlow),
            outcome => outcome,
        }
    }

    async fn judge_and_send(&self, call: XrpcCall<'_>) -> Result<Response<Body>, ForwardError> {
        let head = CallHead {
            verb: &call.method,
            nsid: &call.nsid,
            query: call.query,
            content_type: single(call.headers, "content-type")?,
            content_coding: single(call.headers, "content-encoding")?,
            proxy: single(call.headers, "atproto-proxy")?,
        };
        let mut to_pds = headers::to_pds(call.headers);
        let (permitted, body) = match permit(call.scope, head)? {
            Judgement::Allowed(permitted) => (Some(permitted), call.body),
            Judgement::NeedsBody => {
                let body = collect(call.body, MAX_WRITE).await?;
                headers::declare_json(&mut to_pds);
                (Some(permit_write(call.scope, head, &body)?), empty())
            }
            Judgement::NeedsSession => (None, call.body),
        };
        // The body first, which may be slow: a token is asked for when it can be used.
        let judged = permitted.as_ref().and_then(PermittedCall::judged_body);
        let payload = match judged {
            Some(judged) => Payload::Kept(judged.clone()),
            None if call.method != Method::POST => Payload::Kept(Bytes::new()),
            None => payload(call.headers, body).await?,
        };
        let active = self.keeper.active_session(call.session).await?;
        let permitted = match permitted {
            Some(permitted) => permitted,
            None => permit_default_service(call.scope, &active.scope, head)?,
        };
        let allowance = self.count(call.client, &active)?;
        let narrow = session::withholds_email(permitted.name(), call.scope);
        if narrow {
            // The answer is read here, so it must come whole and as it is.
            headers::ask_for_the_whole(&mut to_pds);
            to_pds.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        }
        let outgoing = Outgoing {
            call: permitted,
            headers: to_pds,
            caller: OnBehalfOf {
                account: active.did.to_string(),
                client: call.client.to_owned(),
            },
        };
        let response = self.send(&outgoing, active, payload).await?;
        if session::changes_email(outgoing.call.name())
            && response.status().is_success()
            && let Err(error) = self
                .keeper
                .upstream
                .storage
                .forget_email(call.session)
                .await
        {
            tracing::warn!(session = %call.session, %error, "invalidating the cached e-mail address failed");
        }
        let (mut head, mut body) = response.into_parts();
        head.headers = headers::to_app(&head.headers);
        head.status = status_for_app(head.status);
        // Of two limits the one that was met is told.
        if let Some(allowance) = allowance
            && head.status != StatusCode::TOO_MANY_REQUESTS
        {
            allowance.tell(&mut head.headers);
        }
        if narrow {
            // They are those of the whole answer.
            head.headers.remove(CONTENT_LENGTH);
            head.headers.remove(ETAG);
        }
        if narrow && head.status.is_success() && call.method != Method::HEAD {
            let known = collect_answer(body).await?;
            let told = session::without_email(&known);
            let unreadable = || HttpError::Broken("not a session".to_owned());
            body = full(told.ok_or_else(unreadable)?);
        }
        Ok(Response::from_parts(head, body))
    }

    /// Counts a call of an app.
    fn count(&self, client: &str, active: &ActiveSession) -> Result<Option<Allowance>, OverQuota> {
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

    async fn send(
        &self,
        outgoing: &Outgoing,
        mut active: ActiveSession,
        payload: Payload,
    ) -> Result<Response<Body>, ForwardError> {
        match payload {
            Payload::Kept(bytes) => self.send_kept(outgoing, active, bytes).await,
            Payload::Stream(body) => {
                let pds = active.pds.clone();
                let mut tries = self.tries(&pds).await;
                // A stream can be sent once, so nonce and token are made sure of beforehand, by a
                // call that costs the PDS little.
                let session = active.id;
                let probe = Outgoing::probe(outgoing);
                let answer = self
                    .send_kept_in(&mut tries, &probe, active, Bytes::new())
                    .await?;
                drop(answer);
                active = self.keeper.active_session(session).await?;
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
        }
    }

    /// Sends a body that can be sent again: for a nonce, and once more with refreshed tokens.
    async fn send_kept(
        &self,
        outgoing: &Outgoing,
        active: ActiveSession,
        bytes: Bytes,
    ) -> Result<Response<Body>, ForwardError> {
        let pds = active.pds.clone();
        let mut tries = self.tries(&pds).await;
        self.send_kept_in(&mut tries, outgoing, active, bytes).await
    }

    async fn send_kept_in(
        &self,
        tries: &mut NonceTries<'_>,
        outgoing: &Outgoing,
        mut active: ActiveSession,
        bytes: Bytes,
    ) -> Result<Response<Body>, ForwardError> {
        if let Ok(response) = self.exchange(tries, outgoing, &active, &bytes).await? {
            return Ok(response);
        }
        let (id, generation) = (active.id, active.generation);
        active = self.keeper.refresh_after_rejection(id, generation).await?;
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
        if !self.keeper.rejected_for_good(id, generation).await? {
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

/// What every attempt of a call has in common.
struct Outgoing {
    call: PermittedCall,
    headers: HeaderMap,
    caller: OnBehalfOf,
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

/// Stands for the answer of a PDS that was not asked, because the token may not be used any more.
fn close_to_its_end() -> Response<Body> {
    let mut response = Response::new(empty());
    *response.status_mut() = StatusCode::UNAUTHORIZED;
    response
}

async fn payload(headers: &HeaderMap, body: Body) -> Result<Payload, ForwardError> {
    let length = text(headers, &CONTENT_LENGTH).map_or(Some(0), |it| it.parse::<u64>().ok());
    let chunked = headers.contains_key(http::header::TRANSFER_ENCODING);
    match length {
        Some(length) if length <= KEPT && !chunked => {
            Ok(Payload::Kept(collect(body, MAX_WRITE).await?))
        }
        _ => Ok(Payload::Stream(body)),
    }
}

/// What a PDS answers to a call whose answer is looked at.
pub(crate) async fn collect_answer(body: Body) -> Result<Bytes, HttpError> {
    collect(body, MAX_WRITE).await.map_err(|error| match error {
        CollectError::TooLarge(max_bytes) => HttpError::TooLarge(max_bytes),
        CollectError::Broken(error) => HttpError::Broken(error.to_string()),
    })
}

impl From<CollectError<BodyError>> for ForwardError {
    fn from(error: CollectError<BodyError>) -> Self {
        match error {
            CollectError::TooLarge(_) => Self::TooLarge,
            CollectError::Broken(error) => Self::Broken(error),
        }
    }
}

/// The header of that name, at most once and as text: what is judged is what the PDS gets.
fn single<'a>(headers: &'a HeaderMap, name: &'static str) -> Result<Option<&'a str>, ForwardError> {
    single_header(headers, name).map_err(|AmbiguousHeader| ForwardError::Header(name))
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
