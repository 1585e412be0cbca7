//! `/oauth/introspect` (RFC 7662): what a token is, as JSON or, for whoever asks for it, as a JWT
//! (RFC 9701).

use aip_jose::Audience;
use aip_oauth::Issuer;
use aip_oauth::claims::Actor;
use aip_oauth::dpop::Confirmation;
use aip_oauth::tokens::Introspection;
use axum::Json;
use axum::response::{IntoResponse as _, Response};
use http::HeaderMap;
use http::header::{ACCEPT, CONTENT_TYPE};
use serde::Serialize;

use crate::api_error::ApiError;
use crate::incoming_request::IncomingRequest;
use crate::state::AppState;

/// The media type of a signed answer (RFC 9701 §4).
const SIGNED: &str = "application/token-introspection+jwt";

/// RFC 7662 §2.2.
#[derive(Serialize)]
struct ActiveToken<'a> {
    active: bool,
    iss: &'a str,
    sub: &'a str,
    /// RFC 8693 §4.1.
    #[serde(skip_serializing_if = "Option::is_none")]
    act: Option<Actor<'a>>,
    client_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    aud: Option<Audience>,
    scope: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_type: Option<&'a str>,
    iat: i64,
    exp: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    cnf: Option<Confirmation<'a>>,
}

/// RFC 7662 §2.2: of any other token nothing is said.
#[derive(Serialize)]
struct InactiveToken {
    active: bool,
}

/// What is said of a token.
#[derive(Serialize)]
#[serde(untagged)]
enum IntrospectionResponse<'a> {
    ActiveToken(ActiveToken<'a>),
    InactiveToken(InactiveToken),
}

/// Says what a token is.
pub(super) async fn introspect(
    app: &AppState,
    incoming: &IncomingRequest,
) -> Result<Response, ApiError> {
    let server = app.server();
    let asked = server.introspect(&incoming.form, incoming.authorization()?);
    let (client, found) = asked.await?;
    let response = match &found {
        None => IntrospectionResponse::InactiveToken(InactiveToken { active: false }),
        Some(found) => IntrospectionResponse::ActiveToken(active_token(found, app.issuer())),
    };
    if !wants_signed(incoming.headers()) {
        return Ok(Json(response).into_response());
    }
    let signed = server.sign_introspection(&client, &response)?;
    Ok(([(CONTENT_TYPE, SIGNED)], signed).into_response())
}

fn active_token<'a>(found: &'a Introspection, issuer: &'a Issuer) -> ActiveToken<'a> {
    ActiveToken {
        active: true,
        iss: issuer.as_str(),
        sub: &found.subject,
        act: found.actor.as_deref().map(|sub| Actor { sub }),
        client_id: found.client_id.as_str(),
        aud: found.audience.as_ref().map(|it| issuer.audience_claim(it)),
        scope: &found.scope,
        token_type: found.token_type,
        iat: found.issued_at.as_secs(),
        exp: found.expires_at.as_secs(),
        cnf: found.dpop_jkt.as_deref().map(|jkt| Confirmation { jkt }),
    }
}

/// Whether the caller names the signed form. Whoever takes anything gets JSON.
fn wants_signed(headers: &HeaderMap) -> bool {
    let values = headers.get_all(ACCEPT).into_iter();
    values.filter_map(|it| it.to_str().ok()).any(|accept| {
        accept.split(',').any(|range| {
            let (name, parameters) = range.split_once(';').unwrap_or((range, ""));
            let refused = parameters.split(';').any(|it| {
                let weight = it.trim().strip_prefix("q=");
                weight.is_some_and(|it| it.trim_end_matches(['0', '.']).is_empty())
            });
            name.trim().eq_ignore_ascii_case(SIGNED) && !refused
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signed_form_is_for_those_who_name_it() {
        let wants = |accept: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, accept.parse().unwrap());
            wants_signed(&headers)
        };
        for accept in [
            SIGNED,
            "Application/Token-Introspection+JWT",
            "application/json;q=0.5, application/token-introspection+jwt;q=0.9",
            "application/token-introspection+jwt; q=1",
        ] {
            assert!(wants(accept), "{accept}");
        }
        for accept in [
            "*/*",
            "application/*",
            "application/json",
            "application/jwt",
            "application/token-introspection+jwt;q=0",
            "application/token-introspection+jwt;q=0.000",
            "",
        ] {
            assert!(!wants(accept), "{accept}");
        }
        assert!(!wants_signed(&HeaderMap::new()));
    }
}
