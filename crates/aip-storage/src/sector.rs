//! Sectors of clients with pairwise subjects (OpenID Connect Core §8.1): the clients of one sector know
//! a person by the same identifier.

use std::fmt;
use std::str::FromStr;

use url::{Host, Url};

use crate::checked_uri::{MAX_URL_BYTES, https_url_of_document};
use crate::client::{RedirectTarget, RedirectUri};
use crate::error::uri_excerpt;

/// The identifier of a sector: a host in lower case, without port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SectorId(String);

/// Which sector a client is of. What it is written as is a host, or an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sector {
    /// The host of all its https redirect URIs.
    Host(SectorId),
    /// The host of a document that lists its redirect URIs.
    Document(SectorUri),
}

/// The address of such a document (`sector_identifier_uri`): an `https` URL that names its host. Whether
/// the host is a public one is known when it is asked (`aip-outbound`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SectorUri {
    text: String,
    host: SectorId,
}

/// Why a text is no sector.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SectorError {
    /// Not the address of a document.
    #[error(
        "a sector identifier URI is an https URL of at most {MAX_URL_BYTES} visible characters, with the name of a host, without user, password and fragment; {0:?} is not"
    )]
    Uri(String),
    /// Not a host.
    #[error("{0:?} is no host in lower case")]
    Host(String),
}

impl SectorId {
    /// The host.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SectorId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for SectorId {
    type Err = SectorError;

    fn from_str(text: &str) -> Result<Self, SectorError> {
        match Host::parse(text) {
            Ok(host) if host.to_string() == text => Ok(Self(text.to_owned())),
            _ => Err(SectorError::Host(uri_excerpt(text))),
        }
    }
}

impl Sector {
    /// What the subjects of its clients follow from.
    pub fn id(&self) -> &SectorId {
        match self {
            Self::Host(host) => host,
            Self::Document(uri) => &uri.host,
        }
    }

    /// The address of its document, if it has one.
    pub fn document(&self) -> Option<&SectorUri> {
        match self {
            Self::Host(_) => None,
            Self::Document(uri) => Some(uri),
        }
    }

    /// The one host of all these redirect URIs. `None`: there are none, or more hosts than one, or some
    /// lead to a program or to the person's own machine, which are no site of anybody's.
    pub fn of_redirects(uris: &[RedirectUri]) -> Option<Self> {
        let mut hosts = uris.iter().map(|uri| {
            let url = Url::parse(uri.as_str()).ok()?;
            let host = url
                .host_str()
                .filter(|_| uri.target() == RedirectTarget::Https);
            host.map(str::to_owned)
        });
        let first = hosts.next()??;
        hosts
            .all(|host| host.as_ref() == Some(&first))
            .then_some(Self::Host(SectorId(first)))
    }
}

impl SectorUri {
    /// The address, as registered.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for SectorUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for SectorUri {
    type Err = SectorError;

    fn from_str(text: &str) -> Result<Self, SectorError> {
        match https_url_of_document(text) {
            Some((_, host)) => Ok(Self {
                text: text.to_owned(),
                host: SectorId(host),
            }),
            None => Err(SectorError::Uri(uri_excerpt(text))),
        }
    }
}

impl fmt::Display for Sector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(host) => host.fmt(f),
            Self::Document(uri) => uri.fmt(f),
        }
    }
}

impl FromStr for Sector {
    type Err = SectorError;

    fn from_str(text: &str) -> Result<Self, SectorError> {
        if text.contains("://") {
            return text.parse().map(Self::Document);
        }
        text.parse().map(Self::Host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sector_is_read_as_it_was_written() {
        for (text, identifier) in [
            ("app.example", "app.example"),
            ("192.0.2.1", "192.0.2.1"),
            ("https://APP.example:8443/sector.json", "app.example"),
        ] {
            let sector: Sector = text.parse().unwrap();
            assert_eq!(sector.id().as_str(), identifier);
            assert_eq!(sector.to_string(), text);
        }
        let long = format!("https://app.example/{}", "x".repeat(MAX_URL_BYTES));
        for bad in [
            "",
            "APP.example",
            "app.example:443",
            "app.example/x",
            "http://app.example/sector.json",
            "https://127.0.0.1/sector.json",
            "https://me@app.example/sector.json",
            "https://app.example/sector.json#x",
            "file:///etc/passwd",
            &long,
        ] {
            assert!(bad.parse::<Sector>().is_err(), "{bad}");
        }
    }

    #[test]
    fn redirect_uris_of_one_host_have_a_sector() {
        let of = |uris: &[&str]| {
            let uris: Vec<RedirectUri> = uris.iter().map(|it| it.parse().unwrap()).collect();
            Sector::of_redirects(&uris).map(|it| it.to_string())
        };
        let one = of(&["https://app.example/a", "https://app.example:8443/b"]);
        assert_eq!(one.as_deref(), Some("app.example"));
        for none in [
            &[][..],
            &["https://app.example/a", "https://other.example/a"],
            &["https://app.example/a", "http://127.0.0.1/b"],
            &["http://127.0.0.1/b"],
            &["com.example.app:/cb"],
        ] {
            assert_eq!(of(none), None, "{none:?}");
        }
    }
}
