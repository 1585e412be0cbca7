//! What AIP signs towards apps: ID tokens, access tokens that are JWTs, and signed answers. Each with
//! the key of the algorithm that the client is registered with. Their types tell them apart, except
//! for an ID token and signed userinfo, which are both `JWT`: of the two only an ID token has `exp`.

use aip_jose::{Alg, SignError, sign_jwt};
use aip_storage::client::IdTokenAlg;
use serde::Serialize;

use crate::AuthorizationServer;

/// What AIP signs towards apps with, as its metadata tells.
pub const SIGNING_ALGS: &[IdTokenAlg] = &[IdTokenAlg::Rs256, IdTokenAlg::Es256];

/// Why nothing could be signed. Both are our fault.
#[derive(Debug, thiserror::Error)]
pub enum SigningError {
    /// The key set has no key of the client's algorithm.
    #[error("there is no {0} key towards apps in the key set")]
    NoKey(&'static str),
    /// Signing failed.
    #[error(transparent)]
    Sign(#[from] SignError),
}

impl AuthorizationServer {
    /// Signs `claims` as a token of type `typ` with the key of `alg`.
    pub(crate) fn sign(
        &self,
        alg: IdTokenAlg,
        typ: &str,
        claims: &impl Serialize,
    ) -> Result<String, SigningError> {
        let keys = self.keys.current();
        let key = keys.oidc(alg_of(alg));
        let key = key.ok_or(SigningError::NoKey(alg.as_str()))?;
        Ok(sign_jwt(key, typ, claims)?)
    }
}

/// The signature algorithm that a client is registered with.
pub(crate) fn alg_of(alg: IdTokenAlg) -> Alg {
    match alg {
        IdTokenAlg::Es256 => Alg::Es256,
        IdTokenAlg::Rs256 => Alg::Rs256,
    }
}
