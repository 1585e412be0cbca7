//! `/xrpc/{nsid}`: calls on the account's PDS (AT Protocol XRPC). Here the access token is checked
//! and the method's name parsed; what may be called and how it is forwarded is the proxy's. Who
//! somebody is, AIP says itself (`identity`).

use aip_atproto::{Did, Nsid, Origin};
use aip_base::{BodyError, empty, single_header};
use aip_oauth::delegation::{ActingFor, DelegationError};
use aip_oauth::resource::AuthorizedProxyCall;
use aip_sessions::KeeperError;
use aip_storage::grant::AccessToken;
use aip_storage::session_read::SessionRead;
use aip_xrpc::{ForwardError, Sessions, XrpcCall};
use axum::body::{Body, HttpBody as _};
use axum::response::Response;
use http::StatusCode;
use http_body_util::BodyExt as _;

use super::identity::IdentityMethod;
use super::v1;
use crate::api_error::ApiError;
use crate::bearer::{authorize_proxy, challenge, protected_resource_url, with_nonce};
use crate::endpoint::Endpoint;
use crate::incoming_request::IncomingRequest;
use crate::state::AppState;

/// Names the account that a delegate acts for. It is for AIP alone.
const ACCOUNT: &str = "x-aip-account";

/// The error of a call for an account that nobody lets the caller act for.
const FORBIDDEN: &str = "Forbidden";

/// Checks the call and forwards it.
pub(super) async fn handle(
    app: &AppState,
    incoming: &IncomingRequest,
    body: Body,
) -> Result<Response, ApiError> {
    let answer = forward(app, incoming, body).await;
    with_nonce(app, incoming, answer)
}

async fn forward(
    app: &AppState,
    incoming: &IncomingRequest,
    body: Body,
) -> Result<Response, ApiError> {
    let path = incoming.head.uri.path();
    // The path as sent: an encoded slash or dot is no part of an NSID, so it is refused here.
    let prefix = Endpoint::Xrpc.spec().path.trim_end_matches("{nsid}");
    let nsid = path
        .strip_prefix(prefix)
        .and_then(|it| Nsid::parse(it).ok());
    let nsid = nsid.ok_or_else(|| {
        ApiError::caller(
            StatusCode::BAD_REQUEST,
            "InvalidRequest",
            "the path does not end with the name of a method",
        )
    })?;
    let authorized = authorize_proxy(app, incoming, path).await?;
    let AccessToken { grant, scope, .. } = authorized.token();
    let acting = acting_for(app, incoming, &authorized).await?;
    let session = acting
        .as_ref()
        .map_or(authorized.session(), |it| Some(it.session()));
    check_service(app, incoming, session)?;
    // Who acts for somebody else has what they allowed, and no app password of theirs.
    let app_password = match acting {
        Some(_) => None,
        None => authorized.app_password(),
    };
    let delegate = acting
        .as_ref()
        .map_or(grant.delegate(), |_| Some(&grant.subject));
    if let Some(method) = IdentityMethod::of(&nsid, incoming.headers()) {
        return method.answer(app, incoming, grant).await;
    }
    let forwarded = app.parts().forwarder.forward(XrpcCall {
        sessions: Sessions {
            own: session,
            app_password,
        },
        delegate,
        client: &grant.client_id,
        default_proxy: authorized.default_atproto_proxy(),
        scope: acting.as_ref().map_or(scope, ActingFor::scope),
        method: incoming.head.method.clone(),
        nsid,
        query: incoming.head.uri.query(),
        headers: incoming.headers(),
        body: if body.is_end_stream() {
            empty()
        } else {
            body.map_err(|error| BodyError(Box::new(error)))
                .boxed_unsync()
        },
    });
    match forwarded.await {
        Ok(response) => Ok(response.map(Body::new)),
        // Not that the token is no good: its person cannot sign in for the owner.
        Err(ForwardError::Session(
            error @ (KeeperError::Unknown | KeeperError::NeedsReauth(_) | KeeperError::Ended(_)),
        )) if delegate.is_some() => {
            let words = "the owner of the account has to allow it anew that you act for it";
            Err(ApiError::caller(StatusCode::FORBIDDEN, FORBIDDEN, words)
                .with_detail(error.blame(), error.to_string()))
        }
        Err(error) => {
            let metadata = protected_resource_url(app);
            Err(challenge(&metadata, incoming).not_forwarded(error))
        }
    }
}

/// What the caller may do for the account that the call names; `None` if it is the token's own.
async fn acting_for(
    app: &AppState,
    incoming: &IncomingRequest,
    authorized: &AuthorizedProxyCall,
) -> Result<Option<ActingFor>, ApiError> {
    let named = single_header(incoming.headers(), ACCOUNT)
        .map_err(|_| bad_header("the header X-AIP-Account is repeated or unreadable"))?;
    let named = match (named, v1_header(app, incoming, v1::SUBJECT)?) {
        (Some(named), Some(other)) if named != other => {
            let words = "X-AIP-Account and X-Subject name different accounts";
            return Err(bad_header(words));
        }
        (named, other) => named.or(other),
    };
    let Some(named) = named else { return Ok(None) };
    let owner = Did::parse(named)
        .map_err(|_| bad_header("X-AIP-Account, or X-Subject of AIP v1, must be a DID"))?;
    if owner == authorized.token().grant.subject {
        return Ok(None);
    }
    match app.server().act_for(authorized, &owner).await {
        Ok(acting) => Ok(Some(acting)),
        Err(DelegationError::Storage(error)) => Err(error.into()),
        Err(error @ (DelegationError::Chain(_) | DelegationError::NotAllowed { .. })) => Err(
            ApiError::caller(StatusCode::FORBIDDEN, FORBIDDEN, error.to_string()),
        ),
    }
}

/// A header of AIP v1, which means something with `compat.v1` alone.
fn v1_header<'a>(
    app: &AppState,
    incoming: &'a IncomingRequest,
    name: &'static str,
) -> Result<Option<&'a str>, ApiError> {
    if app.v1().is_none() {
        return Ok(None);
    }
    single_header(incoming.headers(), name)
        .map_err(|_| bad_header("a header of AIP v1 is repeated or unreadable"))
}

/// Refuses a call that names another server than the account's PDS. v1 sent the account's token to whatever
/// host the header named.
fn check_service(
    app: &AppState,
    incoming: &IncomingRequest,
    session: Option<&SessionRead>,
) -> Result<(), ApiError> {
    let Some(named) = v1_header(app, incoming, v1::SERVICE)? else {
        return Ok(());
    };
    let url = if named.contains("://") {
        named.to_owned()
    } else {
        format!("https://{named}")
    };
    let origin = Origin::parse(&url).ok();
    if session.is_none_or(|it| Some(&it.session.pds) == origin.as_ref()) {
        return Ok(());
    }
    let words = "X-Service names another server than the PDS of the account; `atproto-proxy` names services";
    Err(bad_header(words))
}

fn bad_header(words: &str) -> ApiError {
    ApiError::caller(StatusCode::BAD_REQUEST, "InvalidRequest", words)
}
