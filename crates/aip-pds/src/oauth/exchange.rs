//! One form POST to an authorization server: client authentication, `DPoP` proof, and retries with
//! the server's nonce (RFC 9449 §8). Every attempt has a new proof and a new assertion.

use std::time::Duration;

use aip_base::{Fetched, HttpError, Partial, Timestamp, excerpt, retry_after};
use aip_jose::dpop::Proof;
use aip_jose::{SignError, client_assertion};
use aip_storage::nonces::ServerRole;
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{Request, StatusCode};
use serde_json::Value;
use url::{Url, form_urlencoded};

use super::identity::{ClientIdentity, SessionKeys};
use crate::challenge::{is_nonce_challenge, nonce_of};
use crate::client::PdsClient;
use crate::members::members;
use crate::metadata::AuthServer;
use crate::nonce::NonceKey;
use crate::origins::Paused;
use crate::request::RequestError;

/// The longest `error_description` that is passed on.
const MAX_DESCRIPTION: usize = 500;

/// Why an exchange with an authorization server failed.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    /// Nothing was sent.
    #[error("the authorization server was not reached: {0}")]
    NotSent(#[source] HttpError),
    /// Nothing was sent: the server is down.
    #[error(transparent)]
    Paused(Paused),
    /// The request may have been processed, but there is no (complete) answer.
    #[error("there is no complete answer of the authorization server: {0}")]
    MayHaveArrived(#[source] HttpError),
    /// The server refused with an OAuth error (RFC 6749 §5.2).
    #[error("the authorization server answered `{error}`: {description}")]
    Refused {
        /// The error code.
        error: String,
        /// The server's words, cut to a bounded length.
        description: String,
    },
    /// An answer without an OAuth error: overload, restart, or a proxy in between.
    #[error("the authorization server answered with status {status}")]
    Status {
        /// The status.
        status: StatusCode,
        /// When to come back, if the server said so.
        retry_after: Option<Duration>,
    },
    /// The server asked for a nonce again each time it got the one it had given.
    #[error("the authorization server asks for a DPoP nonce again and again")]
    NonceLoop,
    /// The answer is not what the specification says.
    #[error("the answer of the authorization server is not usable: {0}")]
    Malformed(String),
    /// The request could not be signed.
    #[error(transparent)]
    Sign(#[from] SignError),
}

impl From<RequestError> for ExchangeError {
    fn from(error: RequestError) -> Self {
        match error {
            RequestError::Paused(paused) => Self::Paused(paused),
            RequestError::NotSent(error) => Self::NotSent(error),
            RequestError::MayHaveArrived(error) => Self::MayHaveArrived(error),
        }
    }
}

/// The answer to a POST that the server did not refuse.
pub(super) struct PostResponse {
    /// When the request was sent that was answered.
    pub(super) sent_at: Timestamp,
    /// Its body, decoded.
    pub(super) body: Bytes,
    /// Why there is not more of it, if there should be.
    broke: Option<HttpError>,
}

impl PostResponse {
    /// The error of an answer in which something is not found: what is wrong with it, unless it
    /// broke off.
    pub(super) fn without(self, what: String) -> ExchangeError {
        match self.broke {
            Some(error @ HttpError::Compressed(_)) => ExchangeError::Malformed(error.to_string()),
            Some(error) => ExchangeError::MayHaveArrived(error),
            None => ExchangeError::Malformed(what),
        }
    }

    /// Whether the body is all that the server sent, and readable.
    pub(super) fn is_complete(&self) -> bool {
        self.broke.is_none()
    }
}

impl PdsClient {
    /// Posts `params`, with the client's authentication added, to an endpoint of `server`, and waits
    /// for its answer until `deadline`.
    pub(super) async fn post(
        &self,
        keys: &SessionKeys,
        server: &AuthServer,
        endpoint: &Url,
        params: &[(&str, &str)],
        deadline: Duration,
    ) -> Result<PostResponse, ExchangeError> {
        let origin = server.issuer.origin();
        let key = NonceKey {
            session: keys.session,
            role: ServerRole::Authorization,
            origin,
        };
        let known = self.nonces.get(key).await;
        let mut tries = self.nonce_tries(key.role, origin).await;
        tries.begin_with(known);
        loop {
            let request = self.request(keys, server, endpoint, params, tries.nonce())?;
            let sent_at = self.clock.now();
            let answer = tries
                .run(self.send_request(origin, request, deadline))
                .await?;
            let given = nonce_of(&answer.fetched.headers).map(str::to_owned);
            if let Some(given) = &given {
                self.nonces.put(key, given).await;
            }
            if !demands_nonce(&answer.fetched) {
                tries.end(given);
                return judge(sent_at, answer);
            }
            metrics::counter!("aip_upstream_nonce_retries_total", "role" => "authorization")
                .increment(1);
            let without = || ExchangeError::Malformed("a challenge without a nonce".into());
            if !tries.challenged(given.ok_or_else(without)?).await {
                return Err(ExchangeError::NonceLoop);
            }
        }
    }

    fn request(
        &self,
        keys: &SessionKeys,
        server: &AuthServer,
        endpoint: &Url,
        params: &[(&str, &str)],
        nonce: Option<&str>,
    ) -> Result<Request<Bytes>, ExchangeError> {
        let (rng, now) = (&*self.rng, self.clock.now());
        let client_id = keys.client.client_id();
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.extend_pairs(params)
            .append_pair("client_id", client_id);
        if let ClientIdentity::Confidential { key, .. } = &keys.client {
            let assertion =
                client_assertion::make(key, rng, now, client_id, server.issuer.as_str())?;
            form.append_pair("client_assertion_type", client_assertion::ASSERTION_TYPE)
                .append_pair("client_assertion", &assertion);
        }
        let proof = Proof {
            htm: "POST",
            htu: endpoint.as_str(),
            nonce,
            access_token: None,
        };
        Request::post(endpoint.as_str())
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(ACCEPT, "application/json")
            .header("dpop", proof.make(&keys.dpop, rng, now)?)
            .body(form.finish().into())
            .map_err(|error| ExchangeError::Malformed(error.to_string()))
    }
}

/// Whether the server wants the request again with its nonce, as it says in the body (RFC 9449 §8)
/// or in a challenge (§9).
fn demands_nonce(answer: &Fetched) -> bool {
    let error = || members(&answer.body)?.remove("error");
    is_nonce_challenge(answer.status, &answer.headers)
        || (answer.status.is_client_error() && error() == Some("use_dpop_nonce".into()))
}

fn judge(sent_at: Timestamp, answer: Partial) -> Result<PostResponse, ExchangeError> {
    let Partial { fetched, broke } = answer;
    let status = fetched.status;
    let members = members(&fetched.body).unwrap_or_default();
    let text = |name: &str| members.get(name).and_then(Value::as_str);
    let error = text("error").filter(|error| !error.is_empty());
    // A refresh token is given once, whatever the status above it is.
    let gives = text("refresh_token").is_some() || text("access_token").is_some();
    if (error.is_none() && gives) || (status.is_success() && (error.is_none() || gives)) {
        return Ok(PostResponse {
            sent_at,
            body: fetched.body,
            broke,
        });
    }
    // 429, 5xx and what proxies answer are about now, whatever a body says.
    let definite = status.is_success() || status.is_client_error();
    let Some(error) = error.filter(|_| definite && status != StatusCode::TOO_MANY_REQUESTS) else {
        return Err(ExchangeError::Status {
            status,
            retry_after: retry_after(&fetched.headers),
        });
    };
    // Servers that answer as XRPC does say `message`.
    let description = text("error_description")
        .or(text("message"))
        .unwrap_or_default();
    Err(ExchangeError::Refused {
        error: excerpt(error),
        description: description.chars().take(MAX_DESCRIPTION).collect(),
    })
}
