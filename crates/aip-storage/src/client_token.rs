//! The access tokens that clients get for themselves (`client_credentials`, RFC 6749 §4.4).
//!
//! They are for no account, and have neither a grant nor a refresh token. They are of a kind of
//! their own, which is written in the token, so that nobody looks for them among those of people.

use aip_atproto::ScopeSet;
use aip_base::Timestamp;
use aip_keys::TokenHash;
use async_trait::async_trait;

use crate::StorageError;
use crate::client::ClientId;
use crate::resource_uri::ResourceList;

/// An access token of a client itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientToken {
    /// Whose it is.
    pub client_id: ClientId,
    /// What it may do.
    pub scope: ScopeSet,
    /// The resource servers that it is for; none: AIP alone.
    pub audience: ResourceList,
    /// The thumbprint of the DPoP key that it is bound to; `None` for a Bearer token.
    pub dpop_jkt: Option<String>,
    /// When it was issued.
    pub issued_at: Timestamp,
    /// When it expires.
    pub expires_at: Timestamp,
}

/// The tokens of clients themselves.
#[async_trait]
pub trait ClientTokens: Send + Sync {
    /// Stores a token, in one statement.
    async fn put_client_token(
        &self,
        hash: &TokenHash,
        token: &ClientToken,
    ) -> Result<(), StorageError>;

    /// The token of that hash, if it lives and its client is there, the same since it was issued.
    async fn client_token(
        &self,
        hash: &TokenHash,
        now: Timestamp,
    ) -> Result<Option<ClientToken>, StorageError>;

    /// Deletes a token. `false`: not there, or another client's.
    async fn revoke_client_token(
        &self,
        hash: &TokenHash,
        client: &ClientId,
    ) -> Result<bool, StorageError>;
}
