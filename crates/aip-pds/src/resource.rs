//! Calls to a PDS as a resource server: `DPoP` headers (RFC 9449 §7), and the one call that AIP makes for itself, the account's e-mail address.

use std::time::Duration;

use aip_atproto::Origin;
use aip_base::{HttpError, Limits};
use aip_jose::SignError;
use aip_jose::dpop::Proof;
use aip_storage::nonces::ServerRole;
use bytes::Bytes;
use email_address::{EmailAddress, Options};
use http::header::{ACCEPT, AUTHORIZATION};
use http::{HeaderMap, HeaderValue, Request, StatusCode};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;

use crate::challenge::{is_nonce_challenge, nonce_of};
use crate::client::PdsClient;
use crate::document::DOCUMENT_LIMITS;
use crate::members::members;
use crate::nonce::NonceKey;
use crate::oauth::SessionKeys;

/// The longest address that can receive mail (RFC 5321 §4.5.3.1.3, less the angle brackets).
const MAX_EMAIL: usize = 254;

/// What the calls of a session are made with, besides its access token.
#[derive(Debug, Clone)]
pub enum CallAuth {
    /// The keys of an OAuth session.
    Dpop(SessionKeys),
    /// Nothing: a session of an app password.
    Bearer,
}

/// A call to be signed.
#[derive(Debug, Clone, Copy)]
pub struct PdsCall<'a> {
    /// For the `htm` of the DPoP proof.
    pub method: &'a http::Method,
    /// The server.
    pub pds: &'a Origin,
    /// Its URL; the query is left out of the proof.
    pub url: &'a str,
    /// The nonce that the server has just demanded.
    pub nonce: Option<&'a str>,
}

/// The headers of one attempt of one call.
#[derive(Debug, Clone)]
pub struct CallHeaders {
    authorization: HeaderValue,
    dpop: Option<HeaderValue>,
}

/// The e-mail address of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountEmail {
    /// The address: an `addr-spec` of RFC 5322 §3.4.1.
    pub address: String,
    /// Whether the PDS says that it has confirmed it.
    pub confirmed: bool,
}

