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
use crate::call::Call;
use crate::endpoints::Endpoint;
use crate::problem::Problem;
use crate::refusals::{Challenge, TWO_PROOFS};
use crate::state::App;

/// OpenID Connect Core §5.1; `sub` is the DID.
#[derive(Serialize)]
struct Claims<'a> {
    sub: &'a str,
    #[serde(flatten)]
    person: PersonClaims,
}

/// Answers with the claims that the scopes of the token open.
pub(super) async fn handle(app: &App, call: &Call) -> Result<Response, Problem> {
    let answer = claims(app, call).await;
    with_nonce(app, call, answer)
}

async fn claims(app: &App, call: &Call) -> Result<Response, Problem> {
    let authorized = authorize(app, call, Endpoint::Userinfo.spec().path).await?;
    let AccessToken { grant, scope, .. } = authorized.token();
    if !scope.contains(&Scope::OpenId(OpenIdScope::OpenId)) {
        let resource_metadata = protected_resource_url(app);
        return Err(challenge(&resource_metadata, call).scope("openid"));
    }
    let claims = Claims {
        sub: grant.did.as_str(),
        person: app.server().person_claims(grant, scope).await?,
    };
    Ok(Json(claims).into_response())
}

/// Checks the access token of a call on a resource at `path`.
pub(super) async fn authorize(
    app: &App,
    call: &Call,
    path: &str,
) -> Result<AuthorizedCall, Problem> {
    let in_form = Params::parse(&call.form).map_err(|e| Problem::request(e.to_string()))?;
    let in_form = in_form
        .get("access_token")
        .map(|token| format!("Bearer {token}"));
    let authorization = match (call.authorization()?, in_form.as_deref()) {
        (Some(_), Some(_)) => {
            return Err(Problem::request(
                "the access token is in the header and in the body",
            ));
        }
        (header, form) => header.or(form),
    };
    let resource_metadata = protected_resource_url(app);
    let challenge = challenge(&resource_metadata, call);
    let dpop = call
        .dpop()
        .map_err(|_| challenge.error("invalid_dpop_proof", TWO_PROOFS))?;
    let credential = Credential {
        authorization,
        dpop,
        target: Target {
            method: call.head.method.as_str(),
            path,
        },
    };
    let authorized = app.server().authorize_call(credential).await;
    authorized.map_err(|error| challenge.refuse(error))
}

/// The challenge to a call, under the scheme that it used.
pub(super) fn challenge<'a>(resource_metadata: &'a str, call: &Call) -> Challenge<'a> {
    let authorization = call.authorization().ok().flatten().unwrap_or_default();
    Challenge {
        resource_metadata,
        dpop: authorization.to_ascii_lowercase().starts_with("dpop "),
    }
}
