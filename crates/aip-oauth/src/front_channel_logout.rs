//! Telling clients that a person has signed out, by the person's browser (OpenID Connect Front-Channel
//! Logout 1.0): it opens an address of each client in a frame.

use aip_storage::logout::FrontChannelLogout;
use url::form_urlencoded::Serializer;

use crate::AuthorizationServer;

/// What the browser opens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogoutFrame {
    /// The address, with `iss` and `sid` where the client needs them (§2).
    pub url: String,
    /// Scheme, host and port of it.
    pub origin: String,
}

impl AuthorizationServer {
    /// The frames for sign-ins that have ended: one for each sign-in at a client that needs to know
    /// which, and one for any other client.
    pub fn logout_frames(&self, ended: &[FrontChannelLogout]) -> Vec<LogoutFrame> {
        let mut frames: Vec<LogoutFrame> = Vec::new();
        for logout in ended {
            let frame = LogoutFrame {
                url: self.logout_url(logout),
                origin: logout.notification.uri.origin().to_owned(),
            };
            if !frames.contains(&frame) {
                frames.push(frame);
            }
        }
        frames
    }

    fn logout_url(&self, logout: &FrontChannelLogout) -> String {
        let uri = logout.notification.uri.as_str();
        if !logout.notification.session_required {
            return uri.to_owned();
        }
        let mut query = Serializer::new(String::new());
        query.append_pair("iss", self.issuer.as_str());
        query.append_pair("sid", &logout.grant.to_string());
        let joint = if uri.contains('?') { '&' } else { '?' };
        format!("{uri}{joint}{}", query.finish())
    }
}
