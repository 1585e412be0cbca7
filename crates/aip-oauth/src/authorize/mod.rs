//! The checks of an authorization request, in order (OAuth 2.1 §4.1.1, OpenID Connect Core §3.1.2), and how one
//! that passed them is begun or refused.
//!
//! Two phases with two error types, so that nobody can redirect too early: until client and
//! redirect URI are known good an error is a [`PageError`] for the person, afterwards a
//! [`Refusal`] for the app, which carries the redirect URI, `state` and (RFC 9207) `iss`.

mod checks;
mod claims_parameter;
mod device;
mod error;
mod pushed;

use std::sync::Arc;
use std::time::Duration;

use aip_base::{RequestNotes, RowId};
use aip_keys::TokenHash;
use aip_storage::StorageError;
use aip_storage::client::{Client, ClientId, RedirectTarget};
use aip_storage::request::{
    AuthorizationParams, AuthorizationRequest, Delivery, RedirectDelivery, ResponseMode,
};
use aip_storage::subject::Subject;

use self::checks::RequestedScope;
use self::claims_parameter::ClaimsParameter;
pub use self::device::{CheckedDevice, DeviceOrigin, DeviceResponse};
pub use self::error::{AuthorizeError, ClientRequestError, PageError, Refusal, RefusalCode};
pub use self::pushed::{CheckedPush, PushedResponse};
use crate::AuthorizationServer;
use crate::params::{LenientParams, Params};
use crate::redirect;
use crate::unregistered::UnregisteredUri;

/// How long a person may take between the app's redirect and their decision.
const REQUEST_TTL: Duration = Duration::from_mins(30);

/// An authorization request that passed every check.
#[derive(Debug, Clone)]
pub struct ValidRequest {
    /// The app.
    pub client: Arc<Client>,
    /// What it asks for.
    pub params: AuthorizationParams,
    source: RequestSource,
}

/// How a request came here. By that differs how one browser begins it, and how it is refused before any
/// has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RequestSource {
    /// A browser brought its parameters.
    Parameters,
    /// The client pushed it (RFC 9126), and a browser brought its `request_uri`, of this keyed hash.
    Pushed {
        request_uri: TokenHash,
        /// Whether a browser has begun it: then the `request_uri` is spent.
        begun: bool,
    },
    /// A person entered the user code of the device with the device code of this keyed hash (RFC 8628).
    Device(TokenHash),
}

/// A client whose redirect URI is verified: from here on errors may be redirected.
struct WithRedirect {
    client: Arc<Client>,
    redirect: RedirectDelivery,
}

impl AuthorizationServer {
    /// Checks an authorization request given as query string or form body.
    pub async fn check_authorization(
        &self,
        encoded: &[u8],
    ) -> Result<ValidRequest, AuthorizeError> {
        let valid = self.check_authorization_again(encoded).await?;
        match valid.source {
            RequestSource::Pushed { begun: true, .. } => Err(PageError::UnknownRequestUri.into()),
            _ => Ok(valid),
        }
    }

    /// Likewise of a request that a page of ours carries: a browser may have begun it meanwhile.
    pub async fn check_authorization_again(
        &self,
        encoded: &[u8],
    ) -> Result<ValidRequest, AuthorizeError> {
        let params = LenientParams::parse(encoded);
        let id = params.get("client_id").ok_or(PageError::NoClient)?;
        let id: ClientId = id.parse().map_err(|_| PageError::UnknownClient)?;
        if let Some(name) = params.get("request_uri").and_then(pushed::name_in) {
            return self.pushed_request(&id, name).await;
        }
        // What is remembered of a client lets it in, and never turns it away.
        if let Some(known) = self.known_clients.get(&id)
            && let Ok(valid) = self
                .check_request(known, &params, encoded)
                .and_then(|it| self.require_pushed(it))
        {
            return Ok(valid);
        }
        let client = self.read_client(&id).await?;
        let client = client.ok_or_else(|| self.unknown_client(&id))?;
        let valid = self.check_request(client, &params, encoded)?;
        self.require_pushed(valid)
    }

    /// Stores a checked request for that browser, under the hash of the token that names it in forms.
    /// `None`: it is stored already, or another browser has begun what may be begun once.
    pub async fn begin_request(
        &self,
        valid: &ValidRequest,
        browser: RowId,
        token: TokenHash,
    ) -> Result<Option<AuthorizationRequest>, StorageError> {
        let now = self.clock.now();
        let mut request = AuthorizationRequest {
            token,
            browser: Some(browser),
            pushed: None,
            client_id: valid.client.id.clone(),
            params: valid.params.clone(),
            signed_in: None,
            expires_at: now + REQUEST_TTL,
        };
        let is_first = match valid.source {
            RequestSource::Parameters | RequestSource::Device(_) => {
                self.storage.put_request(&request).await?
            }
            RequestSource::Pushed { request_uri, .. } => {
                request.pushed = Some(request_uri);
                self.storage.begin_pushed_request(&request, now).await?
            }
        };
        Ok(is_first.then_some(request))
    }

