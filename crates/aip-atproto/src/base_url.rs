//! The address of a server of one's own: an origin, and perhaps a path below which everything is.

use std::sync::Arc;

use crate::origin::{Origin, OriginError};
use crate::text::text_type;

/// The longest path, in bytes.
const MAX_PATH: usize = 100;

/// An origin and perhaps a path, canonical and without a trailing slash:
/// `https://id.example.org` or `https://example.org/sign-in`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseUrl {
    text: Arc<str>,
    origin: Origin,
}

/// Why a text is no such address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BaseUrlError {
    /// What is before the path.
    #[error(transparent)]
    Origin(#[from] OriginError),
    /// A path that is not the same for everybody who writes or reads it.
    #[error(
        "the path of an address has at most {MAX_PATH} letters, digits or `-._~`, with single slashes between, and no `.` or `..`"
    )]
    Path,
}

impl BaseUrl {
    /// Parses an `http(s)` address; one trailing slash is tolerated and dropped.
    pub fn parse(text: &str) -> Result<Self, BaseUrlError> {
        let host_at = text.find("://").map_or(0, |at| at + "://".len());
        let rest = text.get(host_at..).unwrap_or_default();
        let (origin, path) = match rest.find('/') {
            Some(at) => text.split_at(host_at + at),
            None => (text, ""),
        };
        let origin = Origin::parse(origin)?;
        let path = path.strip_suffix('/').unwrap_or(path);
        if path.len() > MAX_PATH || !path.split('/').skip(1).all(is_segment) {
            return Err(BaseUrlError::Path);
        }
        Ok(Self {
            text: format!("{origin}{path}").into(),
            origin,
        })
    }

    /// The canonical text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Scheme, host and port.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The path: empty, or beginning and not ending with a slash.
    pub fn path(&self) -> &str {
        self.text
            .get(self.origin.as_str().len()..)
            .unwrap_or_default()
    }

    /// Whether the scheme is `https`.
    pub fn is_https(&self) -> bool {
        self.origin.is_https()
    }

    /// Whether the host is this machine.
    pub fn is_loopback(&self) -> bool {
        self.origin.is_loopback()
    }

    /// The URL of what is at `path`, which begins with a slash, below this address.
    pub fn join(&self, path: &str) -> String {
        format!("{}{path}", self.text)
    }
}

impl From<Origin> for BaseUrl {
    fn from(origin: Origin) -> Self {
        Self {
            text: origin.as_str().into(),
            origin,
        }
    }
}

text_type!(BaseUrl, BaseUrlError);

fn is_segment(segment: &str) -> bool {
    let is_unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    !matches!(segment, "" | "." | "..") && segment.bytes().all(is_unreserved)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_an_origin_and_perhaps_a_path() {
        for (text, canonical, path) in [
            ("https://id.example.org", "https://id.example.org", ""),
            ("https://ID.example.org:443/", "https://id.example.org", ""),
            ("https://example.org/aip", "https://example.org/aip", "/aip"),
            (
                "https://example.org/Aip/",
                "https://example.org/Aip",
                "/Aip",
            ),
            (
                "http://[::1]:8080/a/b-1.2_3~",
                "http://[::1]:8080/a/b-1.2_3~",
                "/a/b-1.2_3~",
            ),
        ] {
            let base = BaseUrl::parse(text).unwrap();
            assert_eq!((base.as_str(), base.path()), (canonical, path), "{text}");
            assert_eq!(base.join("/x"), format!("{canonical}/x"));
        }
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_no_address() {
        for text in [
            "https://example.org//",
            "https://example.org/a//b",
            "https://example.org/a//",
            "https://example.org/./a",
            "https://example.org/a/..",
            "https://example.org/a%20b",
            "https://example.org/a b",
            "https://example.org/a?x",
            "https://example.org/a#x",
            "https://example.org/a\\b",
            "https://example.org/caf\u{e9}",
            &format!("https://example.org/{}", "a".repeat(MAX_PATH)),
        ] {
            assert_eq!(BaseUrl::parse(text), Err(BaseUrlError::Path), "{text}");
        }
        for text in [
            "example.org/aip",
            "https:///aip",
            "https://me@example.org/aip",
            "https://example.org?x/aip",
            "ftp://example.org/aip",
            "/aip",
            "",
        ] {
            let refused = BaseUrl::parse(text);
            assert!(
                matches!(refused, Err(BaseUrlError::Origin(_))),
                "{text}: {refused:?}"
            );
        }
    }
}
