//! Sessions of app passwords: `createSession`, `refreshSession` and `deleteSession`
//! (<https://atproto.com/specs/xrpc#app-passwords>), always at the PDS that the account's DID
//! document names now. Tokens are opaque, but for the end of their life and the kind of password.

use std::fmt;
use std::time::Duration;

use aip_atproto::{Did, Origin, ScopeSet};
use aip_base::{HttpError, Partial, Timestamp, excerpt, retry_after};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Request, StatusCode};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::client::PdsClient;
use crate::members::members;
use crate::oauth::TokenSet;
use crate::origins::Paused;
use crate::proof::ProvenPds;
use crate::request::{self, RequestError};

/// What is believed of an access token that does not say when it ends.
const LIFETIME: Duration = Duration::from_mins(10);
/// No access token is believed to live longer than this.
const MAX_LIFETIME: Duration = Duration::from_hours(24);
/// The longest message of a PDS that is passed on.
const MAX_MESSAGE: usize = 200;

/// An app password: four groups of four letters or digits. The password of an account does not
/// look like one, so it gets no further than here.
#[derive(Clone)]
pub struct AppPassword(SecretString);

/// Not an app password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "an app password looks like `xxxx-xxxx-xxxx-xxxx`; the account's own password is not accepted"
)]
pub struct NotAnAppPassword;

