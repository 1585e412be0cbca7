//! Telling apps that a person has signed out (OpenID Connect Back-Channel Logout 1.0 and Front-Channel
//! Logout 1.0): where an app is notified, and the deliveries that are due.
//!
//! A delivery is stored in the transaction that ends the sign-in, so none is forgotten. It is claimed
//! in one statement, so of several replicas one makes it; whoever is killed with a claim loses it after
//! [`CLAIMED_FOR`].

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use aip_atproto::Did;
use aip_base::{RowId, Timestamp};
use async_trait::async_trait;
use strum::{EnumIter, EnumString, IntoStaticStr};
use url::{Host, Url};

use crate::StorageError;
use crate::audit::AuditEvent;
use crate::client::{ClientId, RedirectTarget, RedirectUri};
use crate::error::uri_excerpt;

/// How long nobody else makes a delivery that was claimed: longer than one takes.
pub const CLAIMED_FOR: Duration = Duration::from_mins(1);

/// How long a delivery is kept that nobody takes.
pub const KEPT_FOR: Duration = Duration::from_hours(24);

/// The most deliveries of one client that wait; of further sign-outs it is not notified, which the log
/// and a metric say.
pub const MAX_WAITING_PER_CLIENT: u32 = 1000;

/// A sign-out at a browser tells of so many sign-ins of one account at one client there, the latest:
/// each takes the place of those before it, also one without a page.
pub const LATEST_SIGN_INS: u32 = 8;

/// The most addresses that one sign-out has a browser open. Each client has one before any has two.
pub const MAX_FRONT_CHANNEL_LOGOUTS: u32 = 20;

/// Of these, those of one account at one client that needs to know which sign-in has ended; any other
/// client has one.
pub const MAX_FRONT_CHANNEL_LOGOUTS_PER_ACCOUNT: u32 = 4;

/// Where a client is notified of a logout: an `https` URL that names its host, or an `http` URL of this
/// machine. Kept exactly as registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogoutUri {
    uri: RedirectUri,
    origin: String,
}

/// Not such an address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the address where an app is told of a logout is an https URL of at most 2000 visible characters, with the name of a host, without user, password, fragment, `*` and dot segments (for tests on one machine, http on localhost); {0:?} is not"
)]
pub struct LogoutUriError(String);

/// Where and how a client is notified of logouts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogoutNotification {
    /// The client's `backchannel_logout_uri` or `frontchannel_logout_uri`.
    pub uri: LogoutUri,
    /// Whether the client needs to know which sign-in has ended (`sid`).
    pub session_required: bool,
}

/// In which form a client is notified of logouts by AIP itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, EnumIter, IntoStaticStr, EnumString)]
#[strum(serialize_all = "snake_case")]
pub enum LogoutFormat {
    /// A logout token (OpenID Connect Back-Channel Logout 1.0 §2.4).
    #[default]
    LogoutToken,
    /// A security event token of the type `session-revoked` (OpenID CAEP 1.0 §3.1), pushed by RFC 8935.
    #[strum(serialize = "caep_1_0")]
    Caep10,
}

/// A sign-in that has ended, and whose client is to be notified by AIP itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogoutDelivery {
    /// The grant of the sign-in, which is its `sid`.
    pub grant: RowId,
    /// The client that is notified.
    pub client_id: ClientId,
    /// The account that the client knows.
    pub subject: Did,
    /// When it ended.
    pub ended_at: Timestamp,
    /// How often it was tried, this time included. Whoever claims it counts, so it tells claims apart.
    pub attempts: u32,
}

/// A sign-in that has ended, and whose client is to be notified by the browser.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FrontChannelLogout {
    /// The grant of the sign-in, which is its `sid`.
    pub grant: RowId,
    /// Where the client is notified.
    pub notification: LogoutNotification,
}

/// What a sign-out at a browser ended. Nothing, where another request had done it before.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SignedOut {
    /// Deliveries that the caller has claimed, until [`CLAIMED_FOR`] has passed.
    pub deliveries: Vec<LogoutDelivery>,
    /// What the browser is to open, the latest of each client first, at most
    /// [`MAX_FRONT_CHANNEL_LOGOUTS`].
    pub front_channel: Vec<FrontChannelLogout>,
}

