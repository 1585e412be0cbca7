//! App passwords and the sessions made with passwords (`com.atproto.server.*Session`). Unlike
//! OAuth, an old refresh token leads to the same next one for a while.

use std::collections::HashMap;
use std::time::Duration;

use aip_base::{Timestamp, lock, random_token};
use data_encoding::BASE32_NOPAD;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::super::accounts::{Account, AppPassword};
use super::super::error::XrpcError;
use super::super::inner::Site;
use super::super::jwt::TokenType;
use super::input;
use crate::stage::reply::Reply;
use crate::stage::request::Received;

const ACCESS_LIFETIME: Duration = Duration::from_hours(2);
const REFRESH_LIFETIME: Duration = Duration::from_hours(90 * 24);
const REFRESH_GRACE: Duration = Duration::from_hours(2);

/// What a password session may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum PasswordScope {
    /// The account's own password.
    #[serde(rename = "com.atproto.access")]
    Full,
    #[serde(rename = "com.atproto.appPass")]
    App,
    #[serde(rename = "com.atproto.appPassPrivileged")]
    AppPrivileged,
}

/// The claims of an access token of a password session.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PasswordClaims {
    pub(crate) scope: PasswordScope,
    pub(crate) sub: String,
    iat: i64,
    pub(crate) exp: i64,
    aud: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct RefreshClaims {
    scope: String,
    sub: String,
    jti: String,
    iat: i64,
    exp: i64,
    aud: String,
}

/// The refresh tokens of password sessions, by `jti`.
#[derive(Default)]
pub(crate) struct PasswordSessions {
    refresh: HashMap<String, RefreshToken>,
}

#[derive(Debug, Clone)]
struct RefreshToken {
    did: String,
    /// The app password it was made with, and what that may do.
    app_password: Option<String>,
    scope: PasswordScope,
    next: Option<String>,
    expires: Timestamp,
}

#[derive(Deserialize)]
struct SessionInput {
    identifier: String,
    password: String,
}

#[derive(Deserialize)]
struct AppPasswordInput {
    name: String,
    #[serde(default)]
    privileged: bool,
}

impl Site {
    pub(super) fn create_session(&self, request: &Received) -> Result<Reply, XrpcError> {
        let input: SessionInput = input(request)?;
        let account = lock(&self.inner.accounts)
            .by_identifier(&input.identifier)
            .cloned();
        let found = account.and_then(|account| {
            let (scope, app_password) = login(&account, &input.password)?;
            Some((account, scope, app_password))
        });
        let Some((account, scope, app_password)) = found else {
            let message = "Invalid identifier or password";
            return Err(XrpcError::unauthorized("AuthenticationRequired", message));
        };
        if !account.state.keeps_sessions() {
            let message = "Account has been taken down";
            return Err(XrpcError::unauthorized("AccountTakedown", message));
        }
        let token = RefreshToken {
            did: account.did.as_str().to_owned(),
            app_password,
            scope,
            next: None,
            expires: self.inner.clock.now() + REFRESH_LIFETIME,
        };
        let jti = random_token::<32>(&*self.inner.rng);
        lock(&self.inner.password_sessions)
            .refresh
            .insert(jti.clone(), token.clone());
        Ok(self.session_reply(&account, &token, &jti))
    }

    pub(super) fn refresh_session(&self, request: &Received) -> Result<Reply, XrpcError> {
        let jti = self.refresh_jti(request)?;
        let now = self.inner.clock.now();
        let fresh = random_token::<32>(&*self.inner.rng);
        let (token, next) = {
            let mut sessions = lock(&self.inner.password_sessions);
            let token = sessions
                .refresh
                .get_mut(&jti)
                .filter(|token| token.expires > now);
            let token = token.ok_or_else(revoked)?;
            token.expires = token.expires.min(now + REFRESH_GRACE);
            let next = token.next.get_or_insert(fresh).clone();
            let token = token.clone();
            sessions
                .refresh
                .entry(next.clone())
                .or_insert_with(|| RefreshToken {
                    next: None,
                    expires: now + REFRESH_LIFETIME,
                    ..token.clone()
                });
            (token, next)
        };
        let account = lock(&self.inner.accounts)
            .get(&token.did)
            .cloned()
            .ok_or_else(revoked)?;
        if !account.state.keeps_sessions() {
            let message = "Account has been taken down";
            return Err(XrpcError::unauthorized("AccountTakedown", message));
        }
        Ok(self.session_reply(&account, &token, &next))
    }

    pub(super) fn delete_session(&self, request: &Received) -> Result<Reply, XrpcError> {
        let jti = self.refresh_jti(request)?;
        lock(&self.inner.password_sessions).refresh.remove(&jti);
        Ok(Reply::text(StatusCode::OK, ""))
    }

