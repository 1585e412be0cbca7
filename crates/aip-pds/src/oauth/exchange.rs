//! One form POST to an authorization server: client authentication, `DPoP` proof, and one retry
//! with the server's nonce (RFC 9449 §8). Every attempt has a new proof and a new assertion.

use std::time::Duration;

use aip_base::{Fetched, HttpError, Timestamp};
use aip_jose::dpop::Proof;
use aip_jose::{SignError, client_assertion};
use aip_storage::nonces::ServerRole;
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{Request, StatusCode};
use serde::Deserialize;
use url::{Url, form_urlencoded};

use super::identity::{ClientIdentity, SessionKeys};
use crate::ask::AskError;
use crate::client::PdsClient;
use crate::metadata::AuthServer;
use crate::nonce::NonceKey;
use crate::origins::{Paused, retry_after};
use crate::resource::nonce_of;

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
    /// The request may have been processed, but there is no answer.
    #[error("the authorization server did not answer: {0}")]
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
    /// The server asked for a nonce again after it got the one it had given.
    #[error("the authorization server asks for a DPoP nonce again and again")]
    NonceLoop,
    /// The answer is not what the specification says.
    #[error("the answer of the authorization server is not usable: {0}")]
    Malformed(String),
    /// The request could not be signed.
    #[error(transparent)]
    Sign(#[from] SignError),
}

impl From<AskError> for ExchangeError {
    fn from(error: AskError) -> Self {
        match error {
            AskError::Paused(paused) => Self::Paused(paused),
            AskError::NotSent(error) => Self::NotSent(error),
            AskError::MayHaveArrived(error) => Self::MayHaveArrived(error),
        }
    }
}

/// The good answer to a request.
pub(crate) struct Posted {
    /// When the request was sent that was answered.
    pub(crate) sent_at: Timestamp,
    /// The answer's body.
    pub(crate) body: Bytes,
}

#[derive(Deserialize)]
struct ErrorBody {
    error: String,
    /// Servers that answer as XRPC does say `message`.
    #[serde(default, alias = "message")]
    error_description: Option<String>,
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
    ) -> Result<Posted, ExchangeError> {
        let origin = server.issuer.origin();
        let key = NonceKey {
            session: &keys.session,
            role: ServerRole::Authorization,
            origin,
        };
        let mut nonce = self.nonces.get(key).await;
        for _ in 0..2 {
            let request = self.request(keys, server, endpoint, params, nonce.as_deref())?;
            let sent_at = self.clock.now();
            let answer = self.ask(origin, request, deadline).await?;
            let given = nonce_of(&answer.headers);
            if let Some(given) = given {
                self.nonces.put(key, given).await;
            }
            match judge(&answer) {
                Err(ExchangeError::Refused { error, .. }) if error == "use_dpop_nonce" => {
                    metrics::counter!("aip_upstream_nonce_retries_total", "role" => "authorization")
                        .increment(1);
                    let without = || ExchangeError::Malformed("a challenge without a nonce".into());
                    nonce = Some(given.ok_or_else(without)?.to_owned());
                }
                outcome => {
                    let body = answer.body;
                    return outcome.map(|()| Posted { sent_at, body });
                }
            }
        }
        Err(ExchangeError::NonceLoop)
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

fn judge(answer: &Fetched) -> Result<(), ExchangeError> {
    let status = answer.status;
    if status.is_success() {
        return Ok(());
    }
    let later = || ExchangeError::Status {
        status,
        retry_after: retry_after(&answer.headers),
    };
    // 429 and 5xx are about now, whatever a body says.
    if !status.is_client_error() || status == StatusCode::TOO_MANY_REQUESTS {
        return Err(later());
    }
    let ErrorBody {
        error,
        error_description,
    } = serde_json::from_slice(&answer.body).map_err(|_| later())?;
    let description = error_description.unwrap_or_default();
    let description = description.chars().take(MAX_DESCRIPTION).collect();
    Err(ExchangeError::Refused { error, description })
}
