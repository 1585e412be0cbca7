//! Clients that registered themselves (RFC 7591), how they manage that (RFC 7592), and the initial
//! access tokens with which an operator lets them.

use aip_base::{RowId, Timestamp};
use aip_keys::TokenHash;
use async_trait::async_trait;

use crate::StorageError;
use crate::client::{Client, ClientId};

/// An initial access token (RFC 7591 §1.2), which admits a few registrations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InitialAccessToken {
    /// Its id, by which an operator names it.
    pub id: RowId,
    /// The keyed hash of the token.
    pub token: TokenHash,
    /// How many clients it may still register.
    pub uses_left: u32,
    /// When it was made.
    pub created_at: Timestamp,
    /// Until when it is taken.
    pub expires_at: Timestamp,
}

/// What lets a client register itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admission {
    /// An initial access token, of which this is the hash. The registration spends one use.
    Token(TokenHash),
    /// The operator: anybody may register.
    Open,
}

/// A client that registers itself.
#[derive(Debug, Clone)]
pub struct NewRegistration {
    /// The client.
    pub client: Client,
    /// The keyed hash of its registration access token (RFC 7592 §1.2).
    pub token: TokenHash,
    /// What lets it.
    pub admission: Admission,
    /// How many clients may have registered themselves, with this one.
    pub max_clients: u64,
    /// When it is forgotten unless somebody used it by then.
    pub unused_until: Timestamp,
    /// The present.
    pub now: Timestamp,
}

/// The outcome of a registration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RegisterClient {
    /// It is stored, and one use of the initial access token is spent.
    Registered,
    /// The initial access token is unknown, expired or used up. Nothing changed.
    NotAdmitted,
    /// There are as many clients of this kind as there may be. Nothing changed.
    Full,
    /// The id is taken. Nothing changed.
    Exists,
}

/// A client's change of its own registration.
#[derive(Debug, Clone)]
pub struct ChangedRegistration {
    /// The client as it becomes.
    pub client: Client,
    /// When the client that this change was made from was last changed ([`Client::updated_at`]).
    pub read_at: Timestamp,
    /// Whether `client.secret_hash` takes the place of a secret that is there.
    pub replaces_secret: bool,
    /// Whether people are asked again who allowed the client something.
    pub forgets_consents: bool,
    /// The keyed hash of the registration access token that was presented.
    pub token: TokenHash,
    /// That of the one which takes its place.
    pub next_token: TokenHash,
}

/// The outcome of a client's change of its own registration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeRegistration {
    /// It is changed.
    Changed,
    /// The token that was presented is not the client's (any more). Nothing changed.
    Refused,
    /// Somebody else, such as the operator, has changed the client since it was read. Nothing changed: the
    /// change is to be made anew from what it is now.
    ChangedMeanwhile,
}

/// Clients that registered themselves.
#[async_trait]
pub trait ClientRegistrations: Send + Sync {
    /// Stores an initial access token.
    async fn put_initial_token(&self, token: &InitialAccessToken) -> Result<(), StorageError>;

    /// All initial access tokens that are not forgotten yet, oldest first.
    async fn initial_tokens(&self) -> Result<Vec<InitialAccessToken>, StorageError>;

    /// Whether a registration with that initial access token would be admitted now. It is spent by
    /// [`ClientRegistrations::register_client`] alone.
    async fn admits(&self, token: &TokenHash, now: Timestamp) -> Result<bool, StorageError>;

    /// Takes an initial access token back. `false`: there is none of that id.
    async fn delete_initial_token(&self, id: RowId) -> Result<bool, StorageError>;

    /// Stores a client that registers itself, all or nothing.
    async fn register_client(
        &self,
        registration: &NewRegistration,
    ) -> Result<RegisterClient, StorageError>;

    /// The client of that id, if it registered itself and its registration access token has this
    /// hash.
    async fn own_registration(
        &self,
        id: &ClientId,
        token: &TokenHash,
    ) -> Result<Option<Client>, StorageError>;

    /// Changes a registration and its token, all or nothing.
    async fn change_registration(
        &self,
        change: &ChangedRegistration,
    ) -> Result<ChangeRegistration, StorageError>;

    /// Deletes a client at its own wish, as [`Clients::delete_client`] does. `false`: the token that
    /// was presented is not the client's (any more), and nothing changed.
    ///
    /// [`Clients::delete_client`]: crate::client::Clients::delete_client
    async fn delete_registration(
        &self,
        id: &ClientId,
        token: &TokenHash,
        now: Timestamp,
    ) -> Result<bool, StorageError>;

    /// Deletes up to `batch` clients that registered themselves, whose time came before `now`, and
    /// that nobody ever allowed anything; as [`Clients::delete_client`] does. Those that were used
    /// stay for good. Returns how many were deleted.
    ///
    /// [`Clients::delete_client`]: crate::client::Clients::delete_client
    async fn delete_unused_clients(&self, now: Timestamp, batch: u32) -> Result<u64, StorageError>;

    /// Writes what the document of a client says now, as [`Clients::update_client`] does; with
    /// `forgets_consents` people are asked again who allowed it something. `false`: there is no client
    /// of that id that is known by a document, and nothing changed.
    ///
    /// [`Clients::update_client`]: crate::client::Clients::update_client
    async fn change_document_client(
        &self,
        client: &Client,
        forgets_consents: bool,
    ) -> Result<bool, StorageError>;

    /// Notes until when what the document of a client said last holds, if there is such a client.
    async fn hold_document(&self, id: &ClientId, until: Timestamp) -> Result<(), StorageError>;

    /// Deletes up to `batch` clients that are known by a document, that nobody has allowed anything
    /// since `before`, and that have no grant any more; as [`Clients::delete_client`] does. Returns
    /// how many were deleted.
    ///
    /// [`Clients::delete_client`]: crate::client::Clients::delete_client
    async fn delete_unused_document_clients(
        &self,
        before: Timestamp,
        now: Timestamp,
        batch: u32,
    ) -> Result<u64, StorageError>;
}
