//! `/oauth/userinfo` (OpenID Connect Core §5.3): claims about the person, with the access token in
//! the header, or in the form of a `POST` (RFC 6750 §2.2). Never in the query (OAuth 2.1 §5.1.1).

use aip_atproto::{OpenIdScope, Scope};
use aip_oauth::claims::PersonClaims;
use aip_oauth::dpop::Target;
use aip_oauth::params::Params;
use aip_oauth::resource::{AuthorizedCall, Credential};
use aip_storage::grant::AccessToken;
use axum::Json;
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;

use super::discovery::protected_resource_url;
use super::token::with_nonce;
use crate::api_error::ApiError;
use crate::endpoints::Endpoint;
use crate::error_mapping::{Challenge, TWO_PROOFS};
use crate::incoming_request::IncomingRequest;
use crate::state::AppState;

/// OpenID Connect Core §5.1; `sub` is the DID.
#[derive(Serialize)]
struct Claims<'a> {
    sub: &'a str,
    #[serde(flatten)]
    person: PersonClaims,
}

/// Answers with the claims that the scopes of the token open.
pub(super) async fn handle(
    app: &AppState,
    incoming: &IncomingRequest,
) -> Result<Response, ApiError> {
    let answer = claims(app, incoming).await;
    with_nonce(app, incoming, answer)
}

async fn claims(app: &AppState, incoming: &IncomingRequest) -> Result<Response, ApiError> {
    let authorized = authorize(app, incoming, Endpoint::Userinfo.spec().path).await?;
    let AccessToken { grant, scope, .. } = authorized.token();
    if !scope.contains(&Scope::OpenId(OpenIdScope::OpenId)) {
        let resource_metadata = protected_resource_url(app);
        return Err(challenge(&resource_metadata, incoming).scope("openid"));
    }
    let claims = Claims {
        sub: grant.did.as_str(),
        person: app.server().person_claims(grant, scope).await?,
    };
    Ok(Json(claims).into_response())
}

/// Checks the access token of a call on a resource at `path`.
pub(super) async fn authorize(
    app: &AppState,
    incoming: &IncomingRequest,
    path: &str,
) -> Result<AuthorizedCall, ApiError> {
    let in_form = Params::parse(&incoming.form).map_err(|e| ApiError::request(e.to_string()))?;
    let in_form = in_form
        .get("access_token")
        .map(|token| format!("Bearer {token}"));
    let authorization = match (incoming.authorization()?, in_form.as_deref()) {
        (Some(_), Some(_)) => {
            return Err(ApiError::request(
                "the access token is in the header and in the body",
            ));
        }
        (header, form) => header.or(form),
    };
    let resource_metadata = protected_resource_url(app);
    let challenge = challenge(&resource_metadata, incoming);
    let dpop = incoming
        .dpop()
        .map_err(|_| challenge.error("invalid_dpop_proof", TWO_PROOFS))?;
    let credential = Credential {
        authorization,
        dpop,
        target: Target {
            method: incoming.head.method.as_str(),
            path,
        },
    };
    let authorized = app.server().authorize_call(credential).await;
    authorized.map_err(|error| challenge.refuse(error))
}

/// The challenge to a call, under the scheme that it used.
pub(super) fn challenge<'a>(
    resource_metadata: &'a str,
    incoming: &IncomingRequest,
) -> Challenge<'a> {
    let authorization = incoming.authorization().ok().flatten().unwrap_or_default();
    Challenge {
        resource_metadata,
        dpop: authorization.to_ascii_lowercase().starts_with("dpop "),
    }
}
