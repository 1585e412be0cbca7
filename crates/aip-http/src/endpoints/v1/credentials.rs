//! `/internal/api/credentials`: the access token of the PDS and the key that it is bound to, for apps with
//! the scope `aip:credentials` and for the account that signed in alone. The rules are those of
//! `/api/atprotocol/session`, the shape is v1's.

use aip_pds::CallAuth;
use aip_sessions::{ActiveSession, KeeperError};
use aip_storage::upstream::Credential;
use axum::Json;
use axum::response::{IntoResponse as _, Response};
use secrecy::ExposeSecret as _;
use serde::Serialize;

use super::require_own_account;
use crate::api_error::ApiError;
use crate::bearer::{authorize_session, challenge, protected_resource_url, with_nonce};
use crate::endpoint::Endpoint;
use crate::endpoints::credentials::{self, PrivateJwk, WrittenKey};
use crate::endpoints::session::Selection;
use crate::incoming_request::IncomingRequest;
use crate::state::AppState;

/// The answers of v1.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Credentials<'a> {
    /// The session of an app password.
    Bearer { token: &'a str },
    /// The session of the access token.
    Dpop {
        token: &'a str,
        /// The private key.
        jwk: PrivateJwk<'a>,
        /// The authorization server that issued the token.
        issuer: &'a str,
    },
    /// Neither can be used: the person has to sign in again.
    None,
}

/// Answers with the credentials of the session of the app password, or of that of the token.
pub(in crate::endpoints) async fn credentials(
    app: &AppState,
    incoming: &IncomingRequest,
) -> Result<Response, ApiError> {
    let answer = hand_out(app, incoming).await;
    with_nonce(app, incoming, answer)
}

async fn hand_out(app: &AppState, incoming: &IncomingRequest) -> Result<Response, ApiError> {
    let call = authorize_session(app, incoming, Endpoint::V1Credentials.spec().path).await?;
    require_own_account(incoming, &call.token().grant)?;
    let Some(permit) = app.server().permit_credentials(&call).await? else {
        let metadata = protected_resource_url(app);
        let words = "the access token does not allow `aip:credentials`; calls go through /xrpc";
        return Err(challenge(&metadata, incoming).scope(words));
    };
    let usable = Selection::Best.usable(app, &call).await;
    let opened = match usable {
        Ok(live) => credentials::open(app, &call, &permit, live.id).await?,
        Err(error) => Err(error),
    };
    match opened {
        Ok(active) => written(app, &active).await,
        Err(KeeperError::Unknown | KeeperError::NeedsReauth(_) | KeeperError::Ended(_)) => {
            Ok(Json(Credentials::None).into_response())
        }
        Err(error) => Err(Selection::Best.refuse(app, incoming, error)),
    }
}

async fn written(app: &AppState, active: &ActiveSession) -> Result<Response, ApiError> {
    let token = active.access.expose_secret();
    let CallAuth::Dpop(keys) = &active.auth else {
        return Ok(Json(Credentials::Bearer { token }).into_response());
    };
    let stored = app.storage().upstream_session(active.id).await?;
    let Some(Credential::OAuth(oauth)) = stored.map(|it| it.credential) else {
        return Ok(Json(Credentials::None).into_response());
    };
    let key = WrittenKey::of(&keys.dpop)?;
    let credentials = Credentials::Dpop {
        token,
        jwk: key.jwk()?,
        issuer: oauth.issuer.as_str(),
    };
    Ok(Json(credentials).into_response())
}
