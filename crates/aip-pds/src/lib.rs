//! Towards a PDS: who somebody is (handle, DID, PLC), where they sign in (server metadata), the
//! OAuth client that signs them in and keeps them signed in, and the identity proof.
//!
//! Reading order: [`SubjectInput`] (what a person types) → [`Resolver`] (who that is) →
//! [`PdsClient::discover`] (which authorization server) → [`PdsClient::start_sign_in`] →
//! [`Callback`] → [`PdsClient::complete_sign_in`] (tokens and [`ProvenIdentity`]) →
//! [`PdsClient::refresh`].
//!
//! Nothing is stored here: sessions live above, in the keeper; nonces behind [`NonceStore`].
//! Network, time and randomness are handed in.

mod cache;
mod client;
mod discover;
mod document;
mod input;
mod metadata;
mod nonce;
mod oauth;
mod proof;
mod resolve;
mod resource;
mod trace;

#[cfg(test)]
mod testing;

pub use client::PdsClient;
pub use discover::{Destination, DiscoverError};
pub use input::{SubjectInput, SubjectInputError};
pub use metadata::{AuthServer, MetadataCheck, MetadataError};
pub use nonce::{MemoryNonces, NonceKey, NonceStore, ServerRole};
pub use oauth::{
    Callback, CallbackError, ClientIdentity, ExchangeError, REQUEST_DEADLINE, RefreshError,
    SessionKeys, SignInError, SignInRequest, SignedIn, StartedSignIn, TokenRefusal, TokenSet,
    UpstreamCredentials,
};
pub use proof::{ProofError, ProvenIdentity};
pub use resolve::{Freshness, ResolveError, Resolver, ResolverConfig, VerifiedIdentity};
pub use resource::{AccountEmail, DpopHeaders, EmailError, is_nonce_challenge, nonce_of};
pub use trace::{Step, Trace};
