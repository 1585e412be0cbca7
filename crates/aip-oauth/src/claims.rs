//! Claims about the person (OpenID Connect Core §5.1), for userinfo and, where the client wants it,
//! the `id_token`: what the scopes of one grant open or its app asked for by name, and nothing
//! learned through another grant.

use crate::AuthorizationServer;
pub use crate::wire::{Actor, PersonClaims};
use aip_atproto::{AtIdentifier, Handle, OpenIdScope, Scope, ScopeSet};
use aip_storage::StorageError;
use aip_storage::account::Account;
use aip_storage::client::{ClientId, IdTokenAlg};
use aip_storage::grant::Grant;
use aip_storage::requested_claims::{ClaimName, ClaimPlace};
use async_trait::async_trait;
use futures_util::future::join;
use serde::Serialize;

use crate::signing::SigningError;

/// The placeholder of the AT Protocol for a handle that does not hold in both directions.
pub const INVALID_HANDLE: &str = "handle.invalid";

/// An e-mail address as it is claimed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimedEmail {
    /// The address.
    pub address: String,
    /// Whether a PDS that the operator trusts says that the person confirmed it.
    pub verified: bool,
}

/// Knows the e-mail addresses of accounts.
#[async_trait]
pub trait Emails: Send + Sync + 'static {
    /// The address as the PDS tells it to the upstream session of `grant`; `None` when it does not
    /// tell, or cannot be asked at present.
    async fn email(&self, grant: &Grant) -> Result<Option<ClaimedEmail>, StorageError>;
}

/// What an account shows of itself to everybody. Its owner wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicProfile {
    /// The name for display.
    pub display_name: Option<String>,
    /// The URL of the page that shows it.
    pub page: String,
    /// The URL of the picture.
    pub picture: Option<String>,
}

/// Knows what accounts show of themselves.
#[async_trait]
pub trait Profiles: Send + Sync + 'static {
    /// The profile of the account; `None` when it has none, or none that can be read soon.
    async fn profile(&self, account: &Account) -> Option<PublicProfile>;
}

/// Knows none: for what answers nobody who would be told.
pub struct NoProfiles;

#[async_trait]
impl Profiles for NoProfiles {
    async fn profile(&self, _account: &Account) -> Option<PublicProfile> {
        None
    }
}

/// A signed answer of userinfo (OpenID Connect Core §5.3.2).
#[derive(Serialize)]
struct SignedUserinfo<'a, T> {
    iss: &'a str,
    aud: &'a str,
    #[serde(flatten)]
    claims: &'a T,
}

impl AuthorizationServer {
    /// Signs what userinfo tells that client.
    pub fn sign_userinfo(
        &self,
        alg: IdTokenAlg,
        client: &ClientId,
        claims: &impl Serialize,
    ) -> Result<String, SigningError> {
        let claims = SignedUserinfo {
            iss: self.issuer.as_str(),
            aud: client.as_str(),
            claims,
        };
        self.sign(alg, "JWT", &claims)
    }

    /// What is claimed of the person at `place`: what `scope` opens, the grant's or less, if
    /// `by_scope`, and what the app asked for by name (OpenID Connect Core §5.4, §5.5).
    ///
    /// Handle and profile need no scope when they are asked for by name: they are public like the DID
    /// that leads to them. The e-mail address always needs its scope, which the person's PDS is asked for. The
    /// profile is never needed: without it the name is the handle, and the picture is left out.
    pub async fn person_claims(
        &self,
        grant: &Grant,
        scope: &ScopeSet,
        place: ClaimPlace,
        by_scope: bool,
    ) -> Result<PersonClaims, StorageError> {
        // Handle and profile lead to the account, of which a client with pairwise subjects knows nothing.
        let is_told = grant.sector.is_none();
        let opened = |word| by_scope && scope.contains(&Scope::OpenId(word));
        let named = |name| grant.claims.has(place, name);
        let profile = is_told && opened(OpenIdScope::Profile);
        let name = profile || (is_told && named(ClaimName::Name));
        let preferred_username = profile || (is_told && named(ClaimName::PreferredUsername));
        let page = profile || (is_told && named(ClaimName::Profile));
        let picture = profile || (is_told && named(ClaimName::Picture));
        let is_shown = name || page || picture;
        let email = opened(OpenIdScope::Email) || named(ClaimName::Email);
        let email_verified = opened(OpenIdScope::Email) || named(ClaimName::EmailVerified);
        let mut claims = PersonClaims::default();
        if profile || (is_told && by_scope && scope.contains(&Scope::Atproto)) {
            claims.did = Some(grant.subject.to_string());
        }
        let account = if is_shown || preferred_username {
            self.storage.account(&grant.subject).await?
        } else {
            None
        };
        let shown = async {
            match &account {
                Some(account) if is_shown => self.profiles.profile(account).await,
                _ => None,
            }
        };
        let is_mailed =
            (email || email_verified) && scope.contains(&Scope::OpenId(OpenIdScope::Email));
        let known = async {
            if is_mailed {
                self.emails.email(grant).await
            } else {
                Ok(None)
            }
        };
        // At once: a slow one does not hold the other up.
        let (shown, known) = join(shown, known).await;
        if is_shown || preferred_username {
            let handle = account.as_ref().and_then(|account| account.handle.as_ref());
            let display_name = shown.as_ref().and_then(|it| it.display_name.as_deref());
            let display_name = display_name.filter(|name| !is_identifier(name));
            let handle = handle.map(Handle::as_str);
            // Without a handle that holds, the DID is the only name that is known to be theirs.
            claims.name = name.then(|| {
                let name = display_name.or(handle);
                name.unwrap_or(grant.subject.as_str()).to_owned()
            });
            claims.preferred_username =
                preferred_username.then(|| handle.unwrap_or(INVALID_HANDLE).to_owned());
            if let Some(shown) = shown {
                claims.profile = page.then_some(shown.page);
                claims.picture = shown.picture.filter(|_| picture);
            }
            if profile {
                claims.pds_endpoint = account.map(|it| it.pds.as_str().to_owned());
            }
        }
        if let Some(known) = known? {
            claims.email = email.then_some(known.address);
            claims.email_verified = email_verified.then_some(known.verified);
        }
        Ok(claims)
    }
}

/// Whether a name reads as a handle or a DID, with characters in between that are not seen, too. Anybody
/// can write those of somebody else into a profile, and apps of AIP v2 took `name` for the verified
/// handle.
fn is_identifier(name: &str) -> bool {
    !name.contains(' ') && AtIdentifier::from_user_input(name).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_reads_as_an_identifier_is_distinguished_from_others() {
        for name in [
            "bob.example",
            "@bob.example",
            "BOB.Example",
            "bob\u{200b}.example",
            "\u{2060}@bob.exam\u{ad}ple",
            "bob.\u{200a}example",
            "at://bob.example",
            "did:web:bob\u{200d}.example",
            "did:web:bob.example",
            "did:plc:z72i7hdynmk6r22z27h6tvur",
        ] {
            assert!(is_identifier(name), "{name}");
        }
        for name in [
            "Bob",
            "Bob Example",
            "Dr. Bob",
            "bob",
            "did",
            "鮑勃",
            "b. o. b.",
        ] {
            assert!(!is_identifier(name), "{name}");
        }
    }
}
