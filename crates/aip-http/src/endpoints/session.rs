//! `/api/atprotocol/session`: what an app may know of its session at the account's PDS, refreshed
//! if it was stale. Neither tokens nor keys of the PDS leave AIP, as calls go through `/xrpc`, but for
//! apps with the scope `aip:credentials` (`credentials`).
//!
//! Apps ask often. A session that is fresh costs one statement, and none of its secrets is opened.

use aip_atproto::Handle;
use aip_base::Timestamp;
use aip_oauth::claims::INVALID_HANDLE;
use aip_oauth::params::Params;
use aip_oauth::resource::AuthorizedSessionCall;
use aip_pds::usable_until;
use aip_sessions::{KeeperError, step};
use aip_storage::grant::AccessToken;
use aip_storage::session_status::SessionStatus;
use aip_storage::upstream::SessionKind;
use axum::Json;
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use serde::Serialize;

use super::credentials;
use crate::api_error::ApiError;
use crate::bearer::{authorize_session, challenge, protected_resource_url, with_nonce};
use crate::endpoint::Endpoint;
use crate::incoming_request::IncomingRequest;
use crate::state::AppState;

/// The names are those of AIP v2.
#[derive(Serialize)]
struct Session<'a> {
    did: &'a str,
    /// The verified handle, or `handle.invalid`.
    handle: &'a str,
    /// The origin of the account's PDS.
    pds_endpoint: String,
    /// What the access token allows.
    scopes: Vec<String>,
    /// `active`, or `uncertain` while the outcome of a refresh is unknown. A session in another state
    /// is answered with an error.
    state: &'static str,
    /// When the session is refreshed next, in seconds of the Unix epoch. AIP does that by itself.
    expires_at: i64,
    /// When the person has to sign in again whatever AIP does, in seconds of the Unix epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    ends_at: Option<i64>,
}

/// Which session is asked about: the parameter `access_token_type`, as AIP v2 has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Selection {
    /// That of the access token.
    OAuth,
    /// That of the app password of the client and account.
    AppPassword,
    /// That of the app password if it can be used, otherwise that of the access token.
    Best,
}

/// Answers with the session of the access token.
pub(super) async fn handle(
    app: &AppState,
    incoming: &IncomingRequest,
) -> Result<Response, ApiError> {
    let answer = session(app, incoming).await;
    with_nonce(app, incoming, answer)
}

async fn session(app: &AppState, incoming: &IncomingRequest) -> Result<Response, ApiError> {
    let authorized = authorize_session(app, incoming, Endpoint::Session.spec().path).await?;
    let AccessToken { grant, scope, .. } = authorized.token();
    let params = Params::parse(incoming.query()).map_err(|e| ApiError::request(e.to_string()))?;
    let selection = Selection::read(&params)?;
    if params
        .get("sub")
        .is_some_and(|sub| sub != grant.subject.as_str())
    {
        return Err(ApiError::request(
            "`sub` is another account than that of the access token",
        ));
    }
    let live = match selection.usable(app, &authorized).await {
        Ok(live) => live,
        Err(error) => return Err(selection.refuse(app, incoming, error)),
    };
    if let Some(permit) = app.server().permit_credentials(&authorized).await? {
        let handed = credentials::hand_out(app, &authorized, &permit, live.id).await?;
        return handed.map_err(|error| selection.refuse(app, incoming, error));
    }
    let session = Session {
        did: grant.subject.as_str(),
        handle: authorized.handle().map_or(INVALID_HANDLE, Handle::as_str),
        pds_endpoint: live.pds.as_str().to_owned(),
        scopes: scope.iter().map(ToString::to_string).collect(),
        state: live.state.name().as_str(),
        expires_at: usable_until(live.refreshed_at, live.access_expires_at).as_secs(),
        ends_at: step::ends_at(&live).map(Timestamp::as_secs),
    };
    Ok(Json(session).into_response())
}

impl Selection {
    fn read(params: &Params) -> Result<Self, ApiError> {
        match params.get("access_token_type") {
            None | Some("oauth_session") => Ok(Self::OAuth),
            Some("app_password_session") => Ok(Self::AppPassword),
            Some("best") => Ok(Self::Best),
            Some(_) => Err(ApiError::request(
                "`access_token_type` is `oauth_session`, `app_password_session` or `best`",
            )),
        }
    }

    /// The session, refreshed if it was stale.
    pub(super) async fn usable(
        self,
        app: &AppState,
        call: &AuthorizedSessionCall,
    ) -> Result<SessionStatus, KeeperError> {
        match self {
            Self::OAuth => of_token(app, call).await,
            Self::AppPassword => of_app_password(app, call).await,
            Self::Best => match of_app_password(app, call).await {
                Ok(live) => Ok(live),
                Err(KeeperError::Unknown) => of_token(app, call).await,
                Err(error) => {
                    tracing::info!(%error, "app password session unusable");
                    of_token(app, call).await
                }
            },
        }
    }

    /// The answer when the session cannot be used. Without an app password the access token is good
    /// all the same, so it is not `invalid_token`.
    pub(super) fn refuse(
        self,
        app: &AppState,
        incoming: &IncomingRequest,
        error: KeeperError,
    ) -> ApiError {
        match error {
            KeeperError::Unknown | KeeperError::NeedsReauth(_) | KeeperError::Ended(_)
                if self == Self::AppPassword =>
            {
                let words = "there is no session of an app password for this app and account";
                ApiError::caller(StatusCode::NOT_FOUND, "session_not_found", words)
                    .with_detail(error.blame(), error.to_string())
            }
            error => {
                let metadata = protected_resource_url(app);
                challenge(&metadata, incoming).no_session(error)
            }
        }
    }
}

async fn of_token(
    app: &AppState,
    call: &AuthorizedSessionCall,
) -> Result<SessionStatus, KeeperError> {
    let read = call.session().ok_or(KeeperError::Unknown)?;
    app.parts().keeper.active_status(read.clone()).await
}

async fn of_app_password(
    app: &AppState,
    call: &AuthorizedSessionCall,
) -> Result<SessionStatus, KeeperError> {
    let (keeper, grant) = (&app.parts().keeper, &call.token().grant);
    if grant.delegate().is_some() {
        // What the owner gave the app for themselves is nothing that their delegate uses.
        return Err(KeeperError::Unknown);
    }
    // As for calls: an app password gives no access longer than the session of the grant does.
    let own = call.session().ok_or(KeeperError::Unknown)?;
    if !own.state.name().serves_calls() {
        return Err(KeeperError::Unknown);
    }
    let kind = SessionKind::AppPassword;
    let found = keeper.session_for(&grant.client_id, &grant.subject, kind);
    let found = found.await?.ok_or(KeeperError::Unknown)?;
    keeper.active_status(found.status()).await
}
