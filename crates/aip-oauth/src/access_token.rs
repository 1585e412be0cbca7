//! Access tokens: opaque ones, and JWTs (RFC 9068), which resource servers read by themselves.
//!
//! Either is stored under a keyed hash, and what it allows at AIP is what is stored: it ends when its
//! row does. Of an opaque token the hash is of the token itself. A JWT says what its grant says, which
//! is known only when the code or refresh token has been spent, in one statement with the storing of
//! the new tokens. So its hash is of its `jti`, and whoever presents it must present our signature
//! around that: a `jti` is no secret, and stands in the logs of resource servers.

use aip_atproto::ScopeSet;
use aip_base::{Timestamp, random_token};
use aip_jose::{Audience, UnverifiedJws};
use aip_keys::{PresentedToken, TokenHash, TokenKind, has_v2_form};
use aip_storage::client::{AccessTokenFormat, Client};
use aip_storage::resource_uri::ResourceList;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use crate::AuthorizationServer;
use crate::dpop::{Confirmation, ProvenKey};
use crate::id_token::ACR;
use crate::signing::SigningError;
use crate::wire::Actor;

/// The type of an access token (RFC 9068 §2.1).
const TYP: &str = "at+jwt";

/// The random bytes of a `jti`.
const JTI_BYTES: usize = 24;

/// An access token that is about to be stored.
pub(crate) enum NewAccessToken {
    /// The token.
    Opaque(SecretString),
    /// The `jti` of one that is signed when its grant is known.
    Jwt(String),
}

/// What an access token is, besides its client's. An opaque one leaves it to introspection to say so.
pub(crate) struct AccessTokenContent<'a> {
    /// The account, as the client knows it; `None` for a token of the client itself.
    pub(crate) account: Option<&'a str>,
    /// Who acts for the account, if that is somebody else.
    pub(crate) actor: Option<&'a str>,
    /// Whom it is for.
    pub(crate) audience: &'a ResourceList,
    /// What it allows.
    pub(crate) scope: &'a ScopeSet,
    /// When the person last authenticated at their PDS, as far as that is known.
    pub(crate) auth_time: Option<Timestamp>,
    /// The key that it is bound to.
    pub(crate) key: Option<&'a ProvenKey>,
    /// When it was issued.
    pub(crate) issued_at: Timestamp,
    /// When it expires.
    pub(crate) expires_at: Timestamp,
}

/// RFC 9068 §2.2.
#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    sub: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    act: Option<Actor<'a>>,
    aud: Audience,
    client_id: &'a str,
    scope: String,
    jti: &'a str,
    iat: i64,
    exp: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    auth_time: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    acr: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cnf: Option<Confirmation<'a>>,
}

/// What is read of a presented one. The rest is stored.
#[derive(Deserialize)]
struct PresentedClaims {
    iss: String,
    sub: String,
    client_id: String,
    jti: String,
}

/// A token that somebody presents, of the form of one of ours. Whether it is live is another
/// question, which the storage answers.
#[derive(Clone, Copy)]
pub(crate) struct OwnToken<'a> {
    /// What was presented, of which a proof carries a hash (RFC 9449 §4.2).
    pub(crate) text: &'a str,
    pub(crate) kind: TokenKind,
    /// What it is stored under.
    pub(crate) hash: TokenHash,
}

impl OwnToken<'_> {
    /// Whether it may be a refresh token: those of AIP v2 look as its access tokens do.
    pub(crate) fn may_be_refresh_token(&self) -> bool {
        self.kind == TokenKind::RefreshToken || has_v2_form(self.text)
    }
}

impl AuthorizationServer {
    /// A new access token of that kind, in the format of the client, and the hash that it is stored
    /// under.
    pub(crate) fn new_access_token(
        &self,
        client: &Client,
        kind: TokenKind,
    ) -> (NewAccessToken, TokenHash) {
        match client.settings.access_token_format {
            AccessTokenFormat::Opaque => {
                let token = kind.mint(&*self.rng);
                let hash = self.hash(&token);
                (NewAccessToken::Opaque(token), hash)
            }
            AccessTokenFormat::Jwt => {
                let jti = random_token::<JTI_BYTES>(&*self.rng);
                let hash = self.jti_hash(&jti);
                (NewAccessToken::Jwt(jti), hash)
            }
        }
    }

    /// The token as its client gets it.
    pub(crate) fn finish_access_token(
        &self,
        client: &Client,
        new: NewAccessToken,
        content: &AccessTokenContent<'_>,
    ) -> Result<SecretString, SigningError> {
        let jti = match new {
            NewAccessToken::Opaque(token) => return Ok(token),
            NewAccessToken::Jwt(jti) => jti,
        };
        let claims = Claims {
            iss: self.issuer.as_str(),
            sub: content.account.unwrap_or(client.id.as_str()),
            act: content.actor.map(|sub| Actor { sub }),
            aud: self.issuer.audience_claim(content.audience),
            client_id: client.id.as_str(),
            scope: content.scope.to_string(),
            jti: &jti,
            iat: content.issued_at.as_secs(),
            exp: content.expires_at.as_secs(),
            auth_time: content.auth_time.map(Timestamp::as_secs),
            // A delegate's own sign-in says nothing of the owner's.
            acr: content
                .account
                .filter(|_| content.actor.is_none())
                .map(|_| ACR),
            cnf: content.key.map(|key| Confirmation {
                jkt: key.thumbprint(),
            }),
        };
        let token = self.sign(client.settings.id_token_alg, TYP, &claims)?;
        Ok(token.into())
    }

    /// Reads what somebody presents as a token. `None`: it is none of ours, or of a key that is gone.
    pub(crate) fn read_token<'a>(&self, text: &'a str) -> Option<OwnToken<'a>> {
        if let Ok(token) = PresentedToken::parse(text) {
            return Some(OwnToken {
                text,
                kind: token.kind(),
                hash: self.hasher.hash_token(token),
            });
        }
        // It may be a refresh token as well: whoever takes those asks for both.
        if has_v2_form(text) {
            return Some(OwnToken {
                text,
                kind: TokenKind::AccessToken,
                hash: self.hasher.hash(text),
            });
        }
        let jws = UnverifiedJws::parse(text).ok()?;
        if !jws.header().is_typ(TYP) {
            return None;
        }
        let keys = self.keys.current();
        let key = keys.oidc_by_kid(jws.header().kid.as_deref()?)?;
        let claims = jws.verify(key.public(), key.alg()).ok()?.claims();
        let claims: PresentedClaims = claims.ok()?;
        if claims.iss != self.issuer.as_str() {
            return None;
        }
        Some(OwnToken {
            text,
            // Other tokens are of people, and the storage does not find them among those of clients.
            kind: if claims.sub == claims.client_id {
                TokenKind::ClientToken
            } else {
                TokenKind::AccessToken
            },
            hash: self.jti_hash(&claims.jti),
        })
    }

    fn jti_hash(&self, jti: &str) -> TokenHash {
        self.hasher.hash(&format!("access-token-jti {jti}"))
    }
}
