//! Redirect URIs: text that is one, whoever wrote it. Which of them a client may register is
//! decided in `aip-oauth`.

use std::fmt;
use std::str::FromStr;

use url::{Host, Url};

use crate::error::uri_excerpt;

/// Longer ones do not survive every browser and proxy.
const MAX_LENGTH: usize = 2000;

/// Where an app receives its answer. Kept exactly as registered: comparison is by bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RedirectUri {
    text: String,
    target: RedirectTarget,
}

/// What a redirect URI leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RedirectTarget {
    /// A host by `https`.
    Https,
    /// This machine by `http` (RFC 8252 §7.3).
    Loopback,
    /// A program, by a private-use scheme (RFC 8252 §7.1).
    Program,
}

/// Why a text is not a redirect URI.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RedirectUriError {
    /// Not an absolute URI in canonical form.
    #[error("{0:?} is not an absolute URI of at most {MAX_LENGTH} visible characters")]
    NotAbsolute(String),
    /// RFC 6749 §3.1.2: "The endpoint URI MUST NOT include a fragment component".
    #[error("{0:?} has a fragment, which a redirect URI must not have")]
    Fragment(String),
    /// Credentials in a URL end in logs.
    #[error("{0:?} has a user name or password in it")]
    Credentials(String),
    /// Comparison is exact, so a pattern would match nothing.
    #[error("{0:?} has a `*` in it: redirect URIs are compared as they are, register each one")]
    Wildcard(String),
    /// A path that a server may read in another way than we do.
    #[error("{0:?} has dot segments or a backslash in it")]
    Ambiguous(String),
    /// A scheme that no client, or not this kind of client, may use.
    #[error(
        "{0:?}: web clients use https; native clients also http on 127.0.0.1, [::1] or localhost, and schemes with a dot such as com.example.app:/callback"
    )]
    Scheme(String),
}

impl RedirectUri {
    /// The URI, byte for byte as registered or sent.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What it leads to.
    pub fn target(&self) -> RedirectTarget {
        self.target
    }
}

impl fmt::Display for RedirectUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for RedirectUri {
    type Err = RedirectUriError;

    fn from_str(uri: &str) -> Result<Self, RedirectUriError> {
        let visible = uri.len() <= MAX_LENGTH && uri.bytes().all(|b| b.is_ascii_graphic());
        let url = Url::parse(uri).ok().filter(|_| visible);
        let url = url.ok_or_else(|| RedirectUriError::NotAbsolute(uri_excerpt(uri)))?;
        let (authority, path) = split(uri);
        if uri.contains('#') {
            return Err(RedirectUriError::Fragment(uri_excerpt(uri)));
        }
        if uri.contains('*') {
            return Err(RedirectUriError::Wildcard(uri_excerpt(uri)));
        }
        if !url.username().is_empty() || url.password().is_some() || authority.contains('@') {
            return Err(RedirectUriError::Credentials(uri_excerpt(uri)));
        }
        let mut segments = path.split('/');
        if uri.contains('\\') || segments.any(|segment| matches!(segment, "." | "..")) {
            return Err(RedirectUriError::Ambiguous(uri_excerpt(uri)));
        }
        let target = match url.scheme() {
            "https" if url.host().is_some() => RedirectTarget::Https,
            "http" if is_loopback(&url) => RedirectTarget::Loopback,
            // RFC 8252 §7.1: a private-use scheme is a reversed domain name, so it has a dot.
            scheme if scheme.contains('.') => RedirectTarget::Program,
            _ => return Err(RedirectUriError::Scheme(uri_excerpt(uri))),
        };
        Ok(Self {
            text: uri.to_owned(),
            target,
        })
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

/// The authority, up to the path or query, and all up to the query but scheme and slashes.
fn split(uri: &str) -> (&str, &str) {
    let (authority, rest) = match uri.split_once("://") {
        Some((_, rest)) => (rest.split(['/', '?']).next().unwrap_or(rest), rest),
        None => ("", uri),
    };
    (authority, rest.split('?').next().unwrap_or(rest))
}
