//! `DPoP` at a PDS (RFC 9449, AT Protocol OAuth): a proof with a nonce of this server, used once.

use std::time::Duration;

use aip_base::lock;
use aip_jose::{Thumbprint, dpop};

use super::error::ProofRefusal;
use super::inner::Inner;
use super::nonce::Nonces;
use crate::stage::request::Received;

/// How old a proof may be, and how far ahead its clock.
const MAX_AGE: Duration = Duration::from_mins(3);
const MAX_SKEW: Duration = Duration::from_secs(30);

impl Inner {
    /// The key that the request's proof shows possession of. `origin` is this server's public
    /// one: proofs are made for it, whatever host was called.
    pub(crate) fn check_proof(
        &self,
        nonces: &Nonces,
        origin: &str,
        request: &Received,
        access_token: Option<&str>,
    ) -> Result<Thumbprint, ProofRefusal> {
        let proof = request.header("dpop").ok_or(ProofRefusal::Missing)?;
        let now = self.clock.now();
        let htu = format!("{origin}{}", request.path);
        let expected = dpop::Expected {
            htm: request.method.as_str(),
            htu: &htu,
            now,
            max_age: MAX_AGE,
            max_skew: MAX_SKEW,
            access_token,
        };
        let verified = dpop::verify(proof, &expected)
            .map_err(|error| ProofRefusal::Invalid(error.to_string()))?;
        if !verified
            .nonce
            .is_some_and(|nonce| nonces.accepts(&nonce, now))
        {
            return Err(ProofRefusal::NonceDemanded);
        }
        if !lock(&self.used_proofs).spend(&verified.jti, now) {
            return Err(ProofRefusal::Replayed);
        }
        Ok(verified.jkt)
    }
}
