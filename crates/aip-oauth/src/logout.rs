//! Logging out at an app's wish (OpenID Connect RP-Initiated Logout 1.0).
//!
//! A hint that verifies says who is to be signed out and for which app; without one the person is
//! asked. The browser is sent on only to an address that the app registered for this.

use std::sync::Arc;

use aip_atproto::Did;
use aip_storage::StorageError;
use aip_storage::client::{Client, ClientId};
use aip_storage::subject::Subject;
use secrecy::SecretString;

use crate::AuthorizationServer;
use crate::decision::RedirectAnswer;
use crate::params::{Params, ParamsError};
use crate::unregistered::UnregisteredUri;

/// A logout that was checked.
#[derive(Debug)]
pub struct Logout {
    /// Whom a valid hint names: they may be signed out without asking.
    pub hinted: Option<HintedSubject>,
    /// Where to send the browser afterwards.
    pub location: Option<SecretString>,
}

/// A subject, as the client knows it that was told of it.
#[derive(Debug)]
pub struct HintedSubject {
    subject: Subject,
    client: Arc<Client>,
}

/// Why a logout is refused. The person gets a page with these words, nobody is redirected.
#[derive(Debug, thiserror::Error)]
pub enum LogoutError {
    /// The parameters are unusable.
    #[error("The request is unusable: {0}.")]
    Params(#[from] ParamsError),
    /// The hint is not an `id_token` of ours.
    #[error("The app sent a proof of sign-in that is not from here.")]
    Hint,
    /// The hint was issued to another client.
    #[error("The app sent a proof of sign-in that belongs to another app.")]
    OtherClient,
    /// No such client.
    #[error("The app that sent you here is not registered.")]
    UnknownClient,
    /// A redirect without a client.
    #[error("The app that sent you here wants you sent on, and does not say which app it is.")]
    NoClient,
    /// Not one of the client's redirect URIs.
    #[error("The app wants you sent to an address that is not registered for it.")]
    UnknownRedirect(Box<UnregisteredUri>),
    /// Our fault.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl AuthorizationServer {
    /// Checks a logout request given as query string or form body.
    pub async fn check_logout(&self, encoded: &[u8]) -> Result<Logout, LogoutError> {
        let params = Params::parse(encoded)?;
        let hint = params
            .get("id_token_hint")
            .map(|token| self.read_hint(token).ok_or(LogoutError::Hint))
            .transpose()?;
        let named = params
            .get("client_id")
            .map(str::parse::<ClientId>)
            .transpose();
        let named = named.map_err(|_| LogoutError::UnknownClient)?;
        let (subject, issued_to) = hint.map(|it| (it.subject, it.client)).unzip();
        let is_hinted = issued_to.is_some();
        let id = match (issued_to, named) {
            (Some(issued_to), Some(named)) if issued_to != named => {
                return Err(LogoutError::OtherClient);
            }
            (issued_to, named) => issued_to.or(named),
        };
        let client = match id {
            Some(id) => {
                // The hint is this server's own: who has it may have the document read.
                let client = if is_hinted {
                    let kept = self.storage.client(&id).await?;
                    self.client_of_request(&id, kept).await?
                } else {
                    self.read_client(&id).await?
                };
                Some(client.ok_or(LogoutError::UnknownClient)?)
            }
            None => None,
        };
        let location = params
            .get("post_logout_redirect_uri")
            .map(|uri| location(client.as_deref(), uri, params.get("state")))
            .transpose()?;
        let hinted = subject
            .zip(client)
            .map(|(subject, client)| HintedSubject { subject, client });
        Ok(Logout { hinted, location })
    }

    /// Whether that account is the one of the hint.
    pub fn is_hinted(&self, hinted: &HintedSubject, did: &Did) -> bool {
        self.identifies(&hinted.client, &hinted.subject, did)
    }
}

/// The address to go on to: one that the client registered, byte for byte.
fn location(
    client: Option<&Client>,
    uri: &str,
    state: Option<&str>,
) -> Result<SecretString, LogoutError> {
    let client = client.ok_or(LogoutError::NoClient)?;
    let known = &client.settings.post_logout_redirect_uris;
    let registered = known.iter().find(|it| it.as_str() == uri);
    let registered = registered.ok_or_else(|| {
        let unregistered = UnregisteredUri::new(client.id.clone(), known, uri);
        LogoutError::UnknownRedirect(Box::new(unregistered))
    })?;
    let state = state.map(|state| ("state", state.to_owned().into()));
    Ok(RedirectAnswer::in_query(registered.clone(), state.into_iter().collect()).location())
}
