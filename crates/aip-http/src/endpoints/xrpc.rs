//! `/xrpc/{nsid}`: calls on the account's PDS (AT Protocol XRPC). Here the access token is checked
//! and the method's name parsed; what may be called and how it is forwarded is the proxy's. Who
//! somebody is, AIP says itself (`identity`).

use aip_atproto::Nsid;
use aip_base::BodyError;
use aip_storage::grant::AccessToken;
use aip_xrpc::XrpcCall;
use axum::body::Body;
use axum::response::Response;
use http::StatusCode;
use http_body_util::BodyExt as _;

use super::identity::IdentityMethod;
use crate::api_error::ApiError;
use crate::bearer::{authorize_proxy, challenge, protected_resource_url, with_nonce};
use crate::endpoint::Endpoint;
use crate::incoming_request::IncomingRequest;
use crate::state::AppState;

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
    if let Some(method) = IdentityMethod::of(&nsid, incoming.headers()) {
        return method.answer(app, incoming, grant).await;
    }
    let forwarded = app.parts().forwarder.forward(XrpcCall {
        session: authorized.session(),
        client: grant.client_id.as_str(),
        default_proxy: authorized.default_atproto_proxy(),
        scope,
        method: incoming.head.method.clone(),
        nsid,
        query: incoming.head.uri.query(),
        headers: incoming.headers(),
        body: body
            .map_err(|error| BodyError(Box::new(error)))
            .boxed_unsync(),
    });
    match forwarded.await {
        Ok(response) => Ok(response.map(Body::new)),
        Err(error) => {
            let metadata = protected_resource_url(app);
            Err(challenge(&metadata, incoming).not_forwarded(error))
        }
    }
}
