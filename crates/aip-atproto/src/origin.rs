//! Bare origins: where a PDS lives, and the names of authorization servers
//! (RFC 8414 §2, <https://atproto.com/specs/oauth#authorization-servers>).

use std::sync::Arc;

use url::{Host, Url};

use crate::text::text_type;

/// The longest origin: a host name of 253 characters, scheme and port around it.
const MAX_LEN: usize = 300;

/// A scheme, host and port and nothing else, canonical and without a trailing slash. Whether
/// plain `http` is acceptable is the caller's policy.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin {
    text: Arc<str>,
    https: bool,
    host: Arc<str>,
    port: u16,
}

/// The origin of a PDS, as its accounts' DID documents name it.
pub type PdsUrl = Origin;

/// The issuer identifier of an authorization server: an [`Origin`] that was written in exactly
/// its canonical form, because issuers are compared character by character (RFC 9207 §2.4).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Issuer(Origin);

/// Why a text is not a bare origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OriginError {
    /// More characters than any origin has.
    #[error("an origin has at most {MAX_LEN} characters")]
    TooLong,
    /// A scheme other than `http` and `https`.
    #[error("an origin starts with `https://`")]
    Scheme,
    /// A path, query, fragment, user name or password.
    #[error("an origin is a host and perhaps a port, without path, query or user name")]
    NotBare,
    /// The host or the port is malformed.
    #[error("the host or port is malformed")]
    Host,
    /// An issuer that is not in canonical form.
    #[error("an issuer is written in lower case, without default port or trailing slash")]
    NotCanonical,
}

impl Origin {
    /// Parses an `http(s)` origin; one trailing slash is tolerated and dropped.
    pub fn parse(text: &str) -> Result<Self, OriginError> {
        if text.len() > MAX_LEN {
            return Err(OriginError::TooLong);
        }
        let rest = text
            .strip_prefix("https://")
            .or_else(|| text.strip_prefix("http://"));
        let rest = rest.ok_or(OriginError::Scheme)?;
        let bare = rest.strip_suffix('/').unwrap_or(rest);
        // The URL parser forgives and rewrites a lot (backslashes, percent-encoded hosts, white
        // space, an empty user name); what it would rewrite is refused before.
        if bare.contains(['/', '\\', '?', '#', '@', '%'])
            || !bare.bytes().all(|b| b.is_ascii_graphic())
        {
            return Err(OriginError::NotBare);
        }
        let url = Url::parse(text).map_err(|_| OriginError::Host)?;
        let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else {
            return Err(OriginError::Host);
        };
        if host.is_empty() || port == 0 {
            return Err(OriginError::Host);
        }
        Ok(Self {
            text: url.origin().ascii_serialization().into(),
            https: url.scheme() == "https",
            host: host.into(),
            port,
        })
    }

    /// The canonical text, `https://pds.example.com` or `http://localhost:2583`.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether the scheme is `https`.
    pub fn is_https(&self) -> bool {
        self.https
    }

    /// The host name, or an IP address (IPv6 in brackets).
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port, also where it is the scheme's default.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether the host is `localhost`, a name below it, or a loopback address.
    pub fn is_loopback(&self) -> bool {
        match Host::parse(&self.host) {
            Ok(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
            Ok(Host::Ipv4(address)) => address.is_loopback(),
            Ok(Host::Ipv6(address)) => address.is_loopback(),
            Err(_) => false,
        }
    }

    /// The URL of `path` on this origin.
    pub fn join(&self, path: &str) -> String {
        // A path without its slash must not continue the host name.
        let slash = if path.starts_with('/') { "" } else { "/" };
        format!("{}{slash}{path}", self.text)
    }
}

text_type!(Origin, OriginError);

impl Issuer {
    /// Parses an issuer identifier, which must be in canonical form already.
    pub fn parse(text: &str) -> Result<Self, OriginError> {
        let origin = Origin::parse(text)?;
        if origin.as_str() == text {
            Ok(Self(origin))
        } else {
            Err(OriginError::NotCanonical)
        }
    }

    /// The issuer identifier.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// The origin that the issuer's metadata is fetched from.
    pub fn origin(&self) -> &Origin {
        &self.0
    }
}

text_type!(Issuer, OriginError);

impl From<Origin> for Issuer {
    fn from(origin: Origin) -> Self {
        Self(origin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_canonical() {
        let same = [
            "https://PDS.example.com",
            "https://pds.example.com:443",
            "https://pds.example.com/",
        ];
        for text in same {
            let origin = Origin::parse(text).unwrap();
            assert_eq!(origin.as_str(), "https://pds.example.com");
            assert_eq!(
                (origin.host(), origin.port(), origin.is_https()),
                ("pds.example.com", 443, true)
            );
            assert_eq!(
                Issuer::parse(text),
                Err(OriginError::NotCanonical),
                "{text}"
            );
        }
        let issuer = Issuer::parse("https://pds.example.com").unwrap();
        assert_eq!(
            issuer.origin().join(".evil.example"),
            "https://pds.example.com/.evil.example"
        );
        assert_eq!(
            issuer.origin().join("/xrpc/x"),
            "https://pds.example.com/xrpc/x"
        );
    }

    #[test]
    fn anything_but_an_origin_is_refused() {
        let refused = [
            ("ftp://example.com", OriginError::Scheme),
            ("HTTPS://example.com", OriginError::Scheme),
            ("https:example.com", OriginError::Scheme),
            ("https://example.com/path", OriginError::NotBare),
            ("https://example.com//", OriginError::NotBare),
            ("https://example.com?", OriginError::NotBare),
            ("https://example.com#", OriginError::NotBare),
            ("https://@example.com", OriginError::NotBare),
            ("https://a:b@example.com", OriginError::NotBare),
            ("https://example.com\\@evil.com", OriginError::NotBare),
            ("https://exa%6dple.com", OriginError::NotBare),
            ("https://exam\tple.com", OriginError::NotBare),
            ("https://bücher.example", OriginError::NotBare),
            ("https://", OriginError::Host),
            ("https:///", OriginError::Host),
            ("https:///example.com", OriginError::NotBare),
            ("https://:80", OriginError::Host),
            ("https://example.com:0", OriginError::Host),
            ("https://example.com:99999", OriginError::Host),
            ("https://[::1", OriginError::Host),
        ];
        for (text, why) in refused {
            assert_eq!(Origin::parse(text), Err(why), "{text}");
        }
        assert_eq!(
            Origin::parse(&format!("https://{}", "a".repeat(400))),
            Err(OriginError::TooLong)
        );
    }

    #[test]
    fn loopback_is_recognised_in_every_spelling() {
        let loopback = [
            "http://localhost:2583",
            "http://pds.localhost",
            "http://127.0.0.1",
            "http://127.1:8080",
            "http://[::1]:80",
        ];
        for text in loopback {
            assert!(Origin::parse(text).unwrap().is_loopback(), "{text}");
        }
        for text in [
            "https://example.com",
            "https://localhost.example.com",
            "https://10.0.0.1",
        ] {
            assert!(!Origin::parse(text).unwrap().is_loopback(), "{text}");
        }
    }
}
