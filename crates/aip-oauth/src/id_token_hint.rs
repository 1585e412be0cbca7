//! `id_token_hint` (OpenID Connect Core §3.1.2.1, RP-Initiated Logout §2): an `id_token` of ours that
//! an app sends back, to say whom it means. It may have expired, and its key may be retired.

use aip_jose::{Audience, JwsError, UnverifiedJws};
use aip_storage::client::ClientId;
use aip_storage::subject::Subject;
use serde::Deserialize;

use crate::AuthorizationServer;

/// What an `id_token` of ours says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct IdTokenHint {
    /// Who had signed in, as the client knows them.
    pub(crate) subject: Subject,
    /// The client that it was issued to.
    pub(crate) client: ClientId,
}

/// The claims that matter here.
#[derive(Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    aud: Audience,
    /// Every `id_token` has it (OpenID Connect Core §2), and userinfo that was signed for the same
    /// client (§5.3.2) has not. It may be over.
    #[serde(rename = "exp")]
    _expires_at: i64,
}

impl AuthorizationServer {
    /// What a hint says; `None` if it is not an `id_token` that this server signed.
    pub(crate) fn read_hint(&self, token: &str) -> Option<IdTokenHint> {
        let jws = UnverifiedJws::parse(token).ok()?;
        if !jws.header().is_typ("JWT") {
            return None;
        }
        let keys = self.keys.current();
        let key = keys.oidc_by_kid(jws.header().kid.as_deref()?)?;
        let verified: Result<Claims, JwsError> = jws
            .verify(key.public(), key.alg())
            .and_then(|verified| verified.claims());
        let claims = verified.ok()?;
        if claims.iss != self.issuer.as_str() {
            return None;
        }
        Some(IdTokenHint {
            subject: claims.sub.parse().ok()?,
            client: claims.aud.single()?.parse().ok()?,
        })
    }
}
