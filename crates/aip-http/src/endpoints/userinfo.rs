//! `/oauth/userinfo` (OpenID Connect Core §5.3): claims about the person, signed if the app is
//! registered for that, with the access token in
//! the header, or in the form of a `POST` (RFC 6750 §2.2). Never in the query (OAuth 2.1 §5.1.1).

use aip_atproto::{OpenIdScope, Scope};
use aip_oauth::claims::{Actor, PersonClaims};
use aip_storage::grant::AccessToken;
use aip_storage::requested_claims::ClaimPlace;
use axum::Json;
use axum::response::{IntoResponse as _, Response};
use http::header::CONTENT_TYPE;
use serde::Serialize;

use crate::api_error::ApiError;
use crate::bearer::{authorize_userinfo, challenge, protected_resource_url, with_nonce};
use crate::incoming_request::IncomingRequest;
use crate::state::AppState;

/// OpenID Connect Core §5.1; `sub` is the DID, or pairwise.
#[derive(Serialize)]
struct Claims<'a> {
    sub: &'a str,
    /// Who acts for the account with the token (RFC 8693 §4.1).
    #[serde(skip_serializing_if = "Option::is_none")]
    act: Option<Actor<'a>>,
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
    let authorized = authorize_userinfo(app, incoming).await?;
    let AccessToken { grant, scope, .. } = authorized.token();
    if !scope.contains(&Scope::OpenId(OpenIdScope::OpenId)) {
        let resource_metadata = protected_resource_url(app);
        return Err(challenge(&resource_metadata, incoming).scope("openid"));
    }
    let server = app.server();
    let subject = server.subject_of(grant).to_string();
    let claims = Claims {
        sub: &subject,
        act: grant.delegate().map(|it| Actor { sub: it.as_str() }),
        person: server
            .person_claims(grant, scope, ClaimPlace::Userinfo, true)
            .await?,
    };
    let client = server.known_client(&grant.client_id).await?;
    match client.and_then(|it| it.settings.userinfo_alg) {
        None => Ok(Json(claims).into_response()),
        Some(alg) => {
            let signed = server.sign_userinfo(alg, &grant.client_id, &claims)?;
            Ok(([(CONTENT_TYPE, "application/jwt")], signed).into_response())
        }
    }
}
