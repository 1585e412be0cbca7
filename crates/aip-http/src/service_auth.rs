//! AIP as a service of the AT Protocol: the DID it has, and who calls its own XRPC methods by a
//! service token (<https://atproto.com/specs/xrpc#inter-service-authentication-jwt>).
//!
//! A token is good once, for one method, and only if the key in the issuer's DID document signed it.
//! Strangers make AIP ask nobody: the document is read for administrators alone, and however many
//! tokens somebody makes up in the name of one, at most once each [`MIN_DOCUMENT_AGE`] and process.

use std::time::Duration;

use aip_atproto::{BaseUrl, Did, DidDocument, SigningKeyKind};
use aip_base::RequestNotes;
use aip_jose::service_token::{
    Expected, ServiceTokenError, VerifiedServiceToken, claimed_issuer, verify,
};
use aip_jose::{JwsError, PublicJwk, UnverifiedJws};
use aip_pds::Trace;
use aip_storage::replay::Claim;
use http::StatusCode;
use http::header::WWW_AUTHENTICATE;

use crate::api_error::ApiError;
use crate::incoming_request::IncomingRequest;
use crate::lookups::LookupError;
use crate::state::AppState;

/// The service of AIP in its DID document.
pub(crate) const SERVICE: &str = "#aip";

/// A key that is older than this is read anew before it counts: an account that has changed its key
/// did so because it trusts the one before no more.
const MAX_DOCUMENT_AGE: Duration = Duration::from_mins(1);
/// A document that is younger than this is not read again when a signature does not verify.
const MIN_DOCUMENT_AGE: Duration = Duration::from_secs(10);

/// What AIP is called as a service, and by whom.
pub struct ServiceIdentity {
    did: Option<Did>,
    admins: Vec<Did>,
}

/// An administrator who proved by a service token that the call is theirs. Only
/// [`AppState::authorize_admin`] makes one.
pub(crate) struct Admin(Did);

impl ServiceIdentity {
    /// At that base, for these administrators. Only a base without port and path has a DID, or one
    /// of `localhost` (<https://atproto.com/specs/did#blessed-did-methods>).
    pub fn new(base: &BaseUrl, admins: Vec<Did>) -> Self {
        let host = base.origin().host();
        let name = match (base.is_https(), base.origin().port()) {
            (true, 443) => host.to_owned(),
            (_, port) => format!("{host}%3A{port}"),
        };
        let did = Did::parse(&format!("did:web:{name}"));
        let did = did.ok().filter(|_| base.path().is_empty());
        Self { did, admins }
    }

    /// AIP's own DID, if its base has one.
    pub(crate) fn did(&self) -> Option<&Did> {
        self.did.as_ref()
    }
}

impl Admin {
    /// The account.
    pub(crate) fn did(&self) -> &Did {
        &self.0
    }
}

impl AppState {
    /// Who calls `method`, an administrator; everybody else is refused. The token is spent.
    pub(crate) async fn authorize_admin(
        &self,
        incoming: &IncomingRequest,
        method: &str,
    ) -> Result<Admin, ApiError> {
        let service = &self.parts().service;
        let Some(did) = service.did().filter(|_| !service.admins.is_empty()) else {
            return Err(ApiError::caller(
                StatusCode::NOT_FOUND,
                "MethodNotImplemented",
                "no account administers this server (clients.admin_dids)",
            ));
        };
        let token = bearer(incoming)?;
        let issuer =
            claimed_issuer(&token).map_err(|error| refused("BadJwt", error.to_string()))?;
        let admin = service.admins.iter().find(|it| it.as_str() == issuer);
        let admin = admin
            .ok_or_else(|| refused("UntrustedIss", "`iss` is no administrator of this server"))?;
        let expected = Expected {
            issuer: &issuer,
            audiences: &[did.as_str(), &format!("{did}{SERVICE}")],
            method,
            now: self.now(),
        };
        let verified = self.verify_service_token(&token, admin, &expected).await?;
        let key = format!("service-token {issuer} {}", verified.jti);
        let key = self.server().hasher.hash(&key);
        let claim = self.storage().claim_once(&key, verified.expires).await?;
        if claim == Claim::Seen {
            return Err(refused("BadJwt", "the token was used before"));
        }
        RequestNotes::note_account(&issuer);
        Ok(Admin(admin.clone()))
    }

