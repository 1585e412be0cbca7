//! The `id_token` (OpenID Connect Core §2): short-lived. Of all that is signed with the same keys only
//! signed userinfo is of the same type, and that has no `exp`.

use std::time::Duration;

use aip_base::Timestamp;
use aip_storage::client::{Client, IdTokenAlg};
use aip_storage::grant::Grant;
use aip_storage::requested_claims::{ClaimName, ClaimPlace};
use aws_lc_rs::digest::{SHA256, SHA512, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;

use crate::AuthorizationServer;
use crate::claims::PersonClaims;
use crate::signing::SigningError;

/// How long an `id_token` may be presented: it proves a sign-in that just happened.
const TTL: Duration = Duration::from_mins(10);

/// The authentication context class of every sign-in (§2). A PDS says who signed in, and neither how
/// nor how surely: no more can be claimed than level 0. For the same reason there is no `amr`.
pub const ACR: &str = "0";

/// The claims of an `id_token`.
#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    sub: &'a str,
    aud: &'a str,
    iat: i64,
    exp: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    auth_time: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    acr: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    nonce: Option<&'a str>,
    at_hash: String,
    /// The sign-in, as a logout names it (OpenID Connect Back-Channel Logout §2.1).
    sid: String,
    #[serde(flatten)]
    person: &'a PersonClaims,
}

/// What an `id_token` is about.
pub(crate) struct IdTokenSubject<'a> {
    /// The grant, which names the account.
    pub(crate) grant: &'a Grant,
    /// The `nonce` of the authorization request; absent after a refresh (OpenID Connect Core
    /// §12.2).
    pub(crate) nonce: Option<&'a str>,
    pub(crate) person: &'a PersonClaims,
    /// The access token that it accompanies.
    pub(crate) access_token: &'a str,
}

impl AuthorizationServer {
    /// Makes an `id_token` for `client`.
    pub(crate) fn id_token(
        &self,
        client: &Client,
        about: &IdTokenSubject<'_>,
        now: Timestamp,
    ) -> Result<String, SigningError> {
        let subject = self.subject_of(about.grant).to_string();
        let claims = Claims {
            iss: self.issuer.as_str(),
            sub: &subject,
            aud: client.id.as_str(),
            iat: now.as_secs(),
            exp: (now + TTL).as_secs(),
            auth_time: about.grant.auth_time.map(Timestamp::as_secs),
            acr: about
                .grant
                .claims
                .has(ClaimPlace::IdToken, ClaimName::Acr)
                .then_some(ACR),
            nonce: about.nonce,
            at_hash: at_hash(client.settings.id_token_alg, about.access_token),
            sid: about.grant.id.to_string(),
            person: about.person,
        };
        self.sign(client.settings.id_token_alg, "JWT", &claims)
    }
}

/// The left half of the hash of the access token (OpenID Connect Core §3.1.3.6), with the hash
/// function of the signature: SHA-512 for Ed25519 (RFC 8032 §5.1), otherwise SHA-256.
fn at_hash(alg: IdTokenAlg, access_token: &str) -> String {
    let function = match alg {
        IdTokenAlg::Es256 | IdTokenAlg::Rs256 => &SHA256,
        IdTokenAlg::EdDsa => &SHA512,
    };
    let hash = digest(function, access_token.as_bytes());
    URL_SAFE_NO_PAD.encode(&hash.as_ref()[..hash.as_ref().len() / 2])
}
