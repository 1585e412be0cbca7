//! One request to the API server: bounded in time, repeated where that is safe, with the
//! `Warning` headers of the answer, which the client library drops.

use std::time::Duration;

use http_body_util::{BodyExt as _, Limited};
use kube::Client;
use kube::client::Body;
use kube::core::Status;
use serde_json::Value;

use super::error::ApiError;

/// No single answer takes longer.
const TIMEOUT: Duration = Duration::from_secs(30);

/// No answer is larger; a list of a namespace's Pods stays far below.
const MAX_BYTES: usize = 64 * 1024 * 1024;

/// Pauses before another try, when the server says it is busy.
const PAUSES: [Duration; 2] = [Duration::from_millis(200), Duration::from_secs(1)];

/// What the API server answered.
pub(crate) struct Answer {
    /// The object, or the list.
    pub(crate) value: Value,
    /// Its warnings, without code and agent.
    pub(crate) warnings: Vec<String>,
}

/// Sends a request. Every request of this program may be repeated: reads, server-side applies,
/// and deletes of one UID.
pub(crate) async fn send(
    client: &Client,
    request: http::Request<Vec<u8>>,
) -> Result<Answer, ApiError> {
    let mut pauses = PAUSES.iter();
    loop {
        let answer = tokio::time::timeout(TIMEOUT, exchange(client, request.clone()))
            .await
            .unwrap_or(Err(ApiError::Timeout(TIMEOUT.as_secs())));
        let busy = |error: &ApiError| {
            matches!(
                error.status().map(|status| status.code),
                Some(429 | 503 | 504)
            )
        };
        match (answer, pauses.next()) {
            (Err(error), Some(pause)) if busy(&error) => tokio::time::sleep(*pause).await,
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
    let body = Limited::new(body, MAX_BYTES)
        .collect()
        .await
        .map_err(|error| ApiError::Unreachable(error.to_string()))?
        .to_bytes();
    if head.status.is_success() {
        let value = serde_json::from_slice(&body)
            .map_err(|error| ApiError::Unreadable(error.to_string()))?;
        return Ok(Answer { value, warnings });
    }
    let status = serde_json::from_slice(&body)
        .unwrap_or_else(|_| Status::failure(String::from_utf8_lossy(&body).trim(), ""));
    Err(ApiError::Status(
        status.with_code(head.status.as_u16()).boxed(),
    ))
}

/// The text of `299 - "text"`, RFC 7234 section 5.5.
fn warning(header: &str) -> Option<String> {
    let quoted = header.split_once('"')?.1;
    let text = quoted.rsplit_once('"').map_or(quoted, |(text, _)| text);
    Some(text.replace("\\\"", "\"").replace("\\\\", "\\"))
}

#[cfg(test)]
mod tests {
    use super::warning;

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
