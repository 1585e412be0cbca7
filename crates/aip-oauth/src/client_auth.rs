//! Client authentication at the token endpoint and wherever else clients prove themselves
//! (RFC 6749 §2.3, OpenID Connect Core §9).
//!
//! A client with a secret may present it by Basic or in the body, as its library does, unless the
//! operator pinned one of the two. A client with keys signs an assertion (RFC 7523 §3), which is
//! accepted once. Unknown clients, wrong secrets and bad assertions look the same from outside, and
//! nothing is spent before this succeeded.

use std::sync::Arc;

use aip_base::RequestNotes;
use aip_jose::client_assertion::{
    self, ASSERTION_TYPE, AssertionError, Expected, VerifiedAssertion, claimed_client,
};
use aip_jose::{Alg, JwsError, PublicJwk, UnverifiedJws};
use aip_storage::StorageError;
use aip_storage::client::{Client, ClientAuthMethod, ClientId, ClientKeys, SecurityProfile};
use aip_storage::replay::Claim;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::time::Instant;

use crate::AuthorizationServer;
use crate::client_key_sets::KeySetError;
use crate::dpop::{ProofError, ProvenKey, Target};
use crate::params::Params;

/// Where tokens are given: older clients name it as the audience of their assertions.
pub const TOKEN_ENDPOINT: &str = "/oauth/token";

/// The algorithms of assertions that are taken.
pub const ASSERTION_ALGS: &[Alg] = &[Alg::Es256, Alg::Rs256, Alg::Ps256, Alg::EdDsa];

/// Those of a client that is held to that profile; of FAPI 2.0 those of Security Profile §5.4.1.
pub(crate) fn assertion_algs(profile: SecurityProfile) -> &'static [Alg] {
    match profile {
        SecurityProfile::OAuth21 => ASSERTION_ALGS,
        SecurityProfile::Fapi2 => &[Alg::Es256, Alg::Ps256, Alg::EdDsa],
    }
}

/// A request of a client that arrived over HTTP, at the token endpoint or at the one for pushed
/// requests.
#[derive(Clone, Copy)]
pub struct ClientRequest<'a> {
    /// The form body.
    pub body: &'a [u8],
    /// The `Authorization` header.
    pub authorization: Option<&'a str>,
    /// The `DPoP` header; the caller made sure that there is at most one.
    pub dpop: Option<&'a str>,
    /// What a proof must be about.
    pub target: Target<'a>,
}

/// A client that proved who it is (a confidential one) or said who it is (a public one).
/// Made only by [`AuthorizationServer::authenticate_client`].
#[derive(Debug, Clone)]
pub struct AuthenticatedClient(Arc<Client>);

