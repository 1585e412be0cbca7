//! The errors of operations as HTTP: one `match` for each, and nothing decided anywhere else.

use aip_base::{Blame, HttpError, Share};
use aip_jose::Alg;
use aip_oauth::authorize::{ClientRequestError, PageError};
use aip_oauth::client_auth::ClientAuthError;
use aip_oauth::client_registration::ClientRegistrationError;
use aip_oauth::dpop::ProofError;
use aip_oauth::grants::TokenError;
use aip_oauth::logout::LogoutError;
use aip_oauth::registration::RegistrationError;
use aip_oauth::resource::ResourceError;
use aip_oauth::signing::SigningError;
use aip_oauth::tokens::TokenManagementError;
use aip_oauth::unregistered::UnregisteredUri;
use aip_sessions::{AppPasswordError, KeeperError};
use aip_xrpc::ForwardError;
use aip_xrpc::permit::Refusal;
use aip_xrpc::quota::OverQuota;
use aip_xrpc::writes::BodyRefusal;
use http::header::{ALLOW, HeaderName, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{Method, StatusCode};
use strum::IntoEnumIterator as _;

use crate::api_error::{ApiError, printable};

/// RFC 9449 §8: the nonce for the next proof.
pub(crate) const DPOP_NONCE: HeaderName = HeaderName::from_static("dpop-nonce");

/// A proof with more than one header value (RFC 9449 §4.3, check 1).
pub(crate) const MULTIPLE_PROOFS: &str = "there is more than one DPoP proof";

fn bad_request(code: &'static str, words: impl Into<String>) -> ApiError {
    ApiError::caller(StatusCode::BAD_REQUEST, code, words)
}

impl From<ClientAuthError> for ApiError {
    /// RFC 6749 §5.2: 401 with a challenge. Unknown clients and wrong secrets look the same. Several
    /// credentials make a malformed request.
    fn from(error: ClientAuthError) -> Self {
        match error {
            ClientAuthError::Storage(error) => error.into(),
            ClientAuthError::TwoMethods => bad_request("invalid_request", error.to_string()),
            // Whoever knows the secret may know how to present it.
            ClientAuthError::Pinned(_) => Self::caller(
                StatusCode::UNAUTHORIZED,
                "invalid_client",
                error.to_string(),
            )
            .with(WWW_AUTHENTICATE, "Basic realm=\"aip\""),
            ClientAuthError::Missing
            | ClientAuthError::MalformedBasic
            | ClientAuthError::TwoClients
            | ClientAuthError::Unknown
            | ClientAuthError::WrongMethod { .. }
            | ClientAuthError::WrongSecret(_)
            | ClientAuthError::Unreadable(_)
            | ClientAuthError::AssertionType
            | ClientAuthError::AssertionAlg(_)
            | ClientAuthError::NoKey { .. }
            | ClientAuthError::KeySet(_)
            | ClientAuthError::Assertion(_)
            | ClientAuthError::AssertionReplayed => {
                let detail = error.to_string();
                let wronged = match error {
                    ClientAuthError::WrongSecret(id) => Some(id.to_string()),
                    _ => None,
                };
                Self::caller(
                    StatusCode::UNAUTHORIZED,
                    "invalid_client",
                    "client authentication failed",
                )
                .with_detail(Blame::Caller, detail)
                .for_client(wronged)
                .with(WWW_AUTHENTICATE, "Basic realm=\"aip\"")
            }
        }
    }
}

impl From<TokenError> for ApiError {
    fn from(error: TokenError) -> Self {
        let words = error.to_string();
        match error {
            TokenError::Client(error) => error.into(),
            TokenError::Request(_) => bad_request("invalid_request", words),
            TokenError::GrantType(_) => bad_request("unsupported_grant_type", words),
            TokenError::NotAllowed(_) => bad_request("unauthorized_client", words),
            TokenError::Grant(refusal) => {
                bad_request("invalid_grant", words).with_detail(Blame::Caller, refusal.reason())
            }
            TokenError::Scope(_) => bad_request("invalid_scope", words),
            TokenError::Target(_) => bad_request("invalid_target", words),
            TokenError::Device(wait) => bad_request(wait.as_str(), words),
            TokenError::Proof(error) => error.into(),
            TokenError::Storage(error) => error.into(),
            TokenError::Signing(error) => error.into(),
        }
    }
}

impl From<SigningError> for ApiError {
    fn from(error: SigningError) -> Self {
        Self::internal(error.to_string())
    }
}

impl From<ProofError> for ApiError {
    /// At an endpoint of the authorization server (RFC 9449 §5, §8).
    fn from(error: ProofError) -> Self {
        let words = error.to_string();
        match error {
            ProofError::Nonce => bad_request("use_dpop_nonce", words),
            ProofError::Missing => bad_request("invalid_request", words),
            ProofError::Invalid(_) | ProofError::Alg(_) | ProofError::Replayed => {
                bad_request("invalid_dpop_proof", words)
            }
            ProofError::Storage(error) => error.into(),
        }
    }
}

impl From<ClientRequestError> for ApiError {
    /// RFC 9126 §2.3, RFC 8628 §3.2.
    fn from(error: ClientRequestError) -> Self {
        match error {
            ClientRequestError::Client(error) => error.into(),
            ClientRequestError::Proof(error) => error.into(),
            ClientRequestError::Redirect(error) => error.into(),
            ClientRequestError::Refused(code, words) => bad_request(code.as_str(), words),
            ClientRequestError::Storage(error) => error.into(),
        }
    }
}

impl From<ClientRegistrationError> for ApiError {
    /// RFC 7591 §3.2.2, RFC 7592 §2; what is wrong with a token, as RFC 6750 §3.1 has it.
    fn from(error: ClientRegistrationError) -> Self {
        let words = error.to_string();
        let unauthorized = |challenge: &str| {
            Self::caller(StatusCode::UNAUTHORIZED, "invalid_token", words.as_str())
                .with(WWW_AUTHENTICATE, challenge)
        };
        match error {
            ClientRegistrationError::Off => {
                Self::caller(StatusCode::NOT_FOUND, "not_found", words.as_str())
            }
            ClientRegistrationError::NoToken => unauthorized("Bearer realm=\"aip\""),
            ClientRegistrationError::InvalidToken => {
                unauthorized("Bearer realm=\"aip\", error=\"invalid_token\"")
            }
            ClientRegistrationError::Full => Self::caller(
                StatusCode::TOO_MANY_REQUESTS,
                "temporarily_unavailable",
                words.as_str(),
            )
            .with_detail(
                Blame::Caller,
                "there are clients.max_registered clients that registered themselves",
            )
            .with(RETRY_AFTER, "3600"),
            ClientRegistrationError::ChangedMeanwhile => Self::caller(
                StatusCode::SERVICE_UNAVAILABLE,
                "temporarily_unavailable",
                words.as_str(),
            )
            .with(RETRY_AFTER, "1"),
            ClientRegistrationError::ClientCredentials
            | ClientRegistrationError::PairwiseDevice
            | ClientRegistrationError::Scope(_)
            | ClientRegistrationError::Credentials
            | ClientRegistrationError::Pinned(_)
            | ClientRegistrationError::Secret => {
                bad_request("invalid_client_metadata", words.as_str())
            }
            ClientRegistrationError::Settings(error) => match error {
                RegistrationError::Storage(error) => error.into(),
                RegistrationError::RedirectCount(_) | RegistrationError::Redirect(_) => {
                    bad_request("invalid_redirect_uri", words.as_str())
                }
                _ => bad_request("invalid_client_metadata", words.as_str()),
            },
        }
    }
}

impl From<TokenManagementError> for ApiError {
    fn from(error: TokenManagementError) -> Self {
        let words = error.to_string();
        match error {
            TokenManagementError::Client(error) => error.into(),
            TokenManagementError::PublicClient => {
                Self::caller(StatusCode::UNAUTHORIZED, "invalid_client", words)
                    .with(WWW_AUTHENTICATE, "Basic realm=\"aip\"")
            }
            TokenManagementError::Request(_) => bad_request("invalid_request", words),
            TokenManagementError::Storage(error) => error.into(),
        }
    }
}

impl From<LogoutError> for ApiError {
    fn from(error: LogoutError) -> Self {
        let words = error.to_string();
        match error {
            LogoutError::Storage(error) => error.into(),
            LogoutError::Params(_)
            | LogoutError::Hint
            | LogoutError::OtherClient
            | LogoutError::UnknownClient
            | LogoutError::NoClient => Self::request(words),
            LogoutError::UnknownRedirect(uri) => Self::unregistered(words, &uri),
        }
    }
}

/// An app calls more often than its share of what a PDS allows to AIP.
fn too_often(over: OverQuota) -> ApiError {
    let seconds = over.retry_after.as_micros().div_ceil(1_000_000).max(1);
    let words = format!("{over}; the next call is permitted in {seconds} s");
    let status = StatusCode::TOO_MANY_REQUESTS;
    let problem = ApiError::caller(status, "RateLimitExceeded", words)
        .with(RETRY_AFTER, &seconds.to_string());
    let fields = over.allowance.fields().into_iter();
    fields.fold(problem, |problem, (name, value)| problem.with(name, &value))
}

/// Too many calls are in flight.
fn busy(share: Share, blame: Blame, detail: String) -> ApiError {
    let words = format!("too many calls {share} are in flight at the PDS");
    let (status, code) = match share {
        Share::Account | Share::Client => (StatusCode::TOO_MANY_REQUESTS, "RateLimitExceeded"),
        Share::Host => (StatusCode::SERVICE_UNAVAILABLE, "UpstreamFailure"),
    };
    ApiError::caller(status, code, words)
        .with_detail(blame, detail)
        .with(RETRY_AFTER, "5")
}

impl From<AppPasswordError> for ApiError {
    fn from(error: AppPasswordError) -> Self {
        let (blame, detail) = (error.blame(), error.to_string());
        match error {
            AppPasswordError::Form(_) | AppPasswordError::Refused(_) => Self::request(detail),
            AppPasswordError::Unavailable(_) | AppPasswordError::Keeper(KeeperError::Later(_)) => {
                Self::caller(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "UpstreamFailure",
                    "the account's PDS cannot be asked at present",
                )
                .with_detail(blame, detail)
                .with(RETRY_AFTER, "30")
            }
            AppPasswordError::Storage(error)
            | AppPasswordError::Keeper(KeeperError::Storage(error)) => error.into(),
            AppPasswordError::Keeper(_) | AppPasswordError::Sealer(_) => Self::internal(detail),
        }
    }
}

impl From<PageError> for ApiError {
    fn from(error: PageError) -> Self {
        let (code, words) = (error.code(), error.to_string());
        match error {
            PageError::UnknownRedirect(uri) => Self::unregistered(words, &uri),
            PageError::ClientDocument(why) => Self::request(words)
                .with_detail(Blame::Caller, format!("the client's document: {why}"))
                .for_developers(vec![("The document at the client_id", why)]),
            _ => bad_request(code, words),
        }
    }
}

impl ApiError {
    /// A redirect URI that is not registered: the person is told that, the developer of the app
    /// and the log which one, and what is registered.
    fn unregistered(words: String, uri: &UnregisteredUri) -> Self {
        let mut facts = vec![
            ("Client", uri.client.to_string()),
            ("Address that came", uri.sent.clone()),
        ];
        if let Some(nearest) = &uri.nearest {
            facts.push(("Nearest registered address", nearest.registered.clone()));
            facts.push(("Difference", nearest.difference.clone()));
        }
        Self::request(words)
            .with_detail(Blame::Caller, uri.to_text())
            .for_developers(facts)
    }
}

/// What a resource asks of its callers (RFC 6750 §3, RFC 9449 §7.1, RFC 9728 §5.1).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Challenge<'a> {
    /// The URL of the protected resource metadata.
    pub(crate) resource_metadata: &'a str,
    /// Whether the call came with the DPoP scheme, so that the error is told under it.
    pub(crate) dpop: bool,
}

