//! Sessions without a sign-in, for load tests: thousands per second.

use std::time::Duration;

use aip_atproto::Did;
use aip_base::lock;
use aip_jose::{PublicJwk, Thumbprint};

use super::Pds;
use super::client_auth::ClientAuth;
use super::sessions::{Id, Session};

/// The session to make.
#[derive(Debug, Clone, Copy)]
pub struct Mint<'a> {
    /// Whose.
    pub did: &'a Did,
    /// The `client_id` that the session is bound to.
    pub client_id: &'a str,
    /// The key that the client's assertions are signed with; none for a public client.
    pub client_key: Option<&'a PublicJwk>,
    /// The granted scope.
    pub scope: &'a str,
    /// The key that the session's `DPoP` proofs are made with.
    pub dpop_key: &'a Thumbprint,
}

/// A session as its client would hold it.
#[derive(Debug, Clone)]
pub struct MintedSession {
    /// The access token.
    pub access_token: String,
    /// The refresh token.
    pub refresh_token: String,
    /// How long the access token lives.
    pub expires_in: Duration,
}

impl Pds {
    /// Makes a session as if the person had just signed in and the code had been exchanged.
    pub fn mint_session(&self, mint: &Mint<'_>) -> MintedSession {
        let inner = &self.inner;
        let now = inner.clock.now();
        let auth = mint
            .client_key
            .map_or(ClientAuth::None, |key| ClientAuth::Key {
                kid: key.kid().map(Into::into),
                alg: key.alg(),
                jkt: key.thumbprint(),
            });
        let session = Session {
            did: mint.did.as_str().into(),
            client_id: mint.client_id.into(),
            auth,
            jkt: mint.dpop_key.clone(),
            scope: mint.scope.into(),
            created: now,
            updated: now,
            generation: Id::random(&*inner.rng),
            refreshing: false,
        };
        let id = Id::random(&*inner.rng);
        let (access_token, refresh_token, expires_in) = inner.tokens_of(id, &session);
        lock(&inner.sessions).insert(id, session);
        let expires_in = Duration::from_secs(expires_in);
        MintedSession {
            access_token,
            refresh_token,
            expires_in,
        }
    }
}
