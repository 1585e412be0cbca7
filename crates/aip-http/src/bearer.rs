//! Calls with an access token (RFC 6750, RFC 9449 §7): who calls, the challenge to whoever may not, and
//! the nonce for the next proof.

use std::borrow::Cow;

use aip_oauth::dpop::Target;
use aip_oauth::params::Params;
use aip_oauth::resource::{
    AuthorizedCall, AuthorizedProxyCall, AuthorizedSessionCall, Credential, ResourceError,
};
use axum::response::Response;
use http::header::HeaderValue;

use crate::api_error::ApiError;
use crate::endpoint::Endpoint;
use crate::error_mapping::{Challenge, DPOP_NONCE, MULTIPLE_PROOFS};
use crate::incoming_request::{DPOP, IncomingRequest};
use crate::state::AppState;

/// What a call shows: its access token as an `Authorization` header, and the proof of its key.
struct CallCredentials<'a> {
    authorization: Option<Cow<'a, str>>,
    dpop: Option<&'a str>,
    target: Target<'a>,
}

/// Checks the access token of a call on a resource at `path`.
pub(crate) async fn authorize(
    app: &AppState,
    incoming: &IncomingRequest,
    path: &str,
) -> Result<AuthorizedCall, ApiError> {
    let shown = CallCredentials::read(app, incoming, path)?;
    let authorized = app.server().authorize_call(shown.credential()).await;
    authorized.map_err(|error| refused(app, incoming, error))
}

/// Likewise, for a call on userinfo.
pub(crate) async fn authorize_userinfo(
    app: &AppState,
    incoming: &IncomingRequest,
) -> Result<AuthorizedCall, ApiError> {
    let shown = CallCredentials::read(app, incoming, Endpoint::Userinfo.spec().path)?;
    let authorized = app.server().authorize_userinfo(shown.credential()).await;
    authorized.map_err(|error| refused(app, incoming, error))
}

/// Likewise, for a call on the PDS.
pub(crate) async fn authorize_proxy(
    app: &AppState,
    incoming: &IncomingRequest,
    path: &str,
) -> Result<AuthorizedProxyCall, ApiError> {
    let shown = CallCredentials::read(app, incoming, path)?;
    let authorized = app.server().authorize_proxy_call(shown.credential()).await;
    authorized.map_err(|error| refused(app, incoming, error))
}

/// Likewise, for a call that asks about the session behind its token.
pub(crate) async fn authorize_session(
    app: &AppState,
    incoming: &IncomingRequest,
    path: &str,
) -> Result<AuthorizedSessionCall, ApiError> {
    let shown = CallCredentials::read(app, incoming, path)?;
    let authorized = app
        .server()
        .authorize_session_call(shown.credential())
        .await;
    authorized.map_err(|error| refused(app, incoming, error))
}

impl<'a> CallCredentials<'a> {
    fn read(
        app: &AppState,
        incoming: &'a IncomingRequest,
        path: &'a str,
    ) -> Result<Self, ApiError> {
        let in_form =
            Params::parse(&incoming.form).map_err(|e| ApiError::request(e.to_string()))?;
        let in_form = in_form
            .get("access_token")
            .map(|token| Cow::Owned(format!("Bearer {token}")));
        let authorization = match (incoming.authorization()?, in_form) {
            (Some(_), Some(_)) => {
                return Err(ApiError::request(
                    "the access token is in the header and in the body",
                ));
            }
            (header, form) => header.map(Cow::Borrowed).or(form),
        };
        let dpop = incoming.dpop().map_err(|_| {
            let metadata = protected_resource_url(app);
            challenge(&metadata, incoming).error("invalid_dpop_proof", MULTIPLE_PROOFS)
        })?;
        Ok(Self {
            authorization,
            dpop,
            target: Target {
                method: incoming.head.method.as_str(),
                path,
            },
        })
    }

    fn credential(&self) -> Credential<'_> {
        Credential {
            authorization: self.authorization.as_deref(),
            dpop: self.dpop,
            target: self.target,
        }
    }
}

/// The answer to a call whose credential is no good.
fn refused(app: &AppState, incoming: &IncomingRequest, error: ResourceError) -> ApiError {
    let metadata = protected_resource_url(app);
    challenge(&metadata, incoming).refuse(error)
}

/// The challenge to a call, under the scheme that it used.
pub(crate) fn challenge<'a>(
    resource_metadata: &'a str,
    incoming: &IncomingRequest,
) -> Challenge<'a> {
    let authorization = incoming.authorization().ok().flatten().unwrap_or_default();
    Challenge {
        resource_metadata,
        dpop: authorization
            .get(..5)
            .is_some_and(|scheme| scheme.eq_ignore_ascii_case("dpop ")),
    }
}

/// Where a client that was refused at a resource learns more (RFC 9728 §5.1).
pub(crate) fn protected_resource_url(app: &AppState) -> String {
    let (base, path) = (
        app.issuer().base(),
        Endpoint::ProtectedResourceMetadata.spec().path,
    );
    // Between the host and the path of the resource (RFC 9728 §3.1).
    base.origin().join(&format!("{path}{}", base.path()))
}

/// RFC 9449 §8.2: an answer to a request with a proof carries the nonce for the next one.
pub(crate) fn with_nonce(
    app: &AppState,
    incoming: &IncomingRequest,
    answer: Result<Response, ApiError>,
) -> Result<Response, ApiError> {
    if !incoming.headers().contains_key(DPOP) {
        return answer;
    }
    let nonce = app.server().dpop_nonce();
    match answer {
        Ok(mut response) => {
            if let Ok(nonce) = HeaderValue::from_str(&nonce) {
                response.headers_mut().insert(DPOP_NONCE, nonce);
            }
            Ok(response)
        }
        Err(problem) => Err(problem.with(DPOP_NONCE, &nonce)),
    }
}