/// Why there are no tokens.
#[derive(Debug, thiserror::Error)]
pub enum PasswordSessionError {
    /// The PDS refuses the password or the token.
    #[error("the PDS refused with `{error}`: {message}")]
    Refused {
        /// Its error name.
        error: String,
        /// Its words, cut to a bounded length.
        message: String,
    },
    /// It is the account's own password. Its tokens were given back.
    #[error("that is the account's own password; an app password is needed")]
    MainPassword,
    /// The tokens are for another account.
    #[error("the PDS gave tokens for another account")]
    OtherAccount,
    /// Nothing was sent.
    #[error("the PDS was not reached: {0}")]
    NotSent(#[source] HttpError),
    /// Nothing was sent: the PDS is down or asked for a pause.
    #[error(transparent)]
    Paused(Paused),
    /// The request may have been processed.
    #[error("there is no complete answer of the PDS: {0}")]
    MayHaveArrived(#[source] HttpError),
    /// Overload, restart, or an answer that is none.
    #[error("the PDS answered with status {status}")]
    Status {
        /// The status.
        status: StatusCode,
        /// When to come back, if it said so.
        retry_after: Option<Duration>,
    },
    /// There was an answer, but no session in it.
    #[error("the PDS gave no session: its answer lacks `{0}`")]
    Lacks(&'static str),
    /// There was an answer without an access token that can be used, but with the next refresh
    /// token: the one that was sent is used up.
    #[error("the PDS gave no session: its answer lacks `accessJwt`")]
    RefreshOnly(SecretString),
    /// The request could not be made.
    #[error("the request cannot be made: {0}")]
    Request(#[from] http::Error),
}

impl From<RequestError> for PasswordSessionError {
    fn from(error: RequestError) -> Self {
        match error {
            RequestError::Paused(paused) => Self::Paused(paused),
            RequestError::NotSent(error) => Self::NotSent(error),
            RequestError::MayHaveArrived(error) => Self::MayHaveArrived(error),
        }
    }
}

/// A session as it was received, before it is judged.
struct Session(Map<String, Value>);

impl Session {
    fn read(answer: &Partial) -> Self {
        Self(members(&answer.fetched.body).unwrap_or_default())
    }

    fn text(&self, name: &str) -> Option<&str> {
        let text = self.0.get(name)?.as_str()?.trim();
        (!text.is_empty()).then_some(text)
    }

    fn refresh(&self) -> Option<SecretString> {
        self.text("refreshJwt").map(SecretString::from)
    }
}

#[derive(Deserialize)]
struct Claims {
    iat: Option<i64>,
    exp: Option<i64>,
    scope: Option<String>,
}

impl AppPassword {
    /// Checks the form.
    pub fn parse(text: &str) -> Result<Self, NotAnAppPassword> {
        let group =
            |group: &str| group.len() == 4 && group.bytes().all(|b| b.is_ascii_alphanumeric());
        let text = text.trim();
        if text.split('-').count() == 4 && text.split('-').all(group) {
            Ok(Self(text.into()))
        } else {
            Err(NotAnAppPassword)
        }
    }

    /// The password, to be sent or sealed.
    pub fn secret(&self) -> &SecretString {
        &self.0
    }
}

impl fmt::Debug for AppPassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AppPassword")
    }
}

impl PasswordSessionError {
    /// Whether the PDS has understood and said no: repeating helps nobody.
    pub fn is_final(&self) -> bool {
        matches!(
            self,
            Self::Refused { .. } | Self::MainPassword | Self::OtherAccount
        )
    }

    /// The same without words that repeat a part of `password`: what a PDS says is logged, written down
    /// and shown, and some repeat what they were sent.
    fn without(self, password: &AppPassword) -> Self {
        let secret = password.secret().expose_secret().to_ascii_lowercase();
        let unless_repeated = |words: String| {
            let lower = words.to_ascii_lowercase();
            if secret.split('-').any(|group| lower.contains(group)) {
                "(left out: it repeats the password)".to_owned()
            } else {
                words
            }
        };
        match self {
            Self::Refused { error, message } => Self::Refused {
                error: unless_repeated(error),
                message: unless_repeated(message),
            },
            other => other,
        }
    }
}

impl PdsClient {
    /// Begins a session with an app password at the account's own PDS.
    pub async fn create_password_session(
        &self,
        proven: &ProvenPds,
        password: &AppPassword,
    ) -> Result<TokenSet, PasswordSessionError> {
        let body = serde_json::json!({
            "identifier": proven.did().as_str(),
            "password": password.secret().expose_secret(),
        });
        let method = "com.atproto.server.createSession";
        let answer = self
            .call_pds(proven.pds(), method, None, body.to_string().into())
            .await
            .map_err(|error| error.without(password))?;
        let tokens = read_session(proven, &answer);
        if let Err(PasswordSessionError::MainPassword | PasswordSessionError::OtherAccount) =
            &tokens
            && let Some(refresh) = Session::read(&answer.partial).refresh()
            && let Err(error) = self.delete_password_session(proven.pds(), &refresh).await
        {
            tracing::warn!(pds = %proven.pds(), %error, "revocation of rejected tokens failed");
        }
        tokens
    }

    /// Exchanges a refresh token for new tokens. The old one stays good for a grace time.
    pub async fn refresh_password_session(
        &self,
        proven: &ProvenPds,
        refresh: &SecretString,
    ) -> Result<TokenSet, PasswordSessionError> {
        let method = "com.atproto.server.refreshSession";
        let answer = self
            .call_pds(proven.pds(), method, Some(refresh), Bytes::new())
            .await?;
        read_session(proven, &answer)
    }

    /// Ends a session. A token that has expired already is done, too.
    pub async fn delete_password_session(
        &self,
        pds: &Origin,
        refresh: &SecretString,
    ) -> Result<(), PasswordSessionError> {
        let method = "com.atproto.server.deleteSession";
        match self
            .call_pds(pds, method, Some(refresh), Bytes::new())
            .await
        {
            Ok(_) | Err(PasswordSessionError::Refused { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn call_pds(
        &self,
        pds: &Origin,
        method: &'static str,
        bearer: Option<&SecretString>,
        body: Bytes,
    ) -> Result<Answer, PasswordSessionError> {
        let mut request = Request::post(pds.join(&format!("/xrpc/{method}")))
            .header(ACCEPT, "application/json")
            .body(body)?;
        let headers = request.headers_mut();
        match bearer {
            None => {
                headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            }
            Some(token) => {
                let value = format!("Bearer {}", token.expose_secret());
                let mut value = HeaderValue::from_str(&value).map_err(http::Error::from)?;
                value.set_sensitive(true);
                headers.insert(AUTHORIZATION, value);
            }
        }
        let sent_at = self.clock.now();
        let partial = judge(
            self.send_request(pds, request, request::IDEMPOTENT_TIMEOUT)
                .await?,
        )?;
        Ok(Answer { sent_at, partial })
    }
}

/// The answer to a request that the PDS did not refuse.
struct Answer {
    /// When the request was sent.
    sent_at: Timestamp,
    /// What came.
    partial: Partial,
}

/// The session in an answer. Without a `did` it is that of the account which was asked for.
fn read_session(proven: &ProvenPds, answer: &Answer) -> Result<TokenSet, PasswordSessionError> {
    let session = Session::read(&answer.partial);
    let did = session.text("did").and_then(|did| Did::parse(did).ok());
    if did.is_some_and(|did| did != *proven.did()) {
        return Err(PasswordSessionError::OtherAccount);
    }
    let refresh = session.refresh();
    let visible = |token: &&str| token.bytes().all(|byte| byte.is_ascii_graphic());
    let Some(access) = session.text("accessJwt").filter(visible) else {
        return Err(match (refresh, &answer.partial.broke) {
            (Some(refresh), _) => PasswordSessionError::RefreshOnly(refresh),
            (None, Some(broke)) => PasswordSessionError::MayHaveArrived(broke.clone()),
            (None, None) => PasswordSessionError::Lacks("accessJwt"),
        });
    };
    let claims = claims(access);
    let scope = scope_of(claims.as_ref().and_then(|it| it.scope.as_deref()))?;
    let asked_at = answer.sent_at;
    Ok(TokenSet {
        access: access.into(),
        refresh,
        asked_at,
        expires_at: claims.map_or(asked_at + LIFETIME, |claims| claims.ends(asked_at)),
        scope,
        sub: proven.did().clone(),
    })
}

impl Claims {
    /// When a token ends that was asked for at `asked_at`: by its life, which counts from then, and
    /// by its own word, whichever comes first. The clocks of PDS and AIP may differ.
    fn ends(&self, asked_at: Timestamp) -> Timestamp {
        let Some(exp) = self.exp.map(Timestamp::from_secs) else {
            return asked_at + LIFETIME;
        };
        let life = self.iat.map(|iat| exp.since(Timestamp::from_secs(iat)));
        exp.min(asked_at + life.unwrap_or(MAX_LIFETIME).min(MAX_LIFETIME))
    }
}

fn judge(answer: Partial) -> Result<Partial, PasswordSessionError> {
    let status = answer.fetched.status;
    let members = members(&answer.fetched.body).unwrap_or_default();
    let text = |name: &str| members.get(name).and_then(Value::as_str);
    // A refresh token is given once, whatever the status above it is.
    let gives = text("refreshJwt").is_some();
    if status.is_success() || (gives && text("error").is_none()) {
        return Ok(answer);
    }
    match text("error") {
        Some(error) if status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS => {
            let message = text("message").unwrap_or_default();
            Err(PasswordSessionError::Refused {
                error: excerpt(error),
                message: message.chars().take(MAX_MESSAGE).collect(),
            })
        }
        _ => Err(PasswordSessionError::Status {
            status,
            retry_after: retry_after(&answer.fetched.headers),
        }),
    }
}

/// What the token says of itself, where it is a JWT. Nothing is decided by it but when to refresh,
/// and that an account's own password is not kept.
fn claims(token: &str) -> Option<Claims> {
    let payload = token.split('.').nth(1)?;
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()
}

/// What a session may do, in words of OAuth: everything but chat, and chat if it is privileged.
fn scope_of(claimed: Option<&str>) -> Result<ScopeSet, PasswordSessionError> {
    let scope = match claimed {
        Some("com.atproto.access") => return Err(PasswordSessionError::MainPassword),
        Some("com.atproto.appPassPrivileged") => "atproto transition:generic transition:chat.bsky",
        _ => "atproto transition:generic",
    };
    ScopeSet::parse(scope).map_err(|_| PasswordSessionError::Lacks("scope"))
}

#[cfg(test)]
mod tests;
