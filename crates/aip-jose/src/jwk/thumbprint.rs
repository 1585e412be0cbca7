//! Key thumbprints (RFC 7638), the `jkt` of RFC 9449.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;

use super::RequiredMembers;

/// The SHA-256 thumbprint of a public key, as 43 characters of base64url.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct Thumbprint(String);

/// A text that is no thumbprint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a SHA-256 thumbprint in unpadded base64url")]
pub struct InvalidThumbprint;

impl Thumbprint {
    pub(crate) fn of(members: &RequiredMembers) -> Self {
        // Strings only: this cannot fail, and an empty text would match no key.
        let json = serde_json::to_vec(members).unwrap_or_default();
        Self(URL_SAFE_NO_PAD.encode(digest(&SHA256, &json)))
    }

    /// The thumbprint as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Thumbprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Thumbprint {
    type Err = InvalidThumbprint;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes = URL_SAFE_NO_PAD
            .decode(text)
            .map_err(|_| InvalidThumbprint)?;
        if bytes.len() != 32 {
            return Err(InvalidThumbprint);
        }
        Ok(Self(text.to_owned()))
    }
}
