//! The token endpoint: codes (RFC 6749 §4.1.3, RFC 7636) and refresh tokens (§6); and revocation
//! (RFC 7009).

use aip_base::{Timestamp, lock};
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::client_auth::ClientAuth;
use super::clients::Client;
use super::error::OAuthError;
use super::grants::CodeGrant;
use super::inner::{Inner, Site};
use super::jwt::TokenType;
use super::sessions::{Id, RefreshRefusal, Session, TokenName};
use super::settings::Document;
use crate::stage::reply::Reply;
use crate::stage::request::{Form, Received};
use aip_jose::Thumbprint;

/// The claims of an access token: opaque to clients, and without a scope.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct AccessClaims {
    iss: String,
    aud: String,
    sub: String,
    iat: i64,
    pub(crate) exp: i64,
    jti: String,
    cnf: Confirmation,
}

#[derive(Debug, Serialize, Deserialize)]
struct Confirmation {
    jkt: String,
}

impl AccessClaims {
    pub(crate) fn name(&self) -> Option<TokenName> {
        TokenName::read("tok", &self.jti)
    }
}

impl Site {
    pub(crate) async fn token(&self, request: &Received) -> Result<Reply, OAuthError> {
        let inner = &self.inner;
        let jkt = inner.check_proof(&self.nonces, &inner.issuer, request, None)?;
        let form = request.form();
        let (client, auth) = inner.authenticate(&form, &jkt).await?;
        let (id, session) = match form.get("grant_type") {
            Some("authorization_code") => inner.exchange_code(&form, &client, auth, jkt)?,
            Some("refresh_token") => inner.refresh(&form, &client, &auth, &jkt).await?,
            _ => {
                let why = "Grant type is not supported";
                return Err(OAuthError::new("unsupported_grant_type", why));
            }
        };
        Ok(inner.token_response(id, &session))
    }

    /// Always succeeds for an authenticated client, whatever the token is (RFC 7009 §2.2).
    pub(crate) async fn revoke(&self, request: &Received) -> Result<Reply, OAuthError> {
        let inner = &self.inner;
        let jkt = inner.check_proof(&self.nonces, &inner.issuer, request, None)?;
        let form = request.form();
        let (client, _) = inner.authenticate(&form, &jkt).await?;
        let token = form.get("token").unwrap_or_default();
        let name = TokenName::read("ref", token).or_else(|| {
            inner
                .tokens
                .verify::<AccessClaims>(TokenType::Access, token)?
                .name()
        });
        if let Some(name) = name {
            let mut sessions = lock(&inner.sessions);
            if sessions
                .get(name.session)
                .is_some_and(|session| session.client_id == client.id)
            {
                sessions.end(name.session, "revoked by the client", inner.clock.now());
            }
        }
        Ok(Reply::json(StatusCode::OK, &json!({})))
    }
}

impl Inner {
    fn exchange_code(
        &self,
        form: &Form,
        client: &Client,
        auth: ClientAuth,
        jkt: Thumbprint,
    ) -> Result<(Id, Session), OAuthError> {
        let invalid = || OAuthError::invalid_grant("Invalid code");
        let code = form.get("code").unwrap_or_default();
        let name = TokenName::read("cod", code).ok_or_else(invalid)?;
        // A code is gone whatever comes of it, and a second use ends what the first produced.
        let grant = lock(&self.grants).codes.remove(code);
        let Some(grant) = grant else {
            let now = self.clock.now();
            lock(&self.sessions).end(name.session, "code used twice", now);
            return Err(invalid());
        };
        let now = self.clock.now();
        check_code(&grant, form, client, &auth, &jkt, now)?;
        let session = Session {
            did: grant.did.into(),
            client_id: client.id.clone(),
            auth,
            jkt,
            scope: grant.scope.into(),
            created: now,
            updated: now,
            generation: Id::random(&*self.rng),
            refreshing: false,
        };
        lock(&self.sessions).insert(name.session, session.clone());
        Ok((name.session, session))
    }

