//! Refusals of a PDS, in the two dialects it speaks: OAuth (RFC 6749 §5.2) and XRPC.

use http::StatusCode;
use http::header::WWW_AUTHENTICATE;
use serde_json::json;

use crate::stage::reply::Reply;

/// A refusal of an OAuth endpoint.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{error}: {description}")]
pub(crate) struct OAuthError {
    pub(crate) status: StatusCode,
    pub(crate) error: &'static str,
    pub(crate) description: String,
}

/// A refusal of an XRPC method.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{error}: {message}")]
pub(crate) struct XrpcError {
    pub(crate) status: StatusCode,
    pub(crate) error: &'static str,
    pub(crate) message: String,
}

/// What is wrong with a `DPoP` proof (RFC 9449 §4.3).
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum ProofRefusal {
    #[error("DPoP proof required")]
    Missing,
    #[error("DPoP proof invalid: {0}")]
    Invalid(String),
    #[error("DPoP proof replayed")]
    Replayed,
    #[error("nonce required in DPoP proof")]
    NonceDemanded,
}

impl OAuthError {
    pub(crate) fn new(error: &'static str, description: impl Into<String>) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            error,
            description: description.into(),
        }
    }

    pub(crate) fn invalid_request(description: impl Into<String>) -> Self {
        Self::new("invalid_request", description)
    }

    pub(crate) fn invalid_grant(description: impl Into<String>) -> Self {
        Self::new("invalid_grant", description)
    }

    pub(crate) fn invalid_client(description: impl Into<String>) -> Self {
        Self::new("invalid_client", description)
    }

    pub(crate) fn invalid_scope(description: impl Into<String>) -> Self {
        Self::new("invalid_scope", description)
    }

    pub(crate) fn server_error() -> Self {
        let status = StatusCode::INTERNAL_SERVER_ERROR;
        Self {
            status,
            ..Self::new("server_error", "Server error")
        }
    }

    pub(crate) fn reply(&self) -> Reply {
        let body = json!({ "error": self.error, "error_description": self.description });
        let reply = Reply::json(self.status, &body);
        if self.status == StatusCode::UNAUTHORIZED {
            challenge(reply, self.error, &self.description)
        } else {
            reply
        }
    }
}

impl From<ProofRefusal> for OAuthError {
    fn from(refusal: ProofRefusal) -> Self {
        match refusal {
            ProofRefusal::NonceDemanded => Self::new(
                "use_dpop_nonce",
                "Authorization server requires nonce in DPoP proof",
            ),
            other => Self {
                status: StatusCode::UNAUTHORIZED,
                ..Self::new("invalid_dpop_proof", other.to_string())
            },
        }
    }
}

impl XrpcError {
    pub(crate) fn new(status: StatusCode, error: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            error,
            message: message.into(),
        }
    }

    pub(crate) fn bad_request(error: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error, message)
    }

    pub(crate) fn invalid_request(message: impl Into<String>) -> Self {
        Self::bad_request("InvalidRequest", message)
    }

    pub(crate) fn unauthorized(error: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, error, message)
    }

    pub(crate) fn scope_missing(scope: &str) -> Self {
        let message = format!("Missing required scope \"{scope}\"");
        Self::new(StatusCode::FORBIDDEN, "ScopeMissingError", message)
    }

    pub(crate) fn reply(&self) -> Reply {
        let body = json!({ "error": self.error, "message": self.message });
        let reply = Reply::json(self.status, &body);
        // The OAuth errors of a resource server are written in lower case (RFC 6750 §3.1).
        if self.status == StatusCode::UNAUTHORIZED && self.error.starts_with(char::is_lowercase) {
            challenge(reply, self.error, &self.message)
        } else {
            reply
        }
    }
}

impl From<ProofRefusal> for XrpcError {
    fn from(refusal: ProofRefusal) -> Self {
        let error = match refusal {
            ProofRefusal::NonceDemanded => "use_dpop_nonce",
            _ => "invalid_dpop_proof",
        };
        let message = match refusal {
            ProofRefusal::NonceDemanded => {
                "Resource server requires nonce in DPoP proof".to_owned()
            }
            other => other.to_string(),
        };
        Self::unauthorized(error, message)
    }
}

fn challenge(reply: Reply, error: &str, description: &str) -> Reply {
    let description = description.replace(['"', '\\'], "'");
    reply.with(
        WWW_AUTHENTICATE,
        &format!("DPoP algs=\"ES256\", error=\"{error}\", error_description=\"{description}\""),
    )
}
