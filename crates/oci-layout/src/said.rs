//! What the errors of a registry mean, and how they are told.

use oci_client::errors::{OciDistributionError, OciErrorCode};

/// What is told of a text that a registry wrote, in characters.
const MAX_CHARS: usize = 300;
/// Request timeout, too many requests: another try may succeed.
const TEMPORARY: [u16; 2] = [408, 429];

/// Whether the registry does not let this user in, or not for this: another user might be.
pub fn is_refusal(error: &OciDistributionError) -> bool {
    match error {
        OciDistributionError::UnauthorizedError { .. }
        | OciDistributionError::AuthenticationFailure(_) => true,
        OciDistributionError::RegistryError { .. } => {
            has(error, &[OciErrorCode::Unauthorized, OciErrorCode::Denied])
        }
        _ => matches!(status(error), Some(401 | 403)),
    }
}

/// Whether there is no such manifest.
pub(crate) fn is_missing(error: &OciDistributionError) -> bool {
    match error {
        OciDistributionError::ImageManifestNotFoundError(_) => true,
        OciDistributionError::RegistryError { .. } => has(
            error,
            &[
                OciErrorCode::ManifestUnknown,
                OciErrorCode::NameUnknown,
                OciErrorCode::NotFound,
            ],
        ),
        _ => status(error) == Some(404),
    }
}

/// Whether the registry will answer the same next time: it does not let us, or does not take such a thing.
pub(crate) fn is_declined(error: &OciDistributionError) -> bool {
    if is_refusal(error) {
        return true;
    }
    match error {
        OciDistributionError::RegistryError { .. } => !has(error, &[OciErrorCode::Toomanyrequests]),
        _ => status(error).is_some_and(|it| (400..500).contains(&it) && !TEMPORARY.contains(&it)),
    }
}

fn has(error: &OciDistributionError, codes: &[OciErrorCode]) -> bool {
    let OciDistributionError::RegistryError { envelope, .. } = error else {
        return false;
    };
    let mut all = envelope.errors.iter();
    all.any(|error| codes.contains(&error.code))
}

fn status(error: &OciDistributionError) -> Option<u16> {
    match error {
        OciDistributionError::ServerError { code, .. } => Some(*code),
        OciDistributionError::RequestError(error) => error.status().map(|it| it.as_u16()),
        _ => None,
    }
}

/// What the registry said, or what kept us from asking it: one line, short and printable.
pub(crate) fn words(error: &OciDistributionError) -> String {
    match error {
        OciDistributionError::RegistryError { envelope, .. } => {
            let said = envelope.errors.iter().map(|it| it.message.as_str());
            let said: Vec<&str> = said.filter(|it| !it.is_empty()).collect();
            if said.is_empty() {
                printable(&error.to_string())
            } else {
                printable(&said.join("; "))
            }
        }
        OciDistributionError::ServerError { code, message, .. } => {
            printable(&format!("status {code} {}", message_of(message)))
        }
        OciDistributionError::RequestError(request) => match request.status() {
            Some(status) => format!("status {}", status.as_u16()),
            None => printable(&root_cause(request)),
        },
        OciDistributionError::AuthenticationFailure(said) if said.trim().is_empty() => {
            "it gave no token".to_owned()
        }
        OciDistributionError::AuthenticationFailure(said) => {
            printable(&format!("it gave no token: {}", message_of(said)))
        }
        OciDistributionError::UnauthorizedError { .. } => "status 401".to_owned(),
        other => printable(&other.to_string()),
    }
}

/// The messages of the errors in a body, or the body (distribution specification, "Error Codes").
fn message_of(body: &str) -> String {
    let Ok(envelope) = serde_json::from_str::<serde_json::Value>(body) else {
        return body.to_owned();
    };
    let errors = envelope.get("errors").and_then(serde_json::Value::as_array);
    let said: Vec<&str> = errors
        .into_iter()
        .flatten()
        .filter_map(|it| it.get("message")?.as_str())
        .collect();
    if said.is_empty() {
        body.to_owned()
    } else {
        said.join("; ")
    }
}

/// The innermost cause says what happened: "connection refused", "certificate has expired".
fn root_cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

fn printable(text: &str) -> String {
    let text = text.trim();
    let mut short: String = text
        .chars()
        .take(MAX_CHARS)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if text.chars().nth(MAX_CHARS).is_some() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(code: u16, message: &str) -> OciDistributionError {
        OciDistributionError::ServerError {
            code,
            url: "http://r/v2/".to_owned(),
            message: message.to_owned(),
        }
    }

    fn envelope(code: OciErrorCode) -> OciDistributionError {
        let error = oci_client::errors::OciError {
            code,
            message: "said\u{1b}[31m".to_owned(),
            detail: serde_json::Value::Null,
        };
        OciDistributionError::RegistryError {
            envelope: oci_client::errors::OciEnvelope {
                errors: vec![error],
            },
            url: "http://r/v2/".to_owned(),
        }
    }

    #[test]
    fn an_answer_is_a_refusal_missing_declined_or_temporary() {
        for (error, refusal, missing, declined) in [
            (server(401, ""), true, false, true),
            (server(403, ""), true, false, true),
            (envelope(OciErrorCode::Denied), true, false, true),
            (envelope(OciErrorCode::Unauthorized), true, false, true),
            (server(404, ""), false, true, true),
            (envelope(OciErrorCode::ManifestUnknown), false, true, true),
            (server(400, ""), false, false, true),
            (server(405, ""), false, false, true),
            (envelope(OciErrorCode::Unsupported), false, false, true),
            (server(408, ""), false, false, false),
            (server(429, ""), false, false, false),
            (envelope(OciErrorCode::Toomanyrequests), false, false, false),
            (server(500, ""), false, false, false),
            (server(503, ""), false, false, false),
        ] {
            assert_eq!(is_refusal(&error), refusal, "{error}");
            assert_eq!(is_missing(&error), missing, "{error}");
            assert_eq!(is_declined(&error), declined, "{error}");
        }
    }

    #[test]
    fn what_a_registry_says_is_short_and_printable() {
        for (error, expected) in [
            (
                server(
                    403,
                    r#"{"errors":[{"code":"DENIED","message":"not\u0007you"}]}"#,
                ),
                "status 403 not you",
            ),
            (server(502, "<html>\u{1b}[2J"), "status 502 <html> [2J"),
            (server(403, "{}"), "status 403 {}"),
            (envelope(OciErrorCode::Denied), "said [31m"),
            (
                OciDistributionError::AuthenticationFailure(String::new()),
                "it gave no token",
            ),
        ] {
            assert_eq!(words(&error), expected);
        }
        let long = words(&server(500, &"x".repeat(9000)));
        assert_eq!(long.chars().count(), MAX_CHARS + 1, "{long}");
    }
}
