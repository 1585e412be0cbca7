//! Proof Key for Code Exchange, S256 only (RFC 7636, OAuth 2.1 §4.1.1).

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// The characters of a verifier and of base64url: RFC 7636 §4.1 `unreserved`.
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// Whether this can be the S256 challenge of a verifier: the base64url of 32 bytes.
pub fn is_challenge(challenge: &str) -> bool {
    challenge.len() == 43
        && URL_SAFE_NO_PAD
            .decode(challenge)
            .is_ok_and(|bytes| bytes.len() == 32)
}

/// The S256 transform of a well-formed verifier (RFC 7636 §4.1, §4.2); `None` if it is not one.
pub fn s256(verifier: &str) -> Option<String> {
    let well_formed = (43..=128).contains(&verifier.len()) && verifier.bytes().all(is_unreserved);
    well_formed.then(|| URL_SAFE_NO_PAD.encode(digest(&SHA256, verifier.as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_transform_agrees_with_the_example_of_rfc_7636_appendix_b() {
        let challenge = s256("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk");
        assert_eq!(
            challenge.as_deref(),
            Some("E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM")
        );
        assert!(is_challenge("E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"));
    }

    #[test]
    fn short_long_and_strange_verifiers_are_no_verifiers() {
        for bad in ["a".repeat(42), "a".repeat(129), "a".repeat(42) + "="] {
            assert_eq!(s256(&bad), None, "{bad}");
        }
        for bad in [
            String::new(),
            "a".repeat(42),
            "a".repeat(44),
            "+".repeat(43),
        ] {
            assert!(!is_challenge(&bad), "{bad}");
        }
    }
}
