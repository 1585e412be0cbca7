//! The JWTs a PDS makes for itself (HS256). They are opaque to everybody else.

use aip_base::Rng;
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

/// The secret of one PDS.
pub(crate) struct TokenSecret(hmac::Key);

/// The `typ` of a token, which keeps the kinds apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TokenType {
    Access,
    Refresh,
}

impl TokenType {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Access => "at+jwt",
            Self::Refresh => "refresh+jwt",
        }
    }
}

impl TokenSecret {
    pub(crate) fn new(rng: &dyn Rng) -> Self {
        let mut secret = [0; 32];
        rng.fill(&mut secret);
        Self(hmac::Key::new(hmac::HMAC_SHA256, &secret))
    }

    pub(crate) fn sign(&self, kind: TokenType, claims: &impl Serialize) -> String {
        let header = json!({ "typ": kind.as_str(), "alg": "HS256" }).to_string();
        let claims = serde_json::to_vec(claims).unwrap_or_default();
        let signed = format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(header),
            URL_SAFE_NO_PAD.encode(claims)
        );
        let tag = hmac::sign(&self.0, signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag))
    }

    /// The claims of `token`, when this PDS made it and it is of this kind.
    pub(crate) fn verify<T: DeserializeOwned>(&self, kind: TokenType, token: &str) -> Option<T> {
        let (signed, tag) = token.rsplit_once('.')?;
        let tag = URL_SAFE_NO_PAD.decode(tag).ok()?;
        hmac::verify(&self.0, signed.as_bytes(), &tag).ok()?;
        let (header, claims) = signed.split_once('.')?;
        let header: serde_json::Value =
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).ok()?).ok()?;
        if header["typ"] != kind.as_str() {
            return None;
        }
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()
    }
}

#[cfg(test)]
mod tests {
    use aip_base::SystemRng;
    use serde_json::Value;

    use super::*;

    #[test]
    fn a_token_is_accepted_by_its_maker_as_its_kind_only() {
        let (secret, other) = (TokenSecret::new(&SystemRng), TokenSecret::new(&SystemRng));
        let token = secret.sign(TokenType::Access, &json!({ "sub": "did:web:a.test" }));
        let claims: Value = secret.verify(TokenType::Access, &token).unwrap();
        assert_eq!(claims["sub"], "did:web:a.test");
        assert!(secret.verify::<Value>(TokenType::Refresh, &token).is_none());
        assert!(other.verify::<Value>(TokenType::Access, &token).is_none());
        assert!(secret.verify::<Value>(TokenType::Access, "a.b.c").is_none());
    }
}