    pub(super) fn create_app_password(&self, request: &Received) -> Result<Reply, XrpcError> {
        let caller = self.caller(request)?;
        caller.must_be_full()?;
        let input: AppPasswordInput = input(request)?;
        let password = self.new_password();
        let created_at = self.now_text();
        let mut accounts = lock(&self.inner.accounts);
        let account = accounts.get_mut(&caller.did).ok_or_else(revoked)?;
        if account.app_passwords.contains_key(&input.name) {
            let status = StatusCode::INTERNAL_SERVER_ERROR;
            return Err(XrpcError::new(
                status,
                "InternalServerError",
                "Internal Server Error",
            ));
        }
        let body = json!({
            "name": input.name,
            "password": password,
            "createdAt": created_at,
            "privileged": input.privileged,
        });
        let entry = AppPassword {
            password,
            privileged: input.privileged,
            created_at,
        };
        account.app_passwords.insert(input.name, entry);
        Ok(Reply::json(StatusCode::OK, &body))
    }

    pub(super) fn list_app_passwords(&self, request: &Received) -> Result<Reply, XrpcError> {
        let caller = self.caller(request)?;
        caller.must_be_full()?;
        let accounts = lock(&self.inner.accounts);
        let account = accounts.get(&caller.did).ok_or_else(revoked)?;
        let list = account.app_passwords.iter().map(|(name, entry)| {
            json!({
                "name": name,
                "createdAt": entry.created_at,
                "privileged": entry.privileged,
            })
        });
        let list: Vec<Value> = list.collect();
        Ok(Reply::json(StatusCode::OK, &json!({ "passwords": list })))
    }

    pub(super) fn revoke_app_password(&self, request: &Received) -> Result<Reply, XrpcError> {
        let caller = self.caller(request)?;
        caller.must_be_full()?;
        let input: AppPasswordInput = input(request)?;
        if let Some(account) = lock(&self.inner.accounts).get_mut(&caller.did) {
            account.app_passwords.remove(&input.name);
        }
        lock(&self.inner.password_sessions)
            .refresh
            .retain(|_, token| {
                token.did != caller.did || token.app_password.as_ref() != Some(&input.name)
            });
        Ok(Reply::text(StatusCode::OK, ""))
    }

    fn refresh_jti(&self, request: &Received) -> Result<String, XrpcError> {
        let header = request.header("authorization");
        let token = header
            .and_then(|header| header.strip_prefix("Bearer "))
            .ok_or_else(|| XrpcError::unauthorized("AuthMissing", "Authentication Required"))?;
        let claims: RefreshClaims = self
            .inner
            .tokens
            .verify(TokenType::Refresh, token)
            .ok_or_else(|| XrpcError::bad_request("InvalidToken", "Invalid token type"))?;
        if claims.exp <= self.inner.clock.now().as_secs() {
            return Err(XrpcError::bad_request("ExpiredToken", "Token has expired"));
        }
        Ok(claims.jti)
    }

    fn session_reply(&self, account: &Account, token: &RefreshToken, jti: &str) -> Reply {
        let inner = &self.inner;
        let now = inner.clock.now();
        let access = PasswordClaims {
            scope: token.scope,
            sub: token.did.clone(),
            iat: now.as_secs(),
            exp: (now + ACCESS_LIFETIME).as_secs(),
            aud: inner.service_did.clone(),
        };
        let refresh = RefreshClaims {
            scope: "com.atproto.refresh".to_owned(),
            sub: token.did.clone(),
            jti: jti.to_owned(),
            iat: now.as_secs(),
            exp: (now + REFRESH_LIFETIME).as_secs(),
            aud: inner.service_did.clone(),
        };
        let mut body = self.account_view(account, token.scope == PasswordScope::Full);
        body["accessJwt"] = json!(inner.tokens.sign(TokenType::Access, &access));
        body["refreshJwt"] = json!(inner.tokens.sign(TokenType::Refresh, &refresh));
        Reply::json(StatusCode::OK, &body)
    }

    /// Four groups of four, as people know app passwords.
    fn new_password(&self) -> String {
        let mut bytes = [0; 10];
        self.inner.rng.fill(&mut bytes);
        let text = BASE32_NOPAD.encode(&bytes).to_ascii_lowercase();
        [&text[..4], &text[4..8], &text[8..12], &text[12..16]].join("-")
    }

    fn now_text(&self) -> String {
        let micros = self.inner.clock.now().as_micros();
        jiff::Timestamp::from_microsecond(micros)
            .map(|at| at.to_string())
            .unwrap_or_default()
    }
}

/// Which password it is, when it is one of the account's.
fn login(account: &Account, password: &str) -> Option<(PasswordScope, Option<String>)> {
    if account.password == password {
        return Some((PasswordScope::Full, None));
    }
    let (name, entry) = account
        .app_passwords
        .iter()
        .find(|(_, entry)| entry.password == password)?;
    let scope = if entry.privileged {
        PasswordScope::AppPrivileged
    } else {
        PasswordScope::App
    };
    Some((scope, Some(name.clone())))
}

fn revoked() -> XrpcError {
    XrpcError::bad_request("ExpiredToken", "Token has been revoked")
}
