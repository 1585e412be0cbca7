//! Upstream sessions as they were read a moment ago.
//!
//! The XRPC proxy may take what it read for as long as [`MAX_READ_AGE`]; whatever ends a token or a
//! session works there within that time.

use std::sync::Arc;
use std::time::Duration;

use aip_atproto::ServiceRef;
use aip_base::Timestamp;

use crate::grant::AccessToken;
use crate::upstream::{Credential, UpstreamSession};

/// How long tokens and sessions are taken to be as they were read.
pub const MAX_READ_AGE: Duration = Duration::from_secs(1);

/// What a session takes in memory besides its sealed values and its scope, in bytes.
const FIXED_BYTES: usize = 1024;
/// What a parsed scope takes in memory, in bytes.
const BYTES_PER_SCOPE: usize = 160;

/// An access token with the whole sessions that calls may be made with, and what of its client matters
/// to calls, as of one instant.
#[derive(Debug, Clone)]
pub struct TokenForCall {
    /// The token, with its grant.
    pub token: AccessToken,
    /// That of the grant; `None` if it is not there any more.
    pub session: Option<UpstreamSession>,
    /// That of the app password which the client has for the account, if it can be used and the grant's
    /// own can. Never for who acts for somebody else, nor for a developer token.
    pub app_password: Option<UpstreamSession>,
    /// [`ClientSettings::default_atproto_proxy`](crate::client::ClientSettings) of the client.
    pub default_atproto_proxy: Option<ServiceRef>,
}

/// A session, and when it was read.
#[derive(Debug, Clone)]
pub struct SessionRead {
    /// As it was stored then.
    pub session: Arc<UpstreamSession>,
    /// An instant before it was read.
    pub read_at: Timestamp,
}

/// Whether what was read at `read_at` may be taken to be so at `now`. Not when the clock was set
/// back meanwhile.
pub fn is_recent(read_at: Timestamp, now: Timestamp) -> bool {
    read_at <= now && now.since(read_at) < MAX_READ_AGE
}

impl AccessToken {
    /// About how many bytes it takes in memory.
    pub fn memory_bytes(&self) -> usize {
        let scopes = self.scope.len() + self.grant.scope.len() + self.grant.asked.len();
        FIXED_BYTES + scopes * BYTES_PER_SCOPE
    }
}

impl UpstreamSession {
    /// About how many bytes it takes in memory.
    pub fn memory_bytes(&self) -> usize {
        let sealed = match &self.credential {
            Credential::OAuth(oauth) => &oauth.dpop_key,
            Credential::AppPassword(password) => password,
        };
        let refresh = self.tokens.refresh.as_ref().map_or("", |it| it.as_str());
        let texts = sealed.as_str().len() + self.tokens.access.as_str().len() + refresh.len();
        FIXED_BYTES + texts + self.scope.len() * BYTES_PER_SCOPE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_holds_for_a_second_and_not_when_the_clock_was_set_back() {
        let read_at = Timestamp::from_secs(1_800_000_000);
        let millis = Duration::from_millis;
        assert!(is_recent(read_at, read_at));
        assert!(is_recent(read_at, read_at + millis(999)));
        assert!(!is_recent(read_at, read_at + millis(1000)));
        assert!(!is_recent(read_at, read_at - millis(1)));
    }
}
