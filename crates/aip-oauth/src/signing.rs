//! What AIP signs towards apps: ID tokens, access tokens that are JWTs, and signed answers. Each with
//! the key of the algorithm that the client is registered with. Their types tell them apart, except
//! for an ID token and signed userinfo, which are both `JWT`: of the two only an ID token has `exp`.

use aip_jose::{Alg, SignError, sign_jwt};
use aip_storage::client::IdTokenAlg;
use serde::Serialize;

use crate::AuthorizationServer;

/// What AIP may sign towards apps with, in the order of its metadata.
const SIGNING_ALGS: [IdTokenAlg; 3] = [IdTokenAlg::Rs256, IdTokenAlg::Es256, IdTokenAlg::EdDsa];

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
    /// What AIP signs towards apps with at present, as its metadata tells: the algorithms that an
    /// active key is there for.
    pub fn signing_algs(&self) -> Vec<IdTokenAlg> {
        let keys = self.keys.current();
        let signs = |alg: &IdTokenAlg| keys.oidc(alg_of(*alg)).is_some();
        SIGNING_ALGS.into_iter().filter(signs).collect()
    }

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
        IdTokenAlg::EdDsa => Alg::EdDsa,
    }
}
