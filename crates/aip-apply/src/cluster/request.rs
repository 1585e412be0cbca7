//! One request to the API server: bounded in time, repeated where that is safe, with the
//! `Warning` headers of the answer, which the client library drops.

use std::time::Duration;

use aip_base::terminal_excerpt;
use http_body_util::{BodyExt as _, Limited};
use jiff::Timestamp;
use kube::Client;
use kube::client::Body;
use kube::core::Status;
use serde_json::Value;

use super::error::ApiError;
use crate::error_text::{json_error_position, root_cause};

/// Time limit of one request, answer included.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// No answer is larger; a list of a namespace's Pods stays far below.
const MAX_RESPONSE_BYTES: usize = 64 * 1024 * 1024;

/// Pauses before another try, when the server says it is busy.
const RETRY_DELAYS: [Duration; 2] = [Duration::from_millis(200), Duration::from_secs(1)];

/// A successful answer of the API server.
pub(crate) struct Answer {
    /// The object, or the list.
    pub(crate) value: Value,
    /// Its warnings, without code and agent.
    pub(crate) warnings: Vec<String>,
    /// When it answered, by its own clock, to the second (`Date`, RFC 9110 section 6.6.1).
    pub(crate) date: Option<Timestamp>,
}

/// Sends a request. Every request of this program may be repeated: reads, server-side applies,
/// and deletes of one UID.
pub(crate) async fn send(
    client: &Client,
    request: http::Request<Vec<u8>>,
) -> Result<Answer, ApiError> {
    let mut delays = RETRY_DELAYS.iter();
    loop {
        let answer = tokio::time::timeout(REQUEST_TIMEOUT, exchange(client, request.clone()))
            .await
            .unwrap_or(Err(ApiError::Timeout(REQUEST_TIMEOUT.as_secs())));
        let busy = |error: &ApiError| {
            matches!(
                error.status().map(|status| status.code),
                Some(429 | 503 | 504)
            )
        };
        match (answer, delays.next()) {
            (Err(error), Some(delay)) if busy(&error) => tokio::time::sleep(*delay).await,
            (answer, _) => return answer,
        }
    }
}

async fn exchange(client: &Client, request: http::Request<Vec<u8>>) -> Result<Answer, ApiError> {
    let response = client.send(request.map(Body::from)).await?;
    let (head, body) = response.into_parts();
    let warnings = head
        .headers
        .get_all(http::header::WARNING)
        .iter()
        .filter_map(|value| warning(value.to_str().ok()?))
        .collect();
    let date = head.headers.get(http::header::DATE);
    let date = date.and_then(|value| http_date(value.to_str().ok()?));
    let body = Limited::new(body, MAX_RESPONSE_BYTES)
        .collect()
        .await
        .map_err(|error| ApiError::Unreachable(root_cause(error.as_ref())))?
        .to_bytes();
    if head.status.is_success() {
        let value = serde_json::from_slice(&body)
            .map_err(|error| ApiError::Unreadable(json_error_position(&error)))?;
        return Ok(Answer {
            value,
            warnings,
            date,
        });
    }
    Err(ApiError::Status(refusal(head.status, &body).boxed()))
}

/// The refusal of an API server, or what something in between said in its place.
fn refusal(code: http::StatusCode, body: &[u8]) -> Status {
    let status = serde_json::from_slice(body).unwrap_or_else(|_| {
        let text = String::from_utf8_lossy(body);
        let text = if text.trim_start().starts_with('<') {
            format!(
                "a proxy or gateway in front of the API server answered {code} with an HTML page"
            )
        } else {
            terminal_excerpt(&text)
        };
        Status::failure(&text, "")
    });
    status.with_code(code.as_u16())
}

/// IMF-fixdate is a date of RFC 2822, too.
fn http_date(value: &str) -> Option<Timestamp> {
    jiff::fmt::rfc2822::parse(value)
        .ok()
        .map(|time| time.timestamp())
}

/// The text of `299 - "text"`, RFC 7234 section 5.5.
fn warning(header: &str) -> Option<String> {
    let quoted = header.split_once('"')?.1;
    let text = quoted.rsplit_once('"').map_or(quoted, |(text, _)| text);
    Some(text.replace("\\\"", "\"").replace("\\\\", "\\"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_date_of_an_answer_is_read_and_nonsense_is_none() {
        let date = http_date("Sun, 29 Nov 2026 13:14:44 GMT");
        assert_eq!(date, "2026-11-29T13:14:44Z".parse().ok());
        assert_eq!(http_date("yesterday"), None);
    }

    #[test]
    fn what_a_gateway_says_is_no_web_page_on_a_terminal() {
        let of = |body: &str| refusal(http::StatusCode::BAD_GATEWAY, body.as_bytes());
        let page = of("<html><head><title>502</title>");
        assert_eq!(
            (page.code, page.message.as_str()),
            (
                502,
                "a proxy or gateway in front of the API server answered 502 Bad Gateway with an HTML page"
            )
        );
        assert_eq!(
            of("no\x1b[2J healthy upstream\n").message,
            "no [2J healthy upstream"
        );
        let long = of(&"x".repeat(100_000)).message;
        assert!(long.len() < 400, "{}", long.len());
        let status = r#"{"kind":"Status","status":"Failure","message":"no","reason":"Forbidden","code":403}"#;
        assert_eq!(of(status).message, "no");
    }

    #[test]
    fn a_warning_header_is_unquoted() {
        let header = r#"299 - "would violate PodSecurity \"restricted:latest\": x""#;
        assert_eq!(
            warning(header).as_deref(),
            Some("would violate PodSecurity \"restricted:latest\": x")
        );
        assert_eq!(warning("299 -"), None);
    }
}