    /// Verifies a token with the key of its issuer, and once more if that has another one by now.
    async fn verify_service_token(
        &self,
        token: &UnverifiedJws,
        issuer: &Did,
        expected: &Expected<'_>,
    ) -> Result<VerifiedServiceToken, ApiError> {
        let key = self.key_within(issuer, MAX_DOCUMENT_AGE).await?;
        let refusal = match verify(token.clone(), &key, expected) {
            Ok(verified) => return Ok(verified),
            Err(error) if error.is_of_key() => error,
            Err(error) => return Err(error.into()),
        };
        let newest = self.key_within(issuer, MIN_DOCUMENT_AGE).await?;
        if newest == key {
            return Err(refusal.into());
        }
        Ok(verify(token.clone(), &newest, expected)?)
    }

    /// The key in a DID document that was read within `max_age`.
    async fn key_within(&self, did: &Did, max_age: Duration) -> Result<PublicJwk, ApiError> {
        let document = self
            .resolver()
            .document_within(did, max_age, &mut Trace::default())
            .await
            .map_err(LookupError::Resolve)?;
        signing_key(&document)
    }
}

/// The token of the `Authorization` header.
fn bearer(incoming: &IncomingRequest) -> Result<UnverifiedJws, ApiError> {
    let header = incoming.authorization()?.unwrap_or_default();
    let token = header
        .split_once(' ')
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim())
        .ok_or_else(|| {
            let words = "a service token is required as a bearer token \
                         (com.atproto.server.getServiceAuth)";
            refused("AuthMissing", words)
        })?;
    UnverifiedJws::parse(token).map_err(|error| refused("BadJwt", error.to_string()))
}

fn signing_key(document: &DidDocument) -> Result<PublicJwk, ApiError> {
    let none = |why: &str| {
        let words = format!(
            "the DID document of {} has no signing key: {why}",
            document.id()
        );
        refused("BadJwtSignature", words)
    };
    let key = document
        .signing_key()
        .ok_or_else(|| none("no `#atproto`"))?;
    if key.kind != SigningKeyKind::Multikey {
        return Err(none("`#atproto` is no `Multikey`"));
    }
    PublicJwk::from_multikey(&key.multibase).map_err(|error| none(&error.to_string()))
}

/// 401 with a code that callers know from other services of the AT Protocol.
fn refused(code: &'static str, words: impl Into<String>) -> ApiError {
    ApiError::caller(StatusCode::UNAUTHORIZED, code, words)
        .with(WWW_AUTHENTICATE, "Bearer realm=\"aip\"")
}

impl From<ServiceTokenError> for ApiError {
    fn from(error: ServiceTokenError) -> Self {
        let code = match &error {
            ServiceTokenError::Token(JwsError::Signature | JwsError::AlgMismatch { .. })
            | ServiceTokenError::HighS => "BadJwtSignature",
            ServiceTokenError::Typ => "BadJwtType",
            ServiceTokenError::Issuer => "BadJwtIss",
            ServiceTokenError::Audience => "BadJwtAudience",
            ServiceTokenError::Method => "BadJwtLexiconMethod",
            ServiceTokenError::Expired => "JwtExpired",
            ServiceTokenError::Token(_)
            | ServiceTokenError::LivesTooLong
            | ServiceTokenError::NotYet
            | ServiceTokenError::Jti => "BadJwt",
        };
        refused(code, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_base_with_a_did_is_a_service() {
        for (base, did) in [
            ("https://aip.example.org", Some("did:web:aip.example.org")),
            ("https://localhost:8443", Some("did:web:localhost%3A8443")),
            ("http://localhost:8080", Some("did:web:localhost%3A8080")),
            ("https://localhost", Some("did:web:localhost")),
            ("https://aip.example.org:8443", None),
            ("http://127.0.0.1:8080", None),
            ("http://[::1]:8080", None),
            ("https://192.0.2.1", None),
            ("https://aip.example.org/sign-in", None),
            ("https://localhost/sign-in", None),
        ] {
            let service = ServiceIdentity::new(&base.parse().unwrap(), Vec::new());
            assert_eq!(service.did().map(Did::as_str), did, "{base}");
        }
    }
}
