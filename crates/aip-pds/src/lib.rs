//! Towards a PDS: who somebody is (handle, DID, PLC), where they sign in (server metadata), the
//! OAuth client that signs them in and keeps them signed in, and the identity proof.
//!
//! Reading order: [`SubjectInput`] (what a person types) → [`Resolver`] (who that is) →
//! [`PdsClient::discover`] (which authorization server) → [`PdsClient::start_sign_in`] →
//! [`Callback`] → [`PdsClient::complete_sign_in`] (tokens and [`ProvenIdentity`]) →
//! [`PdsClient::refresh`]. [`AppPassword`] is the old way in, [`Origins`] knows which servers are
//! to be left alone.
//!
//! Nothing is stored here: sessions live above, in the keeper; nonces behind [`NonceStore`].
//! Network, time and randomness are handed in.

mod app_password;
mod cache;
mod challenge;
mod client;
mod content_coding;
mod discover;
mod document;
mod input;
mod lifetime;
mod members;
mod metadata;
mod nonce;
mod nonce_tries;
mod oauth;
mod origins;
mod profile;
mod proof;
mod repo_status;
mod request;
mod request_timer;
mod resolve;
mod resource;
mod trace;

#[cfg(test)]
mod testing;

pub use app_password::{AppPassword, NotAnAppPassword, PasswordSessionError};
pub use challenge::{is_nonce_challenge, nonce_of, rejects_token, token_error_descriptions};
pub use client::PdsClient;
pub use content_coding::decoded;
pub use discover::{Destination, DiscoverError};
pub use input::{SubjectInput, SubjectInputError};
pub use lifetime::usable_until;
pub use metadata::{AuthServer, MetadataCheck, MetadataError};
pub use nonce::{MemoryNonces, NonceKey, NonceStore};
pub use nonce_tries::NonceTries;
pub use oauth::{
    Callback, CallbackError, ClientIdentity, ExchangeError, PushedRequest, RefreshError,
    SessionKeys, SignInError, SignedIn, StartedSignIn, TokenRefusal, TokenSet, UpstreamCredentials,
};
pub use origins::{Origins, Paused};
pub use profile::{ProfileError, ProfileRecord};
pub use proof::{ProofError, ProvenIdentity, ProvenPds};
pub use repo_status::{RepoStatus, RepoStatusError};
pub use request::SendError;
pub use resolve::{
    Freshness, HandleMethod, KnownHandle, KnownIdentity, LexiconError, ResolveError, Resolver,
    ResolverConfig, VerifiedIdentity,
};
pub use resource::{AccountEmail, CallAuth, CallHeaders, EmailError, PdsCall};
pub use trace::{Step, Trace};