/// The deliveries that are due.
#[async_trait]
pub trait LogoutDeliveries: Send + Sync {
    /// Claims up to `limit` deliveries that are due at `now`, of each client at most `share`: the oldest
    /// of each client, then the second of each, and so on. Fewer, if others claim at the same moment.
    async fn claim_logouts(
        &self,
        now: Timestamp,
        limit: u32,
        share: u32,
    ) -> Result<Vec<LogoutDelivery>, StorageError>;

    /// A claimed delivery is made again at `at`, unless somebody else has claimed it since.
    async fn defer_logout(
        &self,
        delivery: &LogoutDelivery,
        at: Timestamp,
    ) -> Result<(), StorageError>;

    /// The client was notified, or it is given up. Whether the delivery was still there: of two who had
    /// claimed it one after the other, one ends it, and its event is recorded with that.
    async fn end_logout(
        &self,
        delivery: &LogoutDelivery,
        event: Option<&AuditEvent>,
    ) -> Result<bool, StorageError>;
}

impl LogoutUri {
    /// The address, byte for byte as registered.
    pub fn as_str(&self) -> &str {
        self.uri.as_str()
    }

    /// Scheme, host and port, as browsers and Content Security Policies write them (RFC 6454 §6.2):
    /// letters, digits, `-`, `.`, `:` and `/`.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Whether it is `http` on this machine.
    pub fn is_loopback(&self) -> bool {
        self.uri.target() == RedirectTarget::Loopback
    }
}

impl FromStr for LogoutUri {
    type Err = LogoutUriError;

    fn from_str(text: &str) -> Result<Self, LogoutUriError> {
        let refused = || LogoutUriError(uri_excerpt(text));
        let uri: RedirectUri = text.parse().map_err(|_| refused())?;
        let url = Url::parse(text).map_err(|_| refused())?;
        // What a URL allows in a name, such as `;`, would mean something else in a policy.
        let is_name = |name: &str| {
            name.bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-.".contains(&b))
        };
        let fits = match (uri.target(), url.host()) {
            (RedirectTarget::Https, Some(Host::Domain(name))) => is_name(name),
            (RedirectTarget::Loopback, Some(Host::Domain(_) | Host::Ipv4(_))) => true,
            _ => false,
        };
        if !fits {
            return Err(refused());
        }
        Ok(Self {
            uri,
            origin: url.origin().ascii_serialization(),
        })
    }
}

impl fmt::Display for LogoutUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.uri.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_app_is_notified_of_logouts_at_a_host_that_has_a_name() {
        for (good, origin) in [
            ("https://app.example/logout?tenant=1", "https://app.example"),
            (
                "https://app.example:8443/logout",
                "https://app.example:8443",
            ),
            ("https://APP.example/logout", "https://app.example"),
            ("http://localhost:3000/logout", "http://localhost:3000"),
            ("http://127.0.0.1:3000/logout", "http://127.0.0.1:3000"),
        ] {
            let uri: LogoutUri = good.parse().unwrap();
            assert_eq!((uri.as_str(), uri.origin()), (good, origin));
            assert_eq!(uri.is_loopback(), good.starts_with("http:"), "{good}");
        }
        let long = format!("https://app.example/{}", "x".repeat(2000));
        for bad in [
            "http://app.example/logout",
            "https://10.0.0.1/logout",
            "https://[fd00::1]/logout",
            "http://[::1]/logout",
            "https://2130706433/logout",
            "https://me@app.example/logout",
            "https://app.example/logout#x",
            "https://app.example/../logout",
            "https://app.example;script-src/logout",
            "https://app.example,evil.example/logout",
            "https://*.example/logout",
            "com.example.app:/logout",
            "javascript:alert(1)",
            "data:text/html,x",
            "https://app.example/log out",
            "/logout",
            "",
            &long,
        ] {
            assert!(bad.parse::<LogoutUri>().is_err(), "{bad}");
        }
    }
}
