//! What an answer of a PDS says about AIP's own credentials, which is not for the app.

use aip_base::{Body, CollectError, HttpError, collect, full};
use aip_pds::{
    CallAuth, decoded, is_nonce_challenge, nonce_of, rejects_token, token_error_descriptions,
};
use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use serde::Deserialize;

/// The largest answer that is looked at.
const MAX_ANSWER_BYTES: usize = 1024 * 1024;
/// How a PDS names a token that is no good in the body of an answer: as XRPC and as OAuth do.
const REJECTION_CODES: [&str; 3] = ["ExpiredToken", "InvalidToken", "invalid_token"];

/// Methods that take a token from a mail in their body, and answer 400 about that one in the same
/// words.
const METHODS_WITH_OTHER_TOKENS: [&str; 4] = [
    "com.atproto.server.confirmEmail",
    "com.atproto.server.deleteAccount",
    "com.atproto.server.resetPassword",
    "com.atproto.server.updateEmail",
];

/// What an answer says about the credentials of the call.
pub(crate) enum Verdict {
    /// Nothing bad.
    Good(Response<Body>),
    /// The call is to be repeated with this nonce.
    NewNonce(String),
    /// The access token is expired, revoked or otherwise no good.
    Rejected(Response<Body>),
}

#[derive(Deserialize)]
struct XrpcError {
    error: String,
}

/// Judges an answer to a call of `method`. The bodies of 400 and 401 are read for it: they have
/// names in them where headers are missing, and for app passwords there are no others.
pub(crate) async fn judge(
    response: Response<Body>,
    auth: &CallAuth,
    method: &str,
) -> Result<Verdict, HttpError> {
    let (status, headers) = (response.status(), response.headers());
    let dpop = matches!(auth, CallAuth::Dpop(_));
    let nonce = nonce_of(headers).filter(|_| dpop).map(str::to_owned);
    if let Some(nonce) = nonce
        .clone()
        .filter(|_| is_nonce_challenge(status, headers))
    {
        return Ok(Verdict::NewNonce(nonce));
    }
    if rejects_token(status, headers) {
        if dpop && says_token_expired(headers) {
            tracing::warn!(
                "the PDS found the access token expired after it had accepted it: the reference PDS ends the session then, and the next refresh is refused"
            );
        }
        return Ok(Verdict::Rejected(response));
    }
    if !matches!(status, StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED) {
        return Ok(Verdict::Good(response));
    }
    let (head, body) = response.into_parts();
    let body = collect_answer(body).await?;
    let error = error_in(&head.headers, &body);
    let error = error.as_deref().unwrap_or_default();
    let response = Response::from_parts(head, full(body));
    if error == "use_dpop_nonce"
        && let Some(nonce) = nonce
    {
        return Ok(Verdict::NewNonce(nonce));
    }
    let about_another = status == StatusCode::BAD_REQUEST
        && METHODS_WITH_OTHER_TOKENS
            .iter()
            .any(|it| it.eq_ignore_ascii_case(method));
    Ok(if REJECTION_CODES.contains(&error) && !about_another {
        Verdict::Rejected(response)
    } else {
        Verdict::Good(response)
    })
}

/// What a PDS answers to a call whose answer is looked at.
pub(crate) async fn collect_answer(body: Body) -> Result<Bytes, HttpError> {
    let collected = collect(body, MAX_ANSWER_BYTES).await;
    collected.map_err(|error| match error {
        CollectError::TooLarge(max_bytes) => HttpError::TooLarge(max_bytes),
        CollectError::Broken(error) => HttpError::Broken(error.to_string()),
    })
}

/// The words of the reference PDS at its second look at a token, which is when it ends the session.
/// At the first look, which costs nothing, it says `"exp" claim timestamp check failed`.
fn says_token_expired(headers: &HeaderMap) -> bool {
    token_error_descriptions(headers).contains(&"Token expired".to_owned())
}

fn error_in(headers: &HeaderMap, body: &Bytes) -> Option<String> {
    let body = decoded(headers, body)?;
    let error: XrpcError = serde_json::from_slice(&body).ok()?;
    Some(error.error)
}

/// The status for the app, whose own token is good: 401 would send it to refresh that, again and
/// again, for an account that is taken down or a method that wants another sign-in.
pub(crate) fn status_for_app(status: StatusCode) -> StatusCode {
    if status == StatusCode::UNAUTHORIZED {
        StatusCode::FORBIDDEN
    } else {
        status
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use http::header::WWW_AUTHENTICATE;

    use super::*;

    async fn verdict(
        status: u16,
        challenge: Option<&'static str>,
        body: &'static str,
        method: &str,
    ) -> &'static str {
        let mut response = Response::new(full(body));
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        if let Some(challenge) = challenge {
            let challenge = HeaderValue::from_static(challenge);
            response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
        }
        match judge(response, &CallAuth::Bearer, method).await.unwrap() {
            Verdict::Good(_) => "good",
            Verdict::NewNonce(_) => "nonce",
            Verdict::Rejected(_) => "rejected",
        }
    }

    #[tokio::test]
    async fn a_definite_rejection_of_the_token_is_seen_in_header_and_body() {
        let (post, confirm) = (
            "com.atproto.repo.createRecord",
            "com.atproto.server.confirmEmail",
        );
        let expired = r#"{"error":"ExpiredToken","message":"Token has expired"}"#;
        for (status, challenge, body, method, expected) in [
            (401, Some("DPoP error=invalid_token"), "", post, "rejected"),
            (
                401,
                Some(r#"Bearer error="invalid_token""#),
                "",
                confirm,
                "rejected",
            ),
            (400, None, expired, post, "rejected"),
            (401, None, r#"{"error":"InvalidToken"}"#, post, "rejected"),
            (
                401,
                None,
                r#"{"error":"invalid_token"}"#,
                "a.b.c",
                "rejected",
            ),
            (400, None, expired, confirm, "good"),
            (401, None, expired, confirm, "rejected"),
            (401, None, r#"{"error":"AccountTakedown"}"#, post, "good"),
            (401, Some("DPoP error=insufficient_scope"), "", post, "good"),
            (
                400,
                None,
                r#"{"error":"InvalidRequest","message":"ExpiredToken"}"#,
                post,
                "good",
            ),
            (400, None, "<html>ExpiredToken", post, "good"),
            (403, None, expired, post, "good"),
            (200, None, expired, post, "good"),
        ] {
            let found = verdict(status, challenge, body, method).await;
            assert_eq!(found, expected, "{status} {challenge:?} {body} {method}");
        }
    }
}
