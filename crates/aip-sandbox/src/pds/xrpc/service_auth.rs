//! `com.atproto.server.getServiceAuth`: tokens for other services, signed with the account's key
//! (<https://atproto.com/specs/xrpc#inter-service-authentication-jwt>).

use std::time::Duration;

use aip_atproto::{Nsid, Scope};
use aip_base::{Timestamp, random_token};
use http::StatusCode;
use serde::Serialize;
use serde_json::json;

use super::super::error::XrpcError;
use super::super::inner::Site;
use super::app_passwords::PasswordScope;
use super::auth::{Caller, Rights};
use super::parameter;
use crate::stage::reply::Reply;
use crate::stage::request::Received;

const DEFAULT_LIFETIME: Duration = Duration::from_mins(1);
const MAX_LIFETIME: Duration = Duration::from_hours(1);

/// Methods that no service token is made for.
const PROTECTED: [&str; 17] = [
    "com.atproto.admin.sendEmail",
    "com.atproto.identity.requestPlcOperationSignature",
    "com.atproto.identity.signPlcOperation",
    "com.atproto.identity.updateHandle",
    "com.atproto.server.activateAccount",
    "com.atproto.server.confirmEmail",
    "com.atproto.server.createAppPassword",
    "com.atproto.server.deactivateAccount",
    "com.atproto.server.getAccountInviteCodes",
    "com.atproto.server.getSession",
    "com.atproto.server.listAppPasswords",
    "com.atproto.server.requestAccountDelete",
    "com.atproto.server.requestEmailConfirmation",
    "com.atproto.server.requestEmailUpdate",
    "com.atproto.server.revokeAppPassword",
    "com.atproto.server.updateEmail",
    "com.atproto.server.createInviteCode",
];

#[derive(Serialize)]
struct ServiceClaims<'a> {
    iss: &'a str,
    aud: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    lxm: Option<&'a str>,
    iat: i64,
    exp: i64,
    jti: String,
}

/// Whether a service is never called with that method in the name of an account, in whatever
/// letters it is written.
pub(super) fn is_protected(method: &str) -> bool {
    PROTECTED.iter().any(|it| it.eq_ignore_ascii_case(method))
}

impl Site {
    pub(super) fn get_service_auth(&self, request: &Received) -> Result<Reply, XrpcError> {
        let caller = self.caller(request)?;
        let account = self.account(&caller.did)?;
        let audience = parameter(request, "aud")?;
        let query = request.query_form();
        let lxm = query.get("lxm");
        may_call(&caller, lxm, &audience)?;
        let now = self.inner.clock.now();
        let expires = expiry(query.get("exp"), lxm.is_some(), now)?;
        let claims = ServiceClaims {
            iss: &caller.did,
            aud: &audience,
            lxm,
            iat: now.as_secs(),
            exp: expires.as_secs(),
            jti: random_token::<16>(&*self.inner.rng),
        };
        let token = aip_jose::sign_jwt(&account.signing_key, "JWT", &claims).map_err(|error| {
            XrpcError::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "InternalServerError",
                error.to_string(),
            )
        })?;
        Ok(Reply::json(StatusCode::OK, &json!({ "token": token })))
    }
}

fn may_call(caller: &Caller, lxm: Option<&str>, audience: &str) -> Result<(), XrpcError> {
    if let Some(lxm) = lxm.filter(|lxm| is_protected(lxm)) {
        let why = format!(
            "cannot request a service auth token for the following protected method: {lxm}"
        );
        return Err(XrpcError::invalid_request(why));
    }
    match (&caller.rights, lxm) {
        (Rights::Scopes(_), Some(lxm)) => {
            let nsid = Nsid::parse(lxm);
            let nsid = nsid.map_err(|error| XrpcError::invalid_request(error.to_string()))?;
            caller.must_call(&nsid, audience)
        }
        (Rights::Scopes(scopes), None) => {
            let needed = format!("rpc:*?aud={}", audience.replace('#', "%23"));
            if scopes.covers(&Scope::parse(&needed)) {
                Ok(())
            } else {
                Err(XrpcError::scope_missing(&needed))
            }
        }
        (Rights::Password(PasswordScope::App), Some(lxm)) if lxm.starts_with("chat.bsky.") => {
            let why = format!(
                "insufficient access to request a service auth token for the following method: {lxm}"
            );
            Err(XrpcError::invalid_request(why))
        }
        (Rights::Password(_), _) => Ok(()),
    }
}

fn expiry(exp: Option<&str>, has_method: bool, now: Timestamp) -> Result<Timestamp, XrpcError> {
    let bad = |why: &str| Err(XrpcError::bad_request("BadExpiration", why));
    let Some(exp) = exp else {
        return Ok(now + DEFAULT_LIFETIME);
    };
    let Ok(exp) = exp.parse() else {
        return bad("expiration is not a number");
    };
    let expires = Timestamp::from_secs(exp);
    if expires <= now {
        bad("expiration is in past")
    } else if expires.since(now) > MAX_LIFETIME {
        bad("cannot request a token with an expiration more than an hour in the future")
    } else if !has_method && expires.since(now) > DEFAULT_LIFETIME {
        bad(
            "cannot request a method-less token with an expiration more than a minute in the future",
        )
    } else {
        Ok(expires)
    }
}
