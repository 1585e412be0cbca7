//! The OAuth client towards PDSs (<https://atproto.com/specs/oauth>): pushed authorization
//! requests, PKCE, `DPoP` with nonces, client assertions, refresh and revocation.

mod callback;
mod exchange;
mod identity;
mod pkce;
mod refresh;
mod sign_in;
mod token;

pub use callback::{Callback, CallbackError};
pub use exchange::ExchangeError;
pub use identity::{ClientIdentity, SessionKeys};
pub use refresh::{RefreshError, UpstreamCredentials};
pub use sign_in::{PushedRequest, SignInError, SignedIn, StartedSignIn};
pub use token::{TokenRefusal, TokenSet};

#[cfg(test)]
mod tests;
