//! PKCE with S256 (RFC 7636): a new verifier for every sign-in.

use aip_base::{Rng, random_token};
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::SecretString;

/// A verifier of 43 characters, the least that RFC 7636 §4.1 allows, with 256 bits in them.
pub(super) fn verifier(rng: &dyn Rng) -> SecretString {
    random_token::<32>(rng).into()
}

/// The S256 challenge of `verifier` (RFC 7636 §4.2).
pub(super) fn challenge(verifier: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest(&SHA256, verifier.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_rfc_7636_appendix_b() {
        let challenge = challenge("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk");
        assert_eq!(challenge, "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
    }
}
