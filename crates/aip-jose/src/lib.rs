//! JSON Web Keys, signatures and tokens (RFC 7515, 7517, 7518, 7519, 7638), DPoP proofs
//! (RFC 9449), client assertions (RFC 7523), service tokens and multikeys of the AT Protocol.
//!
//! Pure: no clock is read (`now` is an argument) and nothing is stored. Whoever verifies a proof
//! or an assertion here still has to spend its `jti` and to judge its nonce.
//!
//! Three rules hold everywhere: a key has exactly one algorithm and the header of a token never
//! chooses it; what is public ([`PublicJwk`]) cannot hold a private member; a size is checked
//! before anything is decoded.

pub mod client_assertion;
pub mod dpop;
pub mod service_token;

mod alg;
mod claims;
mod json;
mod jwk;
mod jws;
mod key;
mod multikey;

pub use alg::{Alg, UnknownAlg};
pub use claims::{Audience, NumericDate};
pub use json::JsonError;
pub use jwk::{InvalidThumbprint, JwkError, JwkSet, PublicJwk, Thumbprint};
pub use jws::{JwsError, JwsHeader, UnverifiedJws, VerifiedJws, sign_jwt, sign_with_jwk_header};
pub use key::{KeyError, SignError, SignatureError, SigningKey, VerifyingKey};
pub use multikey::MultikeyError;
