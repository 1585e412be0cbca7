//! Pushed authorization requests (RFC 9126): the app sends its request itself, authenticated, and
//! takes the person to the authorization endpoint with nothing but a `request_uri` for it.
//!
//! Every check of an authorization request runs when it is pushed. The `request_uri` is spent when
//! a browser begins the request (`begin_request`), not when it is looked at: the sign-in page
//! may be loaded again (RFC 9126 §4).

use std::time::Duration;

use aip_base::random_token;
use aip_keys::TokenHash;
use aip_storage::StorageError;
use aip_storage::client::{Client, ClientId};
use aip_storage::request::{AuthorizationRequest, RedirectDelivery};

use super::error::{AuthorizeError, ClientRequestError, PageError, Refusal, RefusalCode};
use super::{RequestSource, ValidRequest};
use crate::AuthorizationServer;
use crate::client_auth::ClientRequest;
use crate::params::{LenientParams, Params};
use crate::redirect;

/// What every `request_uri` of ours begins with (RFC 9126 §2.2).
const URN: &str = "urn:ietf:params:oauth:request_uri:";
/// How long a `request_uri` may be used: less than 600 s (FAPI 2.0 Security Profile §5.3.2.2), and
/// long enough for a person to find their handle.
const PUSHED_TTL: Duration = Duration::from_mins(9);

/// A pushed request that passed every check. Made only by [`AuthorizationServer::check_push`].
#[derive(Debug)]
pub struct CheckedPush(ValidRequest);

/// What the app gets for a pushed request (RFC 9126 §2.2).
#[derive(Debug)]
pub struct PushedResponse {
    /// For the authorization endpoint, once.
    pub request_uri: String,
    /// Seconds until it expires.
    pub expires_in: u64,
}

impl CheckedPush {
    /// The app.
    pub fn client(&self) -> &Client {
        &self.0.client
    }
}

/// The name of a pushed request in a `request_uri` of ours; `None` for any other one.
pub(super) fn name_in(request_uri: &str) -> Option<&str> {
    request_uri.strip_prefix(URN)
}

impl AuthorizationServer {
    /// Checks a pushed request: client first, then the proof, then what it asks for. A proof binds
    /// the code to its key (RFC 9449 §10.1).
    pub async fn check_push(
        &self,
        request: ClientRequest<'_>,
    ) -> Result<CheckedPush, ClientRequestError> {
        let params = Params::parse(request.body)?;
        let (client, key) = self
            .authenticate::<ClientRequestError>(request, &params)
            .await?;
        let invalid = |detail: &str| {
            ClientRequestError::Refused(RefusalCode::InvalidRequest, detail.to_owned())
        };
        if params.get("request_uri").is_some() {
            return Err(invalid("a pushed request has no `request_uri`"));
        }
        let lenient = LenientParams::parse(request.body);
        let mut valid = self.check_request(client.shared(), &lenient, request.body)?;
        if let Some(key) = key {
            let jkt = key.thumbprint().to_owned();
            if *valid.params.dpop_jkt.get_or_insert_with(|| jkt.clone()) != jkt {
                return Err(invalid("`dpop_jkt` is not the key of the DPoP proof"));
            }
        }
        Ok(CheckedPush(valid))
    }

    /// Stores a pushed request, for nobody's browser yet.
    pub async fn push(&self, checked: CheckedPush) -> Result<PushedResponse, StorageError> {
        let name = random_token::<24>(&*self.rng);
        let hash = self.request_uri_hash(&name);
        let ValidRequest { client, params, .. } = checked.0;
        let request = AuthorizationRequest {
            token: hash,
            browser: None,
            pushed: Some(hash),
            client_id: client.id.clone(),
            params,
            signed_in: None,
            expires_at: self.clock.now() + PUSHED_TTL,
        };
        if !self.storage.put_request(&request).await? {
            return Err(StorageError::Inconsistent {
                table: "authorization_requests",
                row: client.id.to_string(),
                what: "a random `request_uri` is there already".to_owned(),
            });
        }
        Ok(PushedResponse {
            request_uri: format!("{URN}{name}"),
            expires_in: PUSHED_TTL.as_secs(),
        })
    }

    /// The request that the client `id` pushed under that name. Nothing else in the request of the
    /// browser counts (RFC 9126 §4).
    pub(super) async fn pushed_request(
        &self,
        id: &ClientId,
        name: &str,
    ) -> Result<ValidRequest, AuthorizeError> {
        let hash = self.request_uri_hash(name);
        let client = self.known_client(id).await?;
        let client = client.ok_or_else(|| self.unknown_client(id))?;
        let found = self
            .storage
            .pushed_request(&hash, id, self.clock.now())
            .await?;
        // The client may have been changed since.
        let is_registered = |delivery: &RedirectDelivery| {
            let settings = &client.settings;
            let (registered, kind) = (&settings.redirect_uris, settings.application_type);
            redirect::find(registered, kind, delivery.redirect_uri.as_str()).is_some()
        };
        let found = found.filter(|it| it.params.delivery.redirect().is_some_and(is_registered));
        let found = found.ok_or(PageError::UnknownRequestUri)?;
        Ok(ValidRequest {
            client,
            params: found.params,
            source: RequestSource::Pushed {
                request_uri: hash,
                begun: found.begun,
            },
        })
    }

    /// Refuses a request that was not pushed although it must be.
    pub(super) fn require_pushed(
        &self,
        valid: ValidRequest,
    ) -> Result<ValidRequest, AuthorizeError> {
        if !self.require_par && !valid.client.settings.require_par {
            return Ok(valid);
        }
        Err(AuthorizeError::Refused(Refusal {
            client_id: valid.client.id.clone(),
            delivery: valid.params.delivery,
            code: RefusalCode::InvalidRequest,
            detail: "the request must be pushed (RFC 9126)".to_owned(),
        }))
    }

    fn request_uri_hash(&self, name: &str) -> TokenHash {
        self.hasher.hash(&format!("request_uri {name}"))
    }
}
