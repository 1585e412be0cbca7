//! Client authentication at the token, revocation and introspection endpoints (RFC 6749 §2.3).
//!
//! A client with a secret may present it by Basic or in the body, as its library does, unless the
//! operator pinned one of the two. Unknown clients and wrong secrets look the same from outside,
//! and nothing is spent before this succeeded.

use std::sync::Arc;

use aip_base::RequestNotes;
use aip_storage::StorageError;
use aip_storage::client::{Client, ClientAuthMethod, ClientId};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::time::Instant;

use crate::AuthorizationServer;
use crate::dpop::{ProofError, ProvenKey, Target};
use crate::params::Params;

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

/// Why a client is refused. Outside it is always `invalid_client`; the detail is for the log.
#[derive(Debug, thiserror::Error)]
pub enum ClientAuthError {
    /// There is no `client_id` and no Basic credential.
    #[error("the request does not name a client")]
    Missing,
    /// The Basic credential cannot be decoded.
    #[error("the Basic credential is malformed")]
    MalformedBasic,
    /// Two methods at once (RFC 6749 §2.3).
    #[error("the client used more than one authentication method")]
    TwoMethods,
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
    /// Our fault.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// What a request presents. The secret is borrowed from the request and goes no further than the
/// hash below.
struct Presented {
    client_id: String,
    secret: Option<String>,
    method: ClientAuthMethod,
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
            Some(proof) => Some(self.check_proof(proof, request.target, None).await?),
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
        let known = self.known_clients.get(&id);
        let known = known.filter(|it| self.check(it, &presented).is_ok());
        let client = if let Some(client) = known {
            client
        } else {
            let client = self.read_client(&id).await?;
            let client = client.ok_or(ClientAuthError::Unknown)?;
            self.check(&client, &presented)?;
            client
        };
        RequestNotes::note_client(client.id.as_str());
        Ok(AuthenticatedClient(client))
    }

    /// The client as the database has it, remembered for a moment.
    pub(crate) async fn read_client(
        &self,
        id: &ClientId,
    ) -> Result<Option<Arc<Client>>, StorageError> {
        let read_at = Instant::now();
        let client = self.storage.client(id).await?.map(Arc::new);
        if let Some(client) = &client {
            self.known_clients.remember(client, read_at);
        }
        Ok(client)
    }

    fn check(&self, client: &Client, presented: &Presented) -> Result<(), ClientAuthError> {
        if client.is_confidential() != (presented.method != ClientAuthMethod::None) {
            return Err(ClientAuthError::WrongMethod {
                registered: client.auth_method.as_str(),
                used: presented.method.as_str(),
            });
        }
        match (&client.secret_hash, &presented.secret) {
            // Comparison of keyed hashes, in constant time: no prefix of the secret shows in it.
            (Some(expected), Some(secret)) if self.hasher.hash(secret) == *expected => {
                if client.auth_method_pinned && client.auth_method != presented.method {
                    return Err(ClientAuthError::Pinned(client.auth_method.as_str()));
                }
                Ok(())
            }
            (None, None) => Ok(()),
            _ => Err(ClientAuthError::WrongSecret(client.id.clone())),
        }
    }
}

fn present(authorization: Option<&str>, params: &Params) -> Result<Presented, ClientAuthError> {
    let in_body = params.get("client_secret");
    if let Some(credential) = authorization.and_then(basic_credential) {
        if in_body.is_some() {
            return Err(ClientAuthError::TwoMethods);
        }
        let (client_id, secret) =
            decode_basic(credential).ok_or(ClientAuthError::MalformedBasic)?;
        if params
            .get("client_id")
            .is_some_and(|in_body| in_body != client_id)
        {
            return Err(ClientAuthError::TwoMethods);
        }
        return Ok(Presented {
            client_id,
            secret: Some(secret),
            method: ClientAuthMethod::SecretBasic,
        });
    }
    let client_id = params
        .get("client_id")
        .ok_or(ClientAuthError::Missing)?
        .to_owned();
    Ok(match in_body {
        Some(secret) => Presented {
            client_id,
            secret: Some(secret.to_owned()),
            method: ClientAuthMethod::SecretPost,
        },
        None => Presented {
            client_id,
            secret: None,
            method: ClientAuthMethod::None,
        },
    })
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