    async fn refresh(
        &self,
        form: &Form,
        client: &Client,
        auth: &ClientAuth,
        jkt: &Thumbprint,
    ) -> Result<(Id, Session), OAuthError> {
        let token = form.get("refresh_token").unwrap_or_default();
        let name = TokenName::read("ref", token)
            .ok_or_else(|| OAuthError::invalid_grant("Invalid refresh token"))?;
        let lifetimes = lock(&self.settings).lifetimes;
        let session = lock(&self.sessions).begin_refresh(name, &lifetimes, self.clock.now())?;
        if !lifetimes.refresh_takes.is_zero() {
            tokio::time::sleep(lifetimes.refresh_takes).await;
        }
        if let Err(error) = self.check_refresh(&session, client, auth, jkt) {
            let now = self.clock.now();
            lock(&self.sessions).end(name.session, &error.description, now);
            return Err(error);
        }
        let generation = Id::random(&*self.rng);
        let now = self.clock.now();
        let session = lock(&self.sessions).commit_refresh(name.session, generation, now)?;
        Ok((name.session, session))
    }

    /// What ends the session when it does not hold.
    fn check_refresh(
        &self,
        session: &Session,
        client: &Client,
        auth: &ClientAuth,
        jkt: &Thumbprint,
    ) -> Result<(), OAuthError> {
        let refused = |why: &str| OAuthError::invalid_grant(why);
        if session.client_id != client.id {
            return Err(refused("Token was not issued to this client"));
        }
        if session.jkt != *jkt {
            return Err(refused("DPoP proof does not match the expected JKT"));
        }
        if session.auth != *auth {
            return Err(refused(
                "The session was initiated with a different key than the client assertion currently used",
            ));
        }
        let accounts = lock(&self.accounts);
        match accounts.get(&session.did) {
            Some(account) if account.state.keeps_sessions() => Ok(()),
            _ => Err(refused("Account is not available")),
        }
    }

    /// Tokens of the session as it is now.
    pub(crate) fn tokens_of(&self, id: Id, session: &Session) -> (String, String, u64) {
        let lifetimes = lock(&self.settings).lifetimes;
        let lifetime = lifetimes.access_token.as_secs();
        let name = TokenName {
            session: id,
            generation: session.generation,
        };
        let issued = session.updated.as_secs();
        let claims = AccessClaims {
            iss: self.issuer.clone(),
            aud: self.service_did.clone(),
            sub: session.did.to_string(),
            iat: issued,
            exp: issued.saturating_add_unsigned(lifetime),
            jti: name.write("tok"),
            cnf: Confirmation {
                jkt: session.jkt.as_str().to_owned(),
            },
        };
        (
            self.tokens.sign(TokenType::Access, &claims),
            name.write("ref"),
            lifetimes.told.map_or(lifetime, |told| told.as_secs()),
        )
    }

    fn token_response(&self, id: Id, session: &Session) -> Reply {
        let (access_token, refresh_token, expires_in) = self.tokens_of(id, session);
        let body = json!({
            "access_token": access_token,
            "token_type": "DPoP",
            "refresh_token": refresh_token,
            "scope": &*session.scope,
            "expires_in": expires_in,
            "sub": &*session.did,
        });
        Reply::json(
            StatusCode::OK,
            &self.falsified(Document::TokenResponse, body),
        )
    }
}

impl From<RefreshRefusal> for OAuthError {
    fn from(refusal: RefreshRefusal) -> Self {
        match refusal {
            RefreshRefusal::Collision => Self::server_error(),
            other => Self::invalid_grant(other.to_string()),
        }
    }
}

fn check_code(
    grant: &CodeGrant,
    form: &Form,
    client: &Client,
    auth: &ClientAuth,
    jkt: &Thumbprint,
    now: Timestamp,
) -> Result<(), OAuthError> {
    let parameters = &grant.parameters;
    let refused = |why: &str| Err(OAuthError::invalid_grant(why));
    if grant.expires <= now {
        return refused("This code has expired");
    }
    if parameters.client.id != client.id {
        return refused("This code was not issued for this client");
    }
    if parameters.auth != *auth {
        return refused("Client authentication does not match the one of the request");
    }
    if form.get("redirect_uri") != Some(parameters.redirect_uri.as_str()) {
        return refused("The redirect_uri parameter must match the one used in the request");
    }
    if parameters.jkt != *jkt {
        return refused("DPoP proof does not match the expected JKT");
    }
    let verifier = form.get("code_verifier").unwrap_or_default();
    let challenge = URL_SAFE_NO_PAD.encode(digest(&SHA256, verifier.as_bytes()));
    if verifier.len() < 43 || challenge != parameters.code_challenge {
        return refused("Invalid code_verifier");
    }
    Ok(())
}
