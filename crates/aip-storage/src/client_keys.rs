//! The public keys of clients (RFC 7591 §2): registered, or read from where the client keeps them.

use std::fmt;
use std::str::FromStr;

use aip_jose::JwkSet;

use crate::checked_uri::{MAX_URL_BYTES, https_url_of_document};
use crate::error::uri_excerpt;

/// Where the keys of a client are found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientKeys {
    /// In its registration (`jwks`).
    Registered(JwkSet),
    /// At an address of its own (`jwks_uri`).
    At(JwksUri),
}

/// The address of a client's key set: an absolute `https` URL that names its host. Whether the host
/// is a public one is known when it is asked (`aip-outbound`).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct JwksUri(String);

/// Not such an address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the address of a key set is an https URL of at most {MAX_URL_BYTES} visible characters, with the name of a host, without user, password and fragment; {0:?} is not"
)]
pub struct JwksUriError(String);

impl JwksUri {
    /// The address, as registered.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for JwksUri {
    type Err = JwksUriError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match https_url_of_document(text) {
            Some(_) => Ok(Self(text.to_owned())),
            None => Err(JwksUriError(uri_excerpt(text))),
        }
    }
}

impl fmt::Display for JwksUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_of_a_key_set_is_https_and_names_a_host() {
        let good = "https://app.example/keys.json?tenant=1";
        assert_eq!(good.parse::<JwksUri>().unwrap().as_str(), good);
        for bad in [
            "http://app.example/keys.json",
            "https://127.0.0.1/keys.json",
            "https://[::1]/keys.json",
            "https://2130706433/keys.json",
            "https://me@app.example/keys.json",
            "https://:x@app.example/keys.json",
            "https://app.example/keys.json#x",
            "javascript:alert(1)",
            "file:///etc/passwd",
            "keys.json",
            "",
        ] {
            assert!(bad.parse::<JwksUri>().is_err(), "{bad}");
        }
        let long = format!("https://app.example/{}", "x".repeat(MAX_URL_BYTES));
        assert!(long.parse::<JwksUri>().is_err());
    }
}