/// Why a client is refused. Outside it is `invalid_client`, whatever is wrong with what a client presents; the
/// detail is for the log.
#[derive(Debug, thiserror::Error)]
pub enum ClientAuthError {
    /// There is no `client_id` and no Basic credential.
    #[error("the request does not name a client")]
    Missing,
    /// The Basic credential cannot be decoded.
    #[error("the Basic credential is malformed")]
    MalformedBasic,
    /// Two methods at once (RFC 6749 §2.3): `invalid_request`, whoever it is (§5.2).
    #[error("the client used more than one authentication method")]
    TwoMethods,
    /// The credential is one client's and `client_id` is another's.
    #[error("the request names more than one client")]
    TwoClients,
    /// No such client.
    #[error("there is no such client")]
    Unknown,
    /// The secret is right, and the operator pinned another method: told to the app.
    #[error("the client must authenticate with {0}")]
    Pinned(&'static str),
    /// Not the kind of method that the client registered.
    #[error("the client registered {registered} and used {used}")]
    WrongMethod {
        /// The registered method.
        registered: &'static str,
        /// The method it used.
        used: &'static str,
    },
    /// Not the client's secret.
    #[error("the client secret is wrong")]
    WrongSecret(ClientId),
    /// Something that is no assertion, such as one that is signed with a secret.
    #[error("the client assertion cannot be read: {0}")]
    Unreadable(#[source] JwsError),
    /// Another kind of assertion, or none.
    #[error(
        "`client_assertion` and `client_assertion_type={ASSERTION_TYPE}` come together, or not at all"
    )]
    AssertionType,
    /// An algorithm that this client may not use.
    #[error("the client assertion is signed with {0}, which this client may not use")]
    AssertionAlg(Alg),
    /// Its keys were read, and the one that signed is not there.
    #[error("the client has no single key for {alg} with the `kid` of its assertion")]
    NoKey {
        /// What the assertion is signed with.
        alg: Alg,
    },
    /// Its keys could not be read.
    #[error(transparent)]
    KeySet(#[from] KeySetError),
    /// The assertion says something else than it must.
    #[error("the client assertion is refused: {0}")]
    Assertion(#[from] AssertionError),
    /// The assertion was seen before.
    #[error("the client assertion was used before")]
    AssertionReplayed,
    /// Our fault.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// What a request presents. The secret is borrowed from the request and goes no further than the
/// hash below.
struct Presented {
    client_id: String,
    credential: Credential,
}

enum Credential {
    Nothing,
    Secret {
        secret: String,
        method: ClientAuthMethod,
    },
    Assertion(Box<UnverifiedJws>),
}

impl Credential {
    fn method(&self) -> ClientAuthMethod {
        match self {
            Self::Nothing => ClientAuthMethod::None,
            Self::Secret { method, .. } => *method,
            Self::Assertion(_) => ClientAuthMethod::PrivateKeyJwt,
        }
    }
}

impl AuthenticatedClient {
    /// The client.
    pub fn client(&self) -> &Client {
        &self.0
    }

    /// The same, for whoever keeps it.
    pub(crate) fn shared(&self) -> Arc<Client> {
        Arc::clone(&self.0)
    }
}

impl AuthorizationServer {
    /// Authenticates the client of a request, then checks its DPoP proof, if there is one.
    pub(crate) async fn authenticate<E>(
        &self,
        request: ClientRequest<'_>,
        params: &Params,
    ) -> Result<(AuthenticatedClient, Option<ProvenKey>), E>
    where
        E: From<ClientAuthError> + From<ProofError>,
    {
        let client = self
            .authenticate_client(request.authorization, params)
            .await?;
        let key = match request.dpop {
            Some(proof) => {
                let key = self.check_proof(proof, request.target, None).await?;
                key.check_profile(client.client().settings.security_profile)?;
                Some(key)
            }
            None => None,
        };
        Ok((client, key))
    }

    /// Authenticates the client of a request from its `Authorization` header and body.
    pub async fn authenticate_client(
        &self,
        authorization: Option<&str>,
        params: &Params,
    ) -> Result<AuthenticatedClient, ClientAuthError> {
        let presented = present(authorization, params)?;
        let id: ClientId = presented
            .client_id
            .parse()
            .map_err(|_| ClientAuthError::Unknown)?;
        let (client, assertion) = self.check_known_or_read(&id, &presented).await?;
        if let Some(VerifiedAssertion { jti, expires }) = assertion {
            let key = format!("client-assertion {id} {jti}");
            let claim = self
                .storage
                .claim_once(&self.hasher.hash(&key), expires)
                .await?;
            if claim == Claim::Seen {
                return Err(ClientAuthError::AssertionReplayed);
            }
        }
        RequestNotes::note_client(client.id.as_str());
        Ok(AuthenticatedClient(client))
    }

    /// What is remembered of a client lets it in, and never turns it away.
    async fn check_known_or_read(
        &self,
        id: &ClientId,
        presented: &Presented,
    ) -> Result<(Arc<Client>, Option<VerifiedAssertion>), ClientAuthError> {
        if let Some(known) = self.known_clients.get(id)
            && let Ok(assertion) = self.check(&known, &presented.credential).await
        {
            return Ok((known, assertion));
        }
        let client = self.read_client(id).await?;
        let client = client.ok_or(ClientAuthError::Unknown)?;
        let assertion = self.check(&client, &presented.credential).await?;
        Ok((client, assertion))
    }

    /// The client, as it was read a moment ago or is read now.
    pub async fn known_client(&self, id: &ClientId) -> Result<Option<Arc<Client>>, StorageError> {
        match self.known_clients.get(id) {
            Some(known) => Ok(Some(known)),
            None => self.read_client(id).await,
        }
    }

    /// The client as the database or its document has it, remembered for a moment.
    pub(crate) async fn read_client(
        &self,
        id: &ClientId,
    ) -> Result<Option<Arc<Client>>, StorageError> {
        let read_at = Instant::now();
        let kept = self.storage.client(id).await?;
        let client = self.client_documents.current(id, kept, self.clock.now());
        let client = client.map(Arc::new);
        if let Some(client) = &client {
            self.known_clients.remember(client, read_at);
        }
        Ok(client)
    }

    async fn check(
        &self,
        client: &Client,
        credential: &Credential,
    ) -> Result<Option<VerifiedAssertion>, ClientAuthError> {
        let settings = &client.settings;
        match (credential, &client.secret_hash) {
            (Credential::Nothing, _) if !client.is_confidential() => Ok(None),
            (Credential::Secret { secret, method }, Some(expected)) => {
                // Comparison of keyed hashes, in constant time: no prefix of the secret shows in it.
                if self.hasher.hash(secret) != *expected {
                    return Err(ClientAuthError::WrongSecret(client.id.clone()));
                }
                if settings.auth_method_pinned && settings.auth_method != *method {
                    return Err(ClientAuthError::Pinned(settings.auth_method.as_str()));
                }
                Ok(None)
            }
            (Credential::Assertion(assertion), _)
                if settings.auth_method == ClientAuthMethod::PrivateKeyJwt =>
            {
                self.check_assertion(client, assertion).await.map(Some)
            }
            (used, _) => Err(ClientAuthError::WrongMethod {
                registered: settings.auth_method.as_str(),
                used: used.method().as_str(),
            }),
        }
    }

    /// The audience is the issuer; outside FAPI 2.0 also the token endpoint, which is what
    /// OpenID Connect Core §9 asked clients for.
    async fn check_assertion(
        &self,
        client: &Client,
        assertion: &UnverifiedJws,
    ) -> Result<VerifiedAssertion, ClientAuthError> {
        let header = assertion.header();
        let fapi2 = client.settings.security_profile == SecurityProfile::Fapi2;
        let alg = header.alg;
        if !assertion_algs(client.settings.security_profile).contains(&alg) {
            return Err(ClientAuthError::AssertionAlg(alg));
        }
        let keys = self.assertion_keys(client, header.kid.as_deref(), alg);
        let keys = keys.await?;
        let issuer = self.issuer.as_str();
        let token_endpoint = self.issuer.url(TOKEN_ENDPOINT);
        let audiences: &[&str] = if fapi2 {
            &[issuer]
        } else {
            &[issuer, &token_endpoint]
        };
        let expected = Expected {
            client_id: client.id.as_str(),
            audiences,
            audience_in_array: !fapi2,
            now: self.clock.now(),
        };
        verify_with_any(assertion, &keys, alg, &expected)
    }

    /// The keys of the client that may have signed an assertion with this `kid` and `alg`.
    async fn assertion_keys(
        &self,
        client: &Client,
        kid: Option<&str>,
        alg: Alg,
    ) -> Result<Vec<PublicJwk>, ClientAuthError> {
        match &client.settings.keys {
            Some(ClientKeys::Registered(keys)) => {
                Ok(keys.candidates(kid, alg).into_iter().cloned().collect())
            }
            Some(ClientKeys::At(uri)) => {
                let now = self.clock.now();
                Ok(self.client_key_sets.candidates(uri, kid, alg, now).await?)
            }
            None => Ok(Vec::new()),
        }
    }
}

/// Verifies the assertion with the one of `keys` that signed it.
fn verify_with_any(
    assertion: &UnverifiedJws,
    keys: &[PublicJwk],
    alg: Alg,
    expected: &Expected<'_>,
) -> Result<VerifiedAssertion, ClientAuthError> {
    let mut refusal = ClientAuthError::NoKey { alg };
    for key in keys {
        match client_assertion::verify(assertion.clone(), key, alg, expected) {
            Err(error @ AssertionError::Jws(JwsError::Signature)) => refusal = error.into(),
            verified => return Ok(verified?),
        }
    }
    Err(refusal)
}

fn present(authorization: Option<&str>, params: &Params) -> Result<Presented, ClientAuthError> {
    let basic = authorization.and_then(basic_credential);
    let in_body = params.get("client_secret");
    let assertion = assertion(params)?;
    let methods = [basic.is_some(), in_body.is_some(), assertion.is_some()];
    if methods.iter().filter(|used| **used).count() > 1 {
        return Err(ClientAuthError::TwoMethods);
    }
    let named = params.get("client_id");
    if let Some(assertion) = assertion {
        let client_id = claimed_client(&assertion).map_err(ClientAuthError::Unreadable)?;
        // RFC 7521 §4.2: "it MUST identify the same client".
        if named.is_some_and(|named| named != client_id) {
            return Err(ClientAuthError::TwoClients);
        }
        return Ok(Presented {
            client_id,
            credential: Credential::Assertion(Box::new(assertion)),
        });
    }
    if let Some(credential) = basic {
        let (client_id, secret) =
            decode_basic(credential).ok_or(ClientAuthError::MalformedBasic)?;
        if named.is_some_and(|named| named != client_id) {
            return Err(ClientAuthError::TwoClients);
        }
        return Ok(Presented {
            client_id,
            credential: Credential::Secret {
                secret,
                method: ClientAuthMethod::SecretBasic,
            },
        });
    }
    Ok(Presented {
        client_id: named.ok_or(ClientAuthError::Missing)?.to_owned(),
        credential: match in_body {
            Some(secret) => Credential::Secret {
                secret: secret.to_owned(),
                method: ClientAuthMethod::SecretPost,
            },
            None => Credential::Nothing,
        },
    })
}

/// The assertion of a request (RFC 7521 §4.2), if there is one.
fn assertion(params: &Params) -> Result<Option<UnverifiedJws>, ClientAuthError> {
    match (
        params.get("client_assertion"),
        params.get("client_assertion_type"),
    ) {
        (None, None) => Ok(None),
        (Some(assertion), Some(ASSERTION_TYPE)) => UnverifiedJws::parse(assertion)
            .map(Some)
            .map_err(ClientAuthError::Unreadable),
        _ => Err(ClientAuthError::AssertionType),
    }
}

/// The credential of a Basic header; the scheme's case does not matter (RFC 9110 §11.1).
fn basic_credential(header: &str) -> Option<&str> {
    let (scheme, credential) = header.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("basic")
        .then(|| credential.trim())
}

/// RFC 6749 §2.3.1: both halves are form-encoded before they are joined and encoded.
fn decode_basic(credential: &str) -> Option<(String, String)> {
    let joined = String::from_utf8(STANDARD.decode(credential).ok()?).ok()?;
    let (id, secret) = joined.split_once(':')?;
    Some((form_decode(id)?, form_decode(secret)?))
}

fn form_decode(encoded: &str) -> Option<String> {
    let spaced = encoded.replace('+', " ");
    percent_encoding::percent_decode_str(&spaced)
        .decode_utf8()
        .ok()
        .map(std::borrow::Cow::into_owned)
}
