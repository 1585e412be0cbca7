//! Client authentication at a PDS: `none` or `private_key_jwt` (RFC 7523), with the checks of
//! the reference implementation, which are laxer than the RFC: `exp` may be missing, `aud` may
//! name others too.

use std::sync::Arc;
use std::time::Duration;

use aip_base::lock;
use aip_jose::client_assertion::ASSERTION_TYPE;
use aip_jose::{Audience, NumericDate, Thumbprint, UnverifiedJws};
use serde::Deserialize;

use super::clients::Client;
use super::error::OAuthError;
use super::inner::Inner;
use crate::stage::request::Form;

/// How old an assertion may be, and how far ahead its clock.
const MAX_AGE: Duration = Duration::from_mins(1);
const MAX_SKEW: Duration = Duration::from_secs(15);

/// What a session is bound to for life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ClientAuth {
    None,
    Key {
        kid: Option<Arc<str>>,
        alg: aip_jose::Alg,
        jkt: Thumbprint,
    },
}

#[derive(Debug, Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    aud: Audience,
    jti: Option<String>,
    iat: Option<NumericDate>,
    exp: Option<NumericDate>,
    cnf: Option<Confirmation>,
}

#[derive(Debug, Deserialize)]
struct Confirmation {
    jkt: String,
}

impl Inner {
    /// The client that sent `form` with a proof of the key `jkt`, and how it proved who it is.
    pub(crate) async fn authenticate(
        &self,
        form: &Form,
        jkt: &Thumbprint,
    ) -> Result<(Arc<Client>, ClientAuth), OAuthError> {
        let id = form.get("client_id");
        let id = id.ok_or_else(|| OAuthError::invalid_request("client_id is required"))?;
        let client = self.client(id).await?;
        let assertion = form.get("client_assertion");
        if client.is_public() {
            return match assertion {
                None => Ok((client, ClientAuth::None)),
                Some(_) => Err(OAuthError::invalid_client(
                    "a public client does not authenticate",
                )),
            };
        }
        let assertion = assertion
            .filter(|_| form.get("client_assertion_type") == Some(ASSERTION_TYPE))
            .ok_or_else(|| OAuthError::invalid_client("client_assertion is required"))?;
        let auth = self.verify_assertion(&client, assertion, jkt).await?;
        Ok((client, auth))
    }

    async fn verify_assertion(
        &self,
        client: &Client,
        assertion: &str,
        proven: &Thumbprint,
    ) -> Result<ClientAuth, OAuthError> {
        let refused = |why: String| OAuthError::invalid_client(why);
        let jws = UnverifiedJws::parse(assertion).map_err(|error| refused(error.to_string()))?;
        let keys = self.client_keys(client).await?;
        let (kid, alg) = (jws.header().kid.clone(), jws.header().alg);
        let key = keys
            .select(kid.as_deref(), alg)
            .ok_or_else(|| refused("no single key of the client matches".to_owned()))?;
        let jws = jws
            .verify(key, alg)
            .map_err(|_| refused("signature verification failed".to_owned()))?;
        let claims: Claims = jws.claims().map_err(|error| refused(error.to_string()))?;
        self.check_claims(client, &claims)?;
        // AT Protocol proposal 0010: the assertion may be bound to the key of the proof.
        if claims.cnf.is_some_and(|cnf| cnf.jkt != proven.as_str()) {
            return Err(refused("unexpected \"cnf\" claim value".to_owned()));
        }
        Ok(ClientAuth::Key {
            kid: kid.map(Into::into),
            alg,
            jkt: key.thumbprint(),
        })
    }

    fn check_claims(&self, client: &Client, claims: &Claims) -> Result<(), OAuthError> {
        let must = |holds: bool, rule: &str| {
            if holds {
                Ok(())
            } else {
                Err(OAuthError::invalid_client(rule))
            }
        };
        let now = self.clock.now();
        let issued = claims.iat.map(NumericDate::timestamp);
        let expires = claims.exp.map(NumericDate::timestamp);
        must(
            *claims.iss == *client.id && *claims.sub == *client.id,
            "unexpected \"iss\" or \"sub\"",
        )?;
        must(
            claims.aud.contains(&self.issuer),
            "unexpected \"aud\" claim value",
        )?;
        must(
            expires.is_none_or(|at| at > now),
            "\"exp\" claim timestamp check failed",
        )?;
        must(
            issued.is_some_and(|at| now.since(at) <= MAX_AGE && at.since(now) <= MAX_SKEW),
            "\"iat\" claim timestamp check failed",
        )?;
        let jti = claims.jti.as_deref();
        let jti = jti.ok_or_else(|| OAuthError::invalid_client("missing \"jti\" claim"))?;
        if lock(&self.used_assertions).spend(&format!("{} {jti}", client.id), now) {
            Ok(())
        } else {
            Err(OAuthError::invalid_grant("private_key_jwt jti reused"))
        }
    }
}