impl Challenge<'_> {
    /// The answer to a call that was refused.
    pub(crate) fn refuse(self, error: ResourceError) -> ApiError {
        let words = error.to_string();
        match error {
            // RFC 6750 §3.1: without a credential there is no error code in the challenge.
            ResourceError::Missing => ApiError::caller(
                StatusCode::UNAUTHORIZED,
                "invalid_token",
                "an access token is required",
            )
            .with_detail(Blame::Caller, words)
            .with(WWW_AUTHENTICATE, &self.header("Bearer", None))
            .with(WWW_AUTHENTICATE, &self.header("DPoP", None)),
            ResourceError::InvalidToken
            | ResourceError::NoAccount
            | ResourceError::OtherAudience
            | ResourceError::Withdrawn
            | ResourceError::WrongScheme
            | ResourceError::WrongKey => self.error("invalid_token", &words),
            ResourceError::Pairwise => self.scope(&words),
            ResourceError::NoProof
            | ResourceError::Proof(
                ProofError::Invalid(_)
                | ProofError::Missing
                | ProofError::Alg(_)
                | ProofError::Replayed,
            ) => self.error("invalid_dpop_proof", &words),
            ResourceError::Proof(ProofError::Nonce) => self.error("use_dpop_nonce", &words),
            ResourceError::Proof(ProofError::Storage(error)) | ResourceError::Storage(error) => {
                error.into()
            }
        }
    }

    /// 401 with the error in the challenge.
    pub(crate) fn error(self, code: &'static str, words: &str) -> ApiError {
        let scheme = if self.dpop { "DPoP" } else { "Bearer" };
        ApiError::caller(StatusCode::UNAUTHORIZED, code, words)
            .with(WWW_AUTHENTICATE, &self.header(scheme, Some((code, words))))
    }

    /// 403 `insufficient_scope` (RFC 6750 §3.1).
    pub(crate) fn scope(self, words: &str) -> ApiError {
        let scheme = if self.dpop { "DPoP" } else { "Bearer" };
        let code = "insufficient_scope";
        ApiError::caller(StatusCode::FORBIDDEN, code, words)
            .with(WWW_AUTHENTICATE, &self.header(scheme, Some((code, words))))
    }

    /// The answer to a call whose token is good and which did not get through.
    pub(crate) fn not_forwarded(self, error: ForwardError) -> ApiError {
        let (blame, detail) = (error.blame(), error.to_string());
        let (status, code, words) = match error {
            ForwardError::Refused(refusal) => return self.no_call(&refusal),
            ForwardError::Session(error) => return self.no_session(error),
            ForwardError::Sign(_) => return ApiError::internal(detail),
            ForwardError::PermissionSets => (
                StatusCode::BAD_GATEWAY,
                "UpstreamFailure",
                "the permission sets that the access token includes cannot be read at present",
            ),
            ForwardError::Header(_) => (
                StatusCode::BAD_REQUEST,
                "InvalidRequest",
                "a header that may be there once is repeated or unreadable",
            ),
            ForwardError::TooOften(over) => return too_often(over),
            ForwardError::TooSlow => (
                StatusCode::REQUEST_TIMEOUT,
                "RequestTimeout",
                "the body came too slowly",
            ),
            ForwardError::Pds(HttpError::Busy(share)) => return busy(share, blame, detail),
            ForwardError::TooLarge => (
                StatusCode::PAYLOAD_TOO_LARGE,
                "PayloadTooLarge",
                "the body is too large",
            ),
            ForwardError::Broken(_) => (
                StatusCode::BAD_REQUEST,
                "InvalidRequest",
                "the body broke off",
            ),
            ForwardError::Rejected => (
                StatusCode::BAD_GATEWAY,
                "UpstreamFailure",
                "the PDS rejects the session of this account",
            ),
            ForwardError::Pds(HttpError::Deadline(_)) => (
                StatusCode::GATEWAY_TIMEOUT,
                "UpstreamTimeout",
                "the PDS did not answer in time",
            ),
            ForwardError::Pds(_) => (
                StatusCode::BAD_GATEWAY,
                "UpstreamFailure",
                "the PDS did not answer",
            ),
        };
        ApiError::caller(status, code, words).with_detail(blame, detail)
    }

    /// The answer to a call that is not sent on.
    fn no_call(self, refusal: &Refusal) -> ApiError {
        let words = refusal.to_string();
        let status = match refusal {
            Refusal::Scope(_) | Refusal::Method(_) => return self.scope(&words),
            Refusal::Verb { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Refusal::Body(BodyRefusal::MediaType | BodyRefusal::Coding) => {
                StatusCode::UNSUPPORTED_MEDIA_TYPE
            }
            Refusal::Spelling { .. }
            | Refusal::Proxy(_)
            | Refusal::ServiceToken(_)
            | Refusal::Body(BodyRefusal::Json(_) | BodyRefusal::Call(_)) => StatusCode::BAD_REQUEST,
        };
        let problem = ApiError::caller(status, "InvalidRequest", words);
        match refusal {
            // RFC 9110 §15.5.6.
            Refusal::Verb { expected, .. } if *expected == Method::GET => {
                problem.with(ALLOW, "GET, HEAD")
            }
            Refusal::Verb { expected, .. } => problem.with(ALLOW, expected.as_str()),
            _ => problem,
        }
    }

    /// The answer to a call whose token is good and whose session at the PDS cannot be used.
    pub(crate) fn no_session(self, error: KeeperError) -> ApiError {
        let (blame, detail) = (error.blame(), error.to_string());
        match error {
            // The grant is useless without its session: the app must send the person here again.
            KeeperError::Unknown | KeeperError::NeedsReauth(_) | KeeperError::Ended(_) => self
                .error("invalid_token", &detail)
                .with_detail(blame, detail),
            KeeperError::Later(wait) => ApiError::caller(
                StatusCode::SERVICE_UNAVAILABLE,
                "UpstreamFailure",
                "the session with the PDS cannot be refreshed at present; it is kept",
            )
            .with_detail(blame, detail)
            .with(RETRY_AFTER, &wait.as_secs().max(1).to_string()),
            KeeperError::MissingKey(_) | KeeperError::Sealer(_) => ApiError::internal(detail),
            KeeperError::Storage(error) => error.into(),
        }
    }

    /// The answer to an app that gave a password which is not kept. Its access token is good: an app
    /// that refreshes and repeats would only guess again, so the code is none of RFC 6750.
    pub(crate) fn no_app_password(self, error: AppPasswordError) -> ApiError {
        match error {
            AppPasswordError::Refused(_) => self.error("authentication_failed", &error.to_string()),
            error => error.into(),
        }
    }

    fn header(self, scheme: &str, error: Option<(&str, &str)>) -> String {
        let error = error.map_or_else(String::new, |(code, words)| {
            let words = printable(words);
            format!(", error=\"{code}\", error_description=\"{words}\"")
        });
        let algs = if scheme == "DPoP" {
            format!(
                ", algs=\"{}\"",
                Alg::iter().map(Alg::as_str).collect::<Vec<_>>().join(" ")
            )
        } else {
            String::new()
        };
        let metadata = self.resource_metadata;
        format!("{scheme} realm=\"aip\"{error}{algs}, resource_metadata=\"{metadata}\"")
    }
}
