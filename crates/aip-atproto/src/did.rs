//! DIDs of the two methods that the AT Protocol blesses (<https://atproto.com/specs/did>).

use std::sync::Arc;

use crate::hostname::{self, HostnameError};
use crate::text::text_type;

/// The longest DID (<https://atproto.com/specs/did#at-protocol-did-identifier-syntax>).
const MAX_LEN: usize = 2048;
/// The length of the identifier behind `did:plc:`.
const PLC_LEN: usize = 24;

/// An account's or a service's DID, `did:plc:…` or `did:web:…`: the key of an identity.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Did(Arc<str>);

/// How a DID is resolved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DidMethod {
    /// `did:plc`: asked of a PLC directory.
    Plc,
    /// `did:web`: fetched from the host in the DID.
    Web,
}

impl DidMethod {
    /// Its name in the DID.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Plc => "plc",
            Self::Web => "web",
        }
    }
}

/// Why a text is not a DID that this server accepts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DidError {
    /// More than 2048 characters.
    #[error("a DID has at most {MAX_LEN} characters")]
    TooLong,
    /// It does not start with `did:`.
    #[error("a DID starts with `did:`")]
    NotADid,
    /// A method other than `plc` and `web`.
    #[error("the AT Protocol uses `did:plc` and `did:web` only")]
    Method,
    /// The identifier of a `did:plc` is malformed.
    #[error("`did:plc:` is followed by {PLC_LEN} characters out of a-z and 2-7")]
    Plc,
    /// The host of a `did:web` is malformed.
    #[error("`did:web:` is followed by a host name: {0}")]
    WebHost(#[from] HostnameError),
    /// Upper-case letters in the host of a `did:web`, which would give one identity two keys.
    #[error("the host of a `did:web` is written in lower case")]
    WebCase,
    /// A `did:web` with a path.
    #[error("a `did:web` of the AT Protocol is a host without a path")]
    WebPath,
    /// A `did:web` with a port on a host other than `localhost`, or a malformed port.
    #[error("only `did:web:localhost` may carry a port, written `%3A` and 1 to 65535")]
    WebPort,
}

impl Did {
    /// Parses a DID: `did:plc:` with 24 base32 characters, or `did:web:` with a lower-case host.
    pub fn parse(text: &str) -> Result<Self, DidError> {
        if text.len() > MAX_LEN {
            return Err(DidError::TooLong);
        }
        let rest = text.strip_prefix("did:").ok_or(DidError::NotADid)?;
        match rest.split_once(':') {
            Some(("plc", id)) => check_plc(id)?,
            Some(("web", host)) => check_web(host)?,
            _ => return Err(DidError::Method),
        }
        Ok(Self(text.into()))
    }

    /// The DID as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The DID as written, to be kept: nothing is copied.
    pub fn shared(&self) -> Arc<str> {
        Arc::clone(&self.0)
    }

    /// The method, which says how to resolve it.
    pub fn method(&self) -> DidMethod {
        if self.0.starts_with("did:plc:") {
            DidMethod::Plc
        } else {
            DidMethod::Web
        }
    }

    /// The host of a `did:web`, with the port where there is one (`localhost:2583`).
    pub fn web_host(&self) -> Option<String> {
        self.0
            .strip_prefix("did:web:")
            .map(|host| host.replace("%3A", ":"))
    }
}

text_type!(Did, DidError);

fn check_plc(id: &str) -> Result<(), DidError> {
    let base32 = id.bytes().all(|b| matches!(b, b'a'..=b'z' | b'2'..=b'7'));
    if base32 && id.len() == PLC_LEN {
        Ok(())
    } else {
        Err(DidError::Plc)
    }
}

fn check_web(host: &str) -> Result<(), DidError> {
    if host.contains([':', '/']) {
        return Err(DidError::WebPath);
    }
    if let Some((name, port)) = host.split_once('%') {
        // "%3A" stands for the colon; `u16::from_str` alone would also accept "+80" and "007".
        let port = port.strip_prefix("3A").ok_or(DidError::WebPort)?;
        let number: u16 = port.parse().map_err(|_| DidError::WebPort)?;
        if name != "localhost" || number == 0 || number.to_string() != port {
            return Err(DidError::WebPort);
        }
        return Ok(());
    }
    if host == "localhost" {
        return Ok(());
    }
    hostname::check(host)?;
    if host.bytes().any(|b| b.is_ascii_uppercase()) {
        return Err(DidError::WebCase);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_methods_are_distinguished_and_only_web_has_a_host() {
        let plc = Did::parse("did:plc:7iza6de2dwap2sbkpav7c6c6").unwrap();
        assert_eq!((plc.method(), plc.web_host()), (DidMethod::Plc, None));
        assert_eq!(plc.method().as_str(), "plc");
        let web = Did::parse("did:web:example.com").unwrap();
        assert_eq!(
            (web.method(), web.web_host()),
            (DidMethod::Web, Some("example.com".into()))
        );
        let local = Did::parse("did:web:localhost%3A2583").unwrap();
        assert_eq!(local.web_host().as_deref(), Some("localhost:2583"));
    }

    #[test]
    fn other_methods_and_web_paths_are_refused_with_their_reason() {
        let refused = [
            (
                "did:key:zQ3shZc2QzApp2oymGvQbzP8eKheVshBHbU4ZYjeXqwSKEn6N",
                DidError::Method,
            ),
            ("did:web:example.com:users:alice", DidError::WebPath),
            ("did:web:example.com/alice", DidError::WebPath),
            ("did:web:example.com%3A8443", DidError::WebPort),
            ("did:web:example.com%2Falice", DidError::WebPort),
            ("did:web:localhost%3A0", DidError::WebPort),
            ("did:web:localhost%3A080", DidError::WebPort),
            ("did:web:localhost%3A+80", DidError::WebPort),
            ("did:web:localhost%3a80", DidError::WebPort),
            ("did:web:Example.com", DidError::WebCase),
            (
                "did:web:127.0.0.1",
                DidError::WebHost(HostnameError::NumericTld),
            ),
            ("did:web:intranet", DidError::WebHost(HostnameError::NoDot)),
            ("did:plc:7iza6de2dwap2sbkpav7c6c", DidError::Plc),
            ("did:plc:7iza6de2dwap2sbkpav7c6c1", DidError::Plc),
            ("did:plc:7IZA6DE2DWAP2SBKPAV7C6C6", DidError::Plc),
            ("DID:plc:7iza6de2dwap2sbkpav7c6c6", DidError::NotADid),
        ];
        for (text, why) in refused {
            assert_eq!(Did::parse(text), Err(why), "{text}");
        }
        let long = format!("did:web:{}.com", "a".repeat(MAX_LEN));
        assert_eq!(Did::parse(&long), Err(DidError::TooLong));
    }
}
