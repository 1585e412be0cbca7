//! The session endpoint for apps with the scope `aip:credentials`: the body of AIP v2, with the access
//! token of the PDS and the private key that it is bound to. No token leaves without its audit event.

use std::sync::Arc;
use std::time::Duration;

use aip_atproto::Handle;
use aip_base::RowId;
use aip_jose::SigningKey;
use aip_oauth::claims::INVALID_HANDLE;
use aip_oauth::credentials::CredentialsPermit;
use aip_oauth::resource::AuthorizedSessionCall;
use aip_pds::CallAuth;
use aip_sessions::{ActiveSession, KeeperError};
use axum::Json;
use axum::response::{IntoResponse as _, Response};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};

use crate::api_error::ApiError;
use crate::limits::Limit;
use crate::state::AppState;

/// Tokens and keys of sessions handed out under one grant, each time with secrets that are opened.
const CREDENTIALS_PER_GRANT: Limit = Limit::new(
    "credentials_of_grant",
    60,
    Duration::from_secs(1),
    "This app asked for its credentials too often; it can use them until `expires_at`.",
);

/// The answer of AIP v2.2.2, member for member.
#[derive(Serialize)]
struct Credentials<'a> {
    did: &'a str,
    /// The verified handle, or `handle.invalid`.
    handle: &'a str,
    access_token: &'a str,
    /// `dpop`, or `bearer` for the session of an app password.
    token_type: &'static str,
    /// What the PDS granted.
    scopes: Vec<String>,
    /// The origin of the account's PDS.
    pds_endpoint: &'a str,
    /// The private key as a `did:key`; null for the session of an app password.
    dpop_key: Option<&'a str>,
    /// The same key as a JWK.
    dpop_jwk: Option<PrivateJwk<'a>>,
    /// Until when the access token should be used, in seconds of the Unix epoch. Then AIP has
    /// another one.
    expires_at: i64,
}

/// A private key of a curve as AIP v2 writes it: its `kid` is the public `did:key`.
#[derive(Serialize)]
pub(super) struct PrivateJwk<'a> {
    kid: &'a str,
    alg: &'static str,
    #[serde(rename = "use")]
    usage: &'static str,
    #[serde(flatten)]
    members: PrivateJwkMembers<'a>,
}

/// The members that make the key.
#[derive(Serialize, Deserialize)]
struct PrivateJwkMembers<'a> {
    kty: &'a str,
    crv: &'a str,
    x: &'a str,
    y: &'a str,
    d: &'a str,
}

/// A private key, written in the two forms of the answer.
pub(super) struct WrittenKey {
    did_key: SecretString,
    jwk: SecretString,
    /// The public half as a `did:key`.
    kid: String,
    alg: &'static str,
}

impl WrittenKey {
    pub(super) fn of(key: &SigningKey) -> Result<Self, ApiError> {
        let unwritable = || ApiError::internal("the DPoP key has no form as did:key and JWK");
        Ok(Self {
            did_key: key.to_private_did_key().ok_or_else(unwritable)?,
            jwk: key.to_private_jwk_json().map_err(|_| unwritable())?,
            kid: format!(
                "did:key:{}",
                key.public().to_multikey().ok_or_else(unwritable)?
            ),
            alg: key.alg().as_str(),
        })
    }

    pub(super) fn jwk(&self) -> Result<PrivateJwk<'_>, ApiError> {
        let members = serde_json::from_str(self.jwk.expose_secret());
        Ok(PrivateJwk {
            kid: &self.kid,
            alg: self.alg,
            usage: "sig",
            members: members.map_err(|_| ApiError::internal("the DPoP key is of no curve"))?,
        })
    }
}

/// The session `id` with its credentials, whose hand-out is limited and written down; the inner error says
/// that it cannot be used.
pub(super) async fn open(
    app: &AppState,
    call: &AuthorizedSessionCall,
    permit: &CredentialsPermit<'_>,
    id: RowId,
) -> Result<Result<Arc<ActiveSession>, KeeperError>, ApiError> {
    let grant = &call.token().grant;
    app.count_for_grant(CREDENTIALS_PER_GRANT, grant.id).await?;
    let active = match app.parts().keeper.active_session(id).await {
        Ok(active) => active,
        Err(error) => return Ok(Err(error)),
    };
    app.server()
        .record_credentials(permit, active.id, active.generation)
        .await?;
    Ok(Ok(active))
}

/// Answers with the credentials of the session `id`; the inner error says that it cannot be used.
pub(super) async fn hand_out(
    app: &AppState,
    call: &AuthorizedSessionCall,
    permit: &CredentialsPermit<'_>,
    id: RowId,
) -> Result<Result<Response, KeeperError>, ApiError> {
    let grant = &call.token().grant;
    let active = match open(app, call, permit, id).await? {
        Ok(active) => active,
        Err(error) => return Ok(Err(error)),
    };
    let key = match &active.auth {
        CallAuth::Dpop(keys) => Some(WrittenKey::of(&keys.dpop)?),
        CallAuth::Bearer => None,
    };
    let credentials = Credentials {
        did: grant.subject.as_str(),
        handle: call.handle().map_or(INVALID_HANDLE, Handle::as_str),
        access_token: active.access.expose_secret(),
        token_type: if key.is_some() { "dpop" } else { "bearer" },
        scopes: active.scope.iter().map(ToString::to_string).collect(),
        pds_endpoint: active.pds.as_str(),
        dpop_key: key.as_ref().map(|key| key.did_key.expose_secret()),
        dpop_jwk: key.as_ref().map(WrittenKey::jwk).transpose()?,
        expires_at: active.usable_until.as_secs(),
    };
    Ok(Ok(Json(credentials).into_response()))
}