/// Why the e-mail address is not known.
#[derive(Debug, thiserror::Error)]
pub enum EmailError {
    /// No answer.
    #[error("the account's server was not reached: {0}")]
    Http(#[from] HttpError),
    /// The PDS refused.
    #[error("the account's server answered with status {0}")]
    Status(StatusCode),
    /// The answer is not readable.
    #[error("the account's server gave no readable answer")]
    Malformed,
    /// The request could not be signed.
    #[error(transparent)]
    Sign(#[from] SignError),
}

impl CallHeaders {
    /// Puts the headers in place of any that are there.
    pub fn apply(self, headers: &mut HeaderMap) {
        headers.insert(AUTHORIZATION, self.authorization);
        headers.remove("dpop");
        if let Some(dpop) = self.dpop {
            headers.insert("dpop", dpop);
        }
    }
}

impl PdsClient {
    /// The headers for one attempt of a call. Without a nonce that was just demanded, the last one
    /// that the PDS gave this session is taken.
    pub async fn call_headers(
        &self,
        auth: &CallAuth,
        access_token: &SecretString,
        call: PdsCall<'_>,
    ) -> Result<CallHeaders, SignError> {
        let token = access_token.expose_secret();
        let CallAuth::Dpop(keys) = auth else {
            return Ok(CallHeaders {
                authorization: secret(format!("Bearer {token}"))?,
                dpop: None,
            });
        };
        let known = match call.nonce {
            Some(_) => None,
            None => self.nonces.get(resource_key(keys, call.pds)).await,
        };
        let proof = Proof {
            htm: call.method.as_str(),
            htu: call.url,
            nonce: call.nonce.or(known.as_deref()),
            access_token: Some(token),
        };
        let proof = proof.make(&keys.dpop, &*self.rng, self.clock.now())?;
        Ok(CallHeaders {
            authorization: secret(format!("DPoP {token}"))?,
            dpop: Some(secret(proof)?),
        })
    }

    /// Remembers the nonce in an answer of `pds`. To be called for every answer.
    pub async fn learn_nonce(&self, auth: &CallAuth, pds: &Origin, headers: &HeaderMap) {
        if let (CallAuth::Dpop(keys), Some(nonce)) = (auth, nonce_of(headers)) {
            self.nonces.put(resource_key(keys, pds), nonce).await;
        }
    }

    /// The account's e-mail address, `None` when the PDS does not tell one: the scope
    /// `account:email` (or `transition:email`) has to be granted.
    pub async fn session_email(
        &self,
        keys: &SessionKeys,
        access_token: &SecretString,
        pds: &Origin,
    ) -> Result<Option<AccountEmail>, EmailError> {
        const LIMITS: Limits = Limits {
            deadline: Duration::from_secs(5),
            ..DOCUMENT_LIMITS
        };
        let url = pds.join("/xrpc/com.atproto.server.getSession");
        let auth = CallAuth::Dpop(keys.clone());
        let mut tries = self.nonce_tries(ServerRole::Resource, pds).await;
        let answer = loop {
            let mut request = Request::new(Bytes::new());
            *request.uri_mut() = url
                .parse()
                .map_err(|_| HttpError::Refused(format!("`{url}` is not a URL")))?;
            request
                .headers_mut()
                .insert(ACCEPT, HeaderValue::from_static("application/json"));
            let call = PdsCall {
                method: &http::Method::GET,
                pds,
                url: &url,
                nonce: tries.nonce(),
            };
            let headers = self.call_headers(&auth, access_token, call).await?;
            headers.apply(request.headers_mut());
            let answer = tries.run(self.http.fetch(request, LIMITS)).await?;
            self.learn_nonce(&auth, pds, &answer.headers).await;
            let given = nonce_of(&answer.headers).map(str::to_owned);
            match given {
                Some(nonce) if is_nonce_challenge(answer.status, &answer.headers) => {
                    if !tries.challenged(nonce).await {
                        break answer;
                    }
                }
                given => {
                    tries.end(given);
                    break answer;
                }
            }
        };
        drop(tries);
        if answer.status != StatusCode::OK {
            return Err(EmailError::Status(answer.status));
        }
        let session = members(&answer.body).ok_or(EmailError::Malformed)?;
        let address = session.get("email").and_then(Value::as_str);
        let address = address.filter(|address| is_addr_spec(address));
        Ok(address.map(|address| AccountEmail {
            address: address.to_owned(),
            confirmed: session.get("emailConfirmed") == Some(&Value::Bool(true)),
        }))
    }
}

fn resource_key<'a>(keys: &'a SessionKeys, pds: &'a Origin) -> NonceKey<'a> {
    NonceKey {
        session: keys.session,
        role: ServerRole::Resource,
        origin: pds,
    }
}

/// Whether a text is one e-mail address and nothing else: apps send mail to it and compare it.
fn is_addr_spec(text: &str) -> bool {
    let options = Options::default()
        .without_display_text()
        .without_domain_literal();
    text.len() <= MAX_EMAIL
        && text.bytes().all(|byte| matches!(byte, b' '..=b'~'))
        && EmailAddress::parse_with_options(text, options).is_ok()
}

/// A header value that is not shown by `Debug`.
fn secret(text: String) -> Result<HeaderValue, SignError> {
    let mut value = HeaderValue::try_from(text).map_err(|_| SignError::Library)?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_address_is_an_address() {
        let longest = format!(
            "{}@{}.example",
            "a".repeat(64),
            vec!["b".repeat(59); 3].join(".")
        );
        for address in [
            "alice@example.org",
            "alice+tag@mail.example.org",
            "a.b_c-d@xn--bcher-kva.example",
            &longest[..],
        ] {
            assert!(is_addr_spec(address), "{address}");
        }
        let too_long = format!(
            "{}@{}.example",
            "a".repeat(64),
            vec!["b".repeat(61); 3].join(".")
        );
        assert!(too_long.len() > MAX_EMAIL);
        for text in [
            "",
            "alice",
            "@example.org",
            "alice@",
            "alice@example.org, bob@example.org",
            "Alice <alice@example.org>",
            "alice@example.org\nbcc: bob@example.org",
            "alice@example.org ",
            "alice@@example.org",
            "alice@exa mple.org",
            "alice@[127.0.0.1]",
            "<script>@example.org",
            "alic\u{435}@example.org",
            "alice@example.org\u{200b}",
            &too_long,
        ] {
            assert!(!is_addr_spec(text), "{text:?}");
        }
    }
}
