//! The addresses that an app shows to people beside its name (RFC 7591 §2): its logo, its terms of
//! service, its privacy policy.

use std::fmt;
use std::str::FromStr;

use crate::checked_uri::{MAX_URL_BYTES, https_url};
use crate::error::uri_excerpt;

/// The addresses of an app, as PDSs get to know them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DisplayUris {
    /// `logo_uri`.
    pub logo: Option<DisplayUri>,
    /// `tos_uri`.
    pub tos: Option<DisplayUri>,
    /// `policy_uri`.
    pub policy: Option<DisplayUri>,
}

/// An absolute `https` URL that names its host: authorization servers refuse client documents with
/// others (<https://atproto.com/specs/oauth#clients>). AIP never opens it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DisplayUri(String);

/// Not such an address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the address of a logo, of terms or of a policy is an https URL of at most {MAX_URL_BYTES} visible characters, with the name of a host, without user and password; {0:?} is not"
)]
pub struct DisplayUriError(String);

impl DisplayUri {
    /// The address, as registered.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for DisplayUri {
    type Err = DisplayUriError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match https_url(text) {
            Some(_) => Ok(Self(text.to_owned())),
            None => Err(DisplayUriError(uri_excerpt(text))),
        }
    }
}

impl fmt::Display for DisplayUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_app_shows_is_at_an_https_url_that_names_a_host() {
        for good in [
            "https://app.example/logo.png",
            "https://app.example/terms?lang=en#privacy",
        ] {
            assert_eq!(good.parse::<DisplayUri>().unwrap().as_str(), good);
        }
        for bad in [
            "http://app.example/logo.png",
            "https://127.0.0.1/logo.png",
            "https://[::1]/logo.png",
            "https://me@app.example/logo.png",
            "https://:x@app.example/logo.png",
            "https://app.example/my logo.png",
            "javascript:alert(1)",
            "data:image/png;base64,AA",
            "logo.png",
            "",
        ] {
            assert!(bad.parse::<DisplayUri>().is_err(), "{bad}");
        }
        let long = format!("https://app.example/{}", "x".repeat(MAX_URL_BYTES));
        assert!(long.parse::<DisplayUri>().is_err());
    }
}
