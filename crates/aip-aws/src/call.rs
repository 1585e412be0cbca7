//! What went wrong with a call to a service, in our own words: the SDK's say where in it an error arose.

use aip_base::terminal_excerpt;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use http::StatusCode;

use crate::credentials::CredentialsError;
use crate::text::{causes, xml_field};

/// Why a call has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallFailure {
    /// Nothing came back.
    #[error("cannot be reached: {reason}")]
    Unreachable {
        /// The innermost cause.
        reason: String,
    },
    /// The service says no.
    #[error("refused: {code}: {message}")]
    Refused {
        /// Its code, such as `AccessDeniedException`.
        code: String,
        /// The message of the service.
        message: String,
    },
    /// Something answered that is not the service, or the service is ill.
    #[error("answered {status}{said}")]
    NotTheService {
        /// The status of the answer.
        status: StatusCode,
        /// What the answer looked like, if that says more.
        said: &'static str,
    },
    /// The answer is not one of the service's.
    #[error("returned an invalid response")]
    InvalidResponse,
}

/// Why a certificate or a zone is not read or changed.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// Neither the caller nor environment and profile say where.
    #[error("the region is not known: pass --region or set AWS_REGION")]
    NoRegion,
    /// The call was not sent.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// The call has no answer.
    #[error("{service} in {region} {failure}")]
    Call {
        /// `AWS Certificate Manager`.
        service: &'static str,
        /// Where it was asked.
        region: String,
        /// What happened.
        failure: CallFailure,
    },
}

/// Refusals of the caller. The services say it in different words.
/// (<https://docs.aws.amazon.com/acm/latest/APIReference/CommonErrors.html>)
const DENIED_CODES: [&str; 12] = [
    "AccessDenied",
    "AccessDeniedException",
    "ExpiredToken",
    "ExpiredTokenException",
    "IncompleteSignature",
    "InvalidClientTokenId",
    "InvalidSignatureException",
    "MissingAuthenticationToken",
    "NotAuthorized",
    "OptInRequired",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
];

impl ServiceError {
    /// Whether other credentials or other rights are needed.
    pub fn is_denied(&self) -> bool {
        match self {
            Self::NoRegion => false,
            Self::Credentials(error) => error.is_denied(),
            Self::Call { .. } => self.code().is_some_and(|code| DENIED_CODES.contains(&code)),
        }
    }

    /// The code of the refusal, if the service refused.
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Call {
                failure: CallFailure::Refused { code, .. },
                ..
            } => Some(code),
            _ => None,
        }
    }
}

/// What came of a call, from what the SDK says.
pub(crate) fn call_failure<E>(error: &SdkError<E, HttpResponse>) -> CallFailure
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let refused = |code: &str, message: &str| CallFailure::Refused {
        code: terminal_excerpt(code),
        message: terminal_excerpt(message),
    };
    let Some(raw) = error.raw_response() else {
        let innermost = causes(error).last().map(ToString::to_string);
        return CallFailure::Unreachable {
            reason: terminal_excerpt(&innermost.unwrap_or_default()),
        };
    };
    if let Some(code) = error.code() {
        return refused(code, error.message().unwrap_or_default());
    }
    let body = raw.body().bytes().unwrap_or_default();
    // XML where the credentials are refused before the service is asked.
    let text = String::from_utf8_lossy(body);
    if let Some(code) = xml_field(&text, "Code") {
        return refused(&code, &xml_field(&text, "Message").unwrap_or_default());
    }
    let is_markup = body.trim_ascii_start().starts_with(b"<");
    let Ok(status) = StatusCode::from_u16(raw.status().as_u16()) else {
        return CallFailure::InvalidResponse;
    };
    if status.is_success() && !is_markup {
        return CallFailure::InvalidResponse;
    }
    CallFailure::NotTheService {
        status,
        said: if is_markup {
            " with an HTML page: something else is answering, such as a proxy that requires a login"
        } else {
            ""
        },
    }
}
