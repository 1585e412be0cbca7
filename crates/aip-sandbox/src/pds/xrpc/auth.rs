//! Who calls an XRPC method: an OAuth session by `DPoP`, or a password session by Bearer.

use aip_atproto::{AccountAttr, IdentityAttr, Nsid, RepoAction, ScopeSet};
use aip_base::lock;
use http::StatusCode;

use super::super::error::{ProofRefusal, XrpcError};
use super::super::inner::Site;
use super::super::jwt::TokenType;
use super::super::token::AccessClaims;
use super::app_passwords::{PasswordClaims, PasswordScope};
use crate::stage::request::Received;

/// An authenticated caller and what it may do.
#[derive(Debug)]
pub(crate) struct Caller {
    pub(crate) did: String,
    pub(crate) rights: Rights,
}

#[derive(Debug)]
pub(crate) enum Rights {
    Scopes(ScopeSet),
    Password(PasswordScope),
}

impl Site {
    pub(crate) fn caller(&self, request: &Received) -> Result<Caller, XrpcError> {
        let header = request.header("authorization");
        match header.and_then(|header| header.split_once(' ')) {
            Some(("DPoP", token)) => self.oauth_caller(request, token),
            Some(("Bearer", token)) => self.password_caller(token),
            _ => Err(XrpcError::unauthorized(
                "AuthMissing",
                "Authentication Required",
            )),
        }
    }

    fn oauth_caller(&self, request: &Received, token: &str) -> Result<Caller, XrpcError> {
        let invalid = |why: &str| XrpcError::unauthorized("invalid_token", why);
        let inner = &self.inner;
        let jkt = inner
            .check_proof(&self.nonces, &inner.resource, request, Some(token))
            .map_err(|refusal| match refusal {
                ProofRefusal::Missing => {
                    XrpcError::unauthorized("invalid_dpop_proof", refusal.to_string())
                }
                other => other.into(),
            })?;
        let claims: AccessClaims = inner
            .tokens
            .verify(TokenType::Access, token)
            .ok_or_else(|| invalid("Malformed token"))?;
        let looked_at = *request.looked_at.get_or_init(|| inner.clock.now());
        if claims.exp <= looked_at.as_secs() {
            return Err(invalid("\"exp\" claim timestamp check failed"));
        }
        let name = claims.name().ok_or_else(|| invalid("Malformed token"))?;
        let session = lock(&inner.sessions)
            .get(name.session)
            .filter(|session| session.generation == name.generation)
            .cloned()
            .ok_or_else(|| invalid("Invalid token"))?;
        // The second look, when the row has been read. Also where a clock is moved by hand.
        let read_takes = lock(&inner.settings).lifetimes.row_read_takes;
        let now = inner.clock.now().max(looked_at + read_takes);
        if claims.exp <= now.as_secs() {
            lock(&inner.sessions).end(name.session, "Token expired", now);
            return Err(invalid("Token expired"));
        }
        if session.jkt != jkt {
            return Err(invalid("Invalid DPoP key binding"));
        }
        let scopes = ScopeSet::parse(&session.scope).map_err(|e| invalid(&e.to_string()))?;
        Ok(Caller {
            did: session.did.to_string(),
            rights: Rights::Scopes(scopes),
        })
    }

    /// Takes the first look at an access token, and the time until the second one.
    pub(super) async fn read_row_of(&self, request: &Received) {
        let header = request.header("authorization");
        if header.is_some_and(|header| header.starts_with("DPoP ")) {
            let inner = &self.inner;
            request.looked_at.get_or_init(|| inner.clock.now());
            let takes = lock(&inner.settings).lifetimes.row_read_takes;
            if !takes.is_zero() {
                tokio::time::sleep(takes).await;
            }
        }
    }

    fn password_caller(&self, token: &str) -> Result<Caller, XrpcError> {
        let claims: PasswordClaims = self
            .inner
            .tokens
            .verify(TokenType::Access, token)
            .ok_or_else(|| XrpcError::bad_request("InvalidToken", "Malformed token"))?;
        if claims.exp <= self.inner.clock.now().as_secs() {
            return Err(XrpcError::bad_request("ExpiredToken", "Token has expired"));
        }
        let rights = Rights::Password(claims.scope);
        Ok(Caller {
            did: claims.sub,
            rights,
        })
    }
}

impl Caller {
    pub(crate) fn must_write(&self, collection: &str, action: RepoAction) -> Result<(), XrpcError> {
        let needed = format!("repo:{collection}?action={}", action.as_str());
        self.must(&needed, |scopes| {
            Nsid::parse(collection).is_ok_and(|nsid| scopes.allows_repo(&nsid, action))
        })
    }

    pub(crate) fn must_upload(&self, media_type: &str) -> Result<(), XrpcError> {
        self.must(&format!("blob:{media_type}"), |scopes| {
            scopes.allows_blob(media_type)
        })
    }

    pub(crate) fn must_call(&self, method: &Nsid, audience: &str) -> Result<(), XrpcError> {
        let needed = format!("rpc:{method}?aud={}", audience.replace('#', "%23"));
        self.must(&needed, |scopes| scopes.allows_rpc(method, audience))
    }

    /// For chat, which app passwords open only if they are privileged.
    pub(crate) fn must_be_privileged_for(&self, method: &Nsid) -> Result<(), XrpcError> {
        match self.rights {
            Rights::Password(PasswordScope::App) if method.is_within("chat.bsky") => {
                Err(XrpcError::bad_request("InvalidToken", "Bad token method"))
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn must_change_handle(&self) -> Result<(), XrpcError> {
        self.must("identity:handle", |scopes| {
            scopes.allows_identity(IdentityAttr::Handle)
        })
    }

    pub(crate) fn may_read_email(&self) -> bool {
        match &self.rights {
            Rights::Scopes(scopes) => scopes.allows_account(AccountAttr::Email, false),
            Rights::Password(scope) => *scope == PasswordScope::Full,
        }
    }

    /// For what only the account's own password opens.
    pub(crate) fn must_be_full(&self) -> Result<(), XrpcError> {
        match self.rights {
            Rights::Password(PasswordScope::Full) => Ok(()),
            Rights::Password(_) => Err(XrpcError::bad_request("InvalidToken", "Bad token scope")),
            Rights::Scopes(_) => Err(XrpcError::new(
                StatusCode::FORBIDDEN,
                "Forbidden",
                "OAuth credentials are not supported for this endpoint",
            )),
        }
    }

    /// Granular scopes bind OAuth sessions only.
    fn must(&self, needed: &str, allows: impl Fn(&ScopeSet) -> bool) -> Result<(), XrpcError> {
        match &self.rights {
            Rights::Scopes(scopes) if !allows(scopes) => Err(XrpcError::scope_missing(needed)),
            _ => Ok(()),
        }
    }
}
