//! Where clients may be notified of logouts.

use aip_storage::client::{ClientSettings, RedirectUri};
use aip_storage::logout::LogoutUri;
use url::Url;

use crate::AuthorizationServer;
use crate::registration::RegistrationError;

impl AuthorizationServer {
    /// Checks both addresses: loopback is for an AIP on loopback, and what a browser opens has the scheme,
    /// host and port of a redirect URI (OpenID Connect Front-Channel Logout §2).
    pub(crate) fn check_logout_addresses(
        &self,
        settings: &ClientSettings,
    ) -> Result<(), RegistrationError> {
        let back = settings.backchannel_logout.as_ref().map(|it| &it.uri);
        let front = settings.frontchannel_logout.as_ref().map(|it| &it.uri);
        let loopback = [back, front]
            .into_iter()
            .flatten()
            .find(|uri| uri.is_loopback() && !self.issuer.is_loopback());
        if let Some(uri) = loopback {
            return Err(RegistrationError::LoopbackLogout(uri.clone()));
        }
        match front {
            Some(uri) if !settings.redirect_uris.iter().any(|it| is_at(it, uri)) => {
                Err(RegistrationError::FrontChannelLogout(uri.clone()))
            }
            _ => Ok(()),
        }
    }
}

/// Whether a redirect URI has the scheme, host and port of that address.
fn is_at(redirect: &RedirectUri, uri: &LogoutUri) -> bool {
    let redirect = Url::parse(redirect.as_str());
    redirect.is_ok_and(|it| it.origin().ascii_serialization() == uri.origin())
}
