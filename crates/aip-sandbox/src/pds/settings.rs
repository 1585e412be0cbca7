//! What a test can turn on a stand-in PDS: lifetimes, and lies in what it says.

use std::time::Duration;

use aip_atproto::Did;
use serde_json::{Map, Value};

/// How long things live. The defaults are those of the reference PDS.
#[derive(Debug, Clone, Copy)]
pub struct Lifetimes {
    /// An access token.
    pub access_token: Duration,
    /// What clients are told that an access token lives (`expires_in`), if that is not the truth.
    pub told: Option<Duration>,
    /// The time between the two looks at an access token: at the `exp` of the JWT, and at the row of
    /// the session. A token that runs out between them ends the session, as at the reference PDS.
    pub row_read_takes: Duration,
    /// An authorization code, and a pushed request that nobody looks at.
    pub request: Duration,
    /// A public client's session, refreshed or not.
    pub public_session: Duration,
    /// A confidential client's session, refreshed or not.
    pub confidential_session: Duration,
    /// A confidential client's refresh token.
    pub confidential_refresh: Duration,
    /// A sign-in on a remembered device.
    pub device: Duration,
    /// A client's metadata document and its keys in the cache.
    pub client_cache: Duration,
    /// The time between looking a refresh token up and rotating it. Of two refreshes that meet
    /// in it one gets 500, as at the reference PDS; outside of it the second is a replay.
    pub refresh_takes: Duration,
}

impl Default for Lifetimes {
    fn default() -> Self {
        let days = |days: u64| Duration::from_hours(days * 24);
        Self {
            access_token: Duration::from_hours(1),
            told: None,
            row_read_takes: Duration::ZERO,
            request: Duration::from_mins(5),
            public_session: days(14),
            confidential_session: days(730),
            confidential_refresh: days(90),
            device: days(7),
            client_cache: Duration::from_mins(10),
            refresh_takes: Duration::ZERO,
        }
    }
}

/// Something a PDS says that a test can falsify.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Document {
    /// `/.well-known/oauth-protected-resource`.
    ResourceMetadata,
    /// `/.well-known/oauth-authorization-server`.
    ServerMetadata,
    /// The answer of the pushed authorization request endpoint.
    ParResponse,
    /// The query that the browser carries back to the client.
    Callback,
    /// The answer of the token endpoint, to codes and refresh tokens alike.
    TokenResponse,
    /// The answer of `com.atproto.server.getSession`.
    Session,
}

/// A lie: one member of a document has another value, or is left out.
#[derive(Debug, Clone)]
pub struct Lie {
    document: Document,
    member: &'static str,
    value: Option<Value>,
}

#[derive(Debug, Default)]
pub(crate) struct Settings {
    pub(crate) lifetimes: Lifetimes,
    pub(crate) lies: Vec<Lie>,
    /// Each answer has a nonce of its own, and all older ones are refused.
    pub(crate) nonce_per_answer: bool,
}

impl Lie {
    /// `member` of `document` is `value`.
    pub fn set(document: Document, member: &'static str, value: impl Into<Value>) -> Self {
        Self {
            document,
            member,
            value: Some(value.into()),
        }
    }

    /// `member` is missing from `document`.
    pub fn omit(document: Document, member: &'static str) -> Self {
        Self {
            document,
            member,
            value: None,
        }
    }

    /// The token response claims that somebody else signed in.
    pub fn sub_of(did: &Did) -> Self {
        Self::set(Document::TokenResponse, "sub", did.as_str())
    }
}

impl Settings {
    /// Applies every lie about `document` to what would be the truth.
    pub(crate) fn falsify(&self, document: Document, content: &mut Map<String, Value>) {
        for lie in self.lies.iter().filter(|lie| lie.document == document) {
            match &lie.value {
                Some(value) => content.insert(lie.member.to_owned(), value.clone()),
                None => content.remove(lie.member),
            };
        }
    }
}
