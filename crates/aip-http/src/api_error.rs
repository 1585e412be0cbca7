//! An error on its way out: status, code and fixed words for the caller; detail for the log only.
//!
//! The mappings from the errors of operations are in `refusals`, one `match` each.

use aip_base::Blame;
use aip_storage::StorageError;
use axum::Json;
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use http::header::{HeaderName, HeaderValue};
use serde::Serialize;

use crate::display_text::printable_excerpt;
use crate::endpoint::ErrorFormat;
use crate::pages::{ErrorPage, html};

/// The most characters of an error, told or logged. Some repeat what a server or a caller wrote.
const MAX_DETAIL: usize = 1000;

/// An error on its way out.
#[derive(Debug)]
pub(crate) struct ApiError {
    status: StatusCode,
    code: &'static str,
    message: String,
    headers: Vec<(HeaderName, HeaderValue)>,
    /// What a page tells the developer of the app.
    developer: Vec<(&'static str, String)>,
    report: Box<ErrorReport>,
    claimed_client: Option<Box<str>>,
}

/// What the log says of a request that went wrong. The response carries it to the log line.
#[derive(Debug, Clone)]
pub(crate) struct ErrorReport {
    /// Whose fault it is.
    pub(crate) blame: Blame,
    /// The error code that the app or caller receives.
    pub(crate) code: Option<&'static str>,
    /// What happened, without any secret.
    pub(crate) detail: String,
}

impl ErrorReport {
    /// Attaches the incident to an answer that is no error by its status.
    pub(crate) fn of(
        blame: Blame,
        code: Option<&'static str>,
        detail: impl Into<String>,
        mut response: Response,
    ) -> Response {
        let detail = printable_excerpt(&detail.into(), MAX_DETAIL);
        response.extensions_mut().insert(Self {
            blame,
            code,
            detail,
        });
        response
    }
}

/// RFC 6749 §5.2.
#[derive(Serialize)]
struct OAuthError<'a> {
    error: &'a str,
    error_description: &'a str,
}

/// AT Protocol XRPC, "Error Responses".
#[derive(Serialize)]
struct XrpcError<'a> {
    error: &'a str,
    message: &'a str,
}

impl ApiError {
    /// An error of the caller's.
    pub(crate) fn caller(
        status: StatusCode,
        code: &'static str,
        message: impl Into<String>,
    ) -> Self {
        let message = printable_excerpt(&message.into(), MAX_DETAIL);
        Self {
            status,
            code,
            headers: Vec::new(),
            developer: Vec::new(),
            report: Box::new(ErrorReport {
                blame: Blame::Caller,
                code: Some(code),
                detail: message.clone(),
            }),
            message,
            claimed_client: None,
        }
    }

    /// 400 `invalid_request`.
    pub(crate) fn request(message: impl Into<String>) -> Self {
        Self::caller(StatusCode::BAD_REQUEST, "invalid_request", message)
    }

    /// Something of ours broke; `detail` is for the log.
    pub(crate) fn internal(detail: impl Into<String>) -> Self {
        Self::caller(
            StatusCode::INTERNAL_SERVER_ERROR,
            "server_error",
            "Something went wrong on our side. It has been written down.",
        )
        .with_detail(Blame::Ours, detail)
    }

    /// What the caller receives.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// Says whose fault it was, and what the log says instead of the message.
    pub(crate) fn with_detail(mut self, blame: Blame, detail: impl Into<String>) -> Self {
        *self.report = ErrorReport {
            blame,
            code: Some(self.code),
            detail: printable_excerpt(&detail.into(), MAX_DETAIL),
        };
        self
    }

    /// Says what the developer of the app needs to know, as names and values.
    pub(crate) fn for_developers(mut self, facts: Vec<(&'static str, String)>) -> Self {
        self.developer = facts;
        self
    }

    /// Adds a header; one that is no header value is left out.
    pub(crate) fn with(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.push((name, value));
        }
        self
    }

    /// Whether a client did not prove who it is.
    pub(crate) fn is_failed_authentication(&self) -> bool {
        self.status == StatusCode::UNAUTHORIZED && self.code == "invalid_client"
    }

    /// Names the registered client as which somebody failed to authenticate.
    pub(crate) fn for_client(mut self, client: Option<String>) -> Self {
        self.claimed_client = client.map(Into::into);
        self
    }

    /// The registered client as which somebody failed to authenticate.
    pub(crate) fn claimed_client(&self) -> Option<&str> {
        self.claimed_client.as_deref()
    }

    /// The answer, in the format of its endpoint.
    pub(crate) fn into_response(mut self, format: ErrorFormat, brand: &str, id: &str) -> Response {
        let message = printable(&self.message);
        if format == ErrorFormat::Xrpc {
            self.code = xrpc_code(self.code, self.status);
            self.report.code = Some(self.code);
        }
        let mut response = match format {
            ErrorFormat::Page => html(
                self.status,
                &ErrorPage {
                    brand,
                    message: &self.message,
                    ours: self.report.blame == Blame::Ours,
                    developer: &self.developer,
                    request_id: id,
                },
            ),
            ErrorFormat::OAuth => (
                self.status,
                Json(OAuthError {
                    error: self.code,
                    error_description: &message,
                }),
            )
                .into_response(),
            ErrorFormat::Xrpc => (
                self.status,
                Json(XrpcError {
                    error: self.code,
                    message: &message,
                }),
            )
                .into_response(),
        };
        for (name, value) in self.headers {
            response.headers_mut().append(name, value);
        }
        response.extensions_mut().insert(*self.report);
        response
    }
}

/// The name that XRPC has for an error, where ours is one of OAuth. What is wrong with an access token is
/// named as RFC 6750 names it, also at a PDS.
fn xrpc_code(code: &'static str, status: StatusCode) -> &'static str {
    match (code, status) {
        ("invalid_request", StatusCode::PAYLOAD_TOO_LARGE) => "PayloadTooLarge",
        ("invalid_request", StatusCode::REQUEST_TIMEOUT) => "RequestTimeout",
        ("invalid_request", _) => "InvalidRequest",
        ("not_found", _) => "XRPCNotSupported",
        ("temporarily_unavailable", StatusCode::TOO_MANY_REQUESTS) => "RateLimitExceeded",
        ("temporarily_unavailable", _) => "NotEnoughResources",
        ("server_error", _) => "InternalServerError",
        (code, _) => code,
    }
}

/// The characters of an `error_description` (RFC 6749 §5.2), which are also those of a quoted
/// string in a header.
pub(crate) fn printable(message: &str) -> String {
    message
        .chars()
        .map(|c| match c {
            '"' | '\\' => '\'',
            ' '..='~' => c,
            _ => '?',
        })
        .collect()
}

impl From<StorageError> for ApiError {
    fn from(error: StorageError) -> Self {
        let detail = error.to_string();
        match error {
            StorageError::Unavailable(_) => Self::caller(
                StatusCode::SERVICE_UNAVAILABLE,
                "temporarily_unavailable",
                "We cannot answer right now. Please try again in a moment.",
            )
            .with_detail(Blame::Ours, detail)
            .with(http::header::RETRY_AFTER, "5"),
            StorageError::Inconsistent { .. } => Self::internal(detail),
        }
    }
}
