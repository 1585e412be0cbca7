//! Errors of the authorization endpoint (RFC 6749 §4.1.2.1, OpenID Connect Core §3.1.2.6).

use aip_storage::StorageError;
use aip_storage::client::ClientId;
use aip_storage::request::Delivery;

use crate::client_auth::ClientAuthError;
use crate::dpop::ProofError;
use crate::params::ParamsError;
use crate::unregistered::UnregisteredUri;

/// Why an authorization request ends here.
#[derive(Debug, thiserror::Error)]
pub enum AuthorizeError {
    /// Client or redirect URI are not known good: the person gets a page, nobody is redirected.
    #[error(transparent)]
    Page(#[from] PageError),
    /// The app receives it by redirect.
    #[error("refused: {}: {}", .0.code.as_str(), .0.detail)]
    Refused(Refusal),
    /// Our fault.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// An error before the redirect URI is verified. The words are for the person in front of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PageError {
    /// There is no (single) `client_id`.
    #[error("The app did not say which app it is: `client_id` is missing or repeated.")]
    NoClient,
    /// No such client.
    #[error("The app that sent you here is not registered.")]
    UnknownClient,
    /// The client is known by a document, and that is not there or not in order. Why is for its
    /// developer.
    #[error("The app that sent you here says nothing of itself that can be used.")]
    ClientDocument(String),
    /// There is no (single) `redirect_uri`.
    #[error("The app did not say where to send you back: `redirect_uri` is missing or repeated.")]
    NoRedirect,
    /// No request was pushed under that `request_uri`, or not by this client; or it was used before
    /// or expired.
    #[error(
        "This link from the app has expired: it was used before, or it is too old. Go back to the app and start again."
    )]
    UnknownRequestUri,
    /// Not one of the client's redirect URIs.
    #[error("The app wants you sent to an address that is not registered for it.")]
    UnknownRedirect(Box<UnregisteredUri>),
}

/// Why a request that the client sends itself, without a browser, is refused: one that it pushes (RFC
/// 9126 §2.3), or for a device (RFC 8628 §3.2). No word is a secret.
#[derive(Debug, thiserror::Error)]
pub enum ClientRequestError {
    /// 401 `invalid_client`.
    #[error(transparent)]
    Client(#[from] ClientAuthError),
    /// 400 `invalid_dpop_proof` or `use_dpop_nonce`.
    #[error(transparent)]
    Proof(#[from] ProofError),
    /// 400 `invalid_request`: the redirect URI is missing or not registered.
    #[error(transparent)]
    Redirect(PageError),
    /// 400, with the code that the authorization endpoint would have told.
    #[error("{1}")]
    Refused(RefusalCode, String),
    /// Our fault.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl From<ParamsError> for ClientRequestError {
    fn from(error: ParamsError) -> Self {
        Self::Refused(RefusalCode::InvalidRequest, error.to_string())
    }
}

impl From<AuthorizeError> for ClientRequestError {
    fn from(error: AuthorizeError) -> Self {
        match error {
            AuthorizeError::Page(error) => Self::Redirect(error),
            AuthorizeError::Refused(refusal) => Self::Refused(refusal.code, refusal.detail),
            AuthorizeError::Storage(error) => Self::Storage(error),
        }
    }
}

impl PageError {
    /// The code for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::UnknownRequestUri => "invalid_request_uri",
            _ => "invalid_request",
        }
    }
}

/// An error that goes to the app.
#[derive(Debug, Clone)]
pub struct Refusal {
    /// The app.
    pub client_id: ClientId,
    /// How it is delivered: by a redirect URI that is verified, or at its device.
    pub delivery: Delivery,
    /// What the app receives.
    pub code: RefusalCode,
    /// What its developer is shown (`error_description`): fixed words about the request.
    pub detail: String,
}

/// The registered codes of an authorization error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalCode {
    /// A parameter is missing, repeated, malformed or contradictory.
    InvalidRequest,
    /// This client may not do that.
    UnauthorizedClient,
    /// The person or their PDS said no.
    AccessDenied,
    /// Not `code`.
    UnsupportedResponseType,
    /// Unknown, malformed or more than the client registered.
    InvalidScope,
    /// A resource that is none, or that the client is not registered for (RFC 8707 §2).
    InvalidTarget,
    /// Something of ours or upstream broke.
    ServerError,
    /// Something of ours or upstream is away for a while.
    TemporarilyUnavailable,
    /// `prompt=none`, and nobody is signed in.
    LoginRequired,
    /// `prompt=none`, and the person must allow the app.
    ConsentRequired,
    /// `prompt=none`, and there is more than one account.
    AccountSelectionRequired,
    /// `prompt=none`, and some page is needed.
    InteractionRequired,
    /// `request` is not supported (OpenID Connect Core §6.1).
    RequestNotSupported,
    /// `request_uri` is not supported here.
    RequestUriNotSupported,
    /// `registration` is not supported.
    RegistrationNotSupported,
    /// An essential `acr` that this server cannot tell (OpenID Connect Core Error Code
    /// `unmet_authentication_requirements` 1.0).
    UnmetAuthenticationRequirements,
}

impl RefusalCode {
    /// The code on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::UnauthorizedClient => "unauthorized_client",
            Self::AccessDenied => "access_denied",
            Self::UnsupportedResponseType => "unsupported_response_type",
            Self::InvalidScope => "invalid_scope",
            Self::InvalidTarget => "invalid_target",
            Self::ServerError => "server_error",
            Self::TemporarilyUnavailable => "temporarily_unavailable",
            Self::LoginRequired => "login_required",
            Self::ConsentRequired => "consent_required",
            Self::AccountSelectionRequired => "account_selection_required",
            Self::InteractionRequired => "interaction_required",
            Self::RequestNotSupported => "request_not_supported",
            Self::RequestUriNotSupported => "request_uri_not_supported",
            Self::RegistrationNotSupported => "registration_not_supported",
            Self::UnmetAuthenticationRequirements => "unmet_authentication_requirements",
        }
    }

    /// The registered code of that name, as a PDS may send it.
    pub fn from_wire(code: &str) -> Option<Self> {
        [
            Self::InvalidRequest,
            Self::UnauthorizedClient,
            Self::AccessDenied,
            Self::InvalidScope,
            Self::ServerError,
            Self::TemporarilyUnavailable,
            Self::LoginRequired,
            Self::ConsentRequired,
            Self::AccountSelectionRequired,
            Self::InteractionRequired,
        ]
        .into_iter()
        .find(|it| it.as_str() == code)
    }
}