    /// Refuses a request that no browser has begun, and spends what it came by. What the app is told.
    pub async fn refuse_unbegun(
        &self,
        valid: &ValidRequest,
        code: RefusalCode,
        detail: &str,
    ) -> Result<Refusal, StorageError> {
        match &valid.source {
            RequestSource::Parameters => {}
            RequestSource::Pushed { request_uri, .. } => {
                self.storage.drop_pushed_request(request_uri).await?;
            }
            RequestSource::Device(device) => {
                self.storage.refuse_device(device, self.clock.now()).await?;
            }
        }
        Ok(Refusal {
            client_id: valid.client.id.clone(),
            delivery: valid.params.delivery.clone(),
            code,
            detail: detail.to_owned(),
        })
    }

    /// Both phases, for a client that is known.
    fn check_request(
        &self,
        client: Arc<Client>,
        params: &LenientParams,
        encoded: &[u8],
    ) -> Result<ValidRequest, AuthorizeError> {
        RequestNotes::note_client(client.id.as_str());
        let verified = verify_redirect(client, params)?;
        self.check_rest(&verified, encoded)
            .map_err(|(code, detail)| {
                AuthorizeError::Refused(Refusal {
                    client_id: verified.client.id.clone(),
                    delivery: Delivery::Redirect(verified.redirect),
                    code,
                    detail,
                })
            })
    }

    /// The second phase: every check in the order in which its error should win.
    fn check_rest(
        &self,
        verified: &WithRedirect,
        encoded: &[u8],
    ) -> Result<ValidRequest, (RefusalCode, String)> {
        let params =
            Params::parse(encoded).map_err(|e| (RefusalCode::InvalidRequest, e.to_string()))?;
        let WithRedirect { client, redirect } = verified;
        checks::grant_type(client)?;
        checks::unsupported(&params)?;
        checks::response_type(&params)?;
        checks::response_mode(&params, &redirect.redirect_uri)?;
        checks::bounded(&params, "state", checks::MAX_STATE)?;
        let nonce = checks::bounded(&params, "nonce", checks::MAX_STATE)?;
        let code_challenge = checks::code_challenge(&params, client)?;
        let dpop_jkt = checks::dpop_jkt(&params)?;
        let RequestedScope { asked, scope } = checks::scope(&params, client)?;
        let resources = self.requested_resources(&params, client);
        let resources =
            resources.map_err(|error| (RefusalCode::InvalidTarget, error.to_string()))?;
        let prompts = checks::prompts(&params)?;
        let max_age = checks::max_age(&params)?;
        let login_hint = checks::bounded(&params, "login_hint", checks::MAX_LOGIN_HINT)?;
        let mut asked_for = ClaimsParameter::read(&params, client.settings.pairwise.is_some())?;
        asked_for
            .subjects
            .extend(self.hinted_subject(&params, client)?.map(|it| vec![it]));
        Ok(ValidRequest {
            client: Arc::clone(client),
            params: AuthorizationParams {
                delivery: Delivery::Redirect(redirect.clone()),
                scope,
                asked,
                nonce,
                code_challenge,
                dpop_jkt,
                login_hint,
                prompts,
                max_age: max_age.or(asked_for.max_age),
                subjects: checks::subjects(asked_for.subjects)?,
                claims: asked_for.claims,
                resources,
            },
            source: RequestSource::Parameters,
        })
    }

    /// Whom `id_token_hint` names: an `id_token` that was issued to this client
    /// (OpenID Connect Core §3.1.2.1).
    fn hinted_subject(
        &self,
        params: &Params,
        client: &Client,
    ) -> Result<Option<Subject>, (RefusalCode, String)> {
        let Some(token) = params.get("id_token_hint") else {
            return Ok(None);
        };
        let hint = self.read_hint(token).filter(|it| it.client == client.id);
        hint.map(|it| Some(it.subject)).ok_or_else(|| {
            let what = "`id_token_hint` is not an ID token that this server gave to this client";
            (RefusalCode::InvalidRequest, what.to_owned())
        })
    }
}

/// The first phase: one of the client's redirect URIs.
fn verify_redirect(client: Arc<Client>, params: &LenientParams) -> Result<WithRedirect, PageError> {
    let sent = params.get("redirect_uri").ok_or(PageError::NoRedirect)?;
    let registered = &client.settings.redirect_uris;
    let Some(redirect_uri) = redirect::find(registered, client.settings.application_type, sent)
    else {
        let unregistered = UnregisteredUri::new(client.id.clone(), registered, sent);
        return Err(PageError::UnknownRedirect(Box::new(unregistered)));
    };
    // However long it is: an app takes an answer without its `state` for a forged one.
    let state = params.get("state").map(str::to_owned);
    let response_mode = params.get("response_mode").and_then(|it| it.parse().ok());
    // What cannot be done is refused in the way that always can (`checks::response_mode`).
    let response_mode = response_mode
        .filter(|_| redirect_uri.target() != RedirectTarget::Program)
        .unwrap_or(ResponseMode::Query);
    Ok(WithRedirect {
        client,
        redirect: RedirectDelivery {
            redirect_uri,
            response_mode,
            state,
        },
    })
}
