//! The identifiers of resource servers, for which access tokens are asked (RFC 8707).

use std::fmt;
use std::str::FromStr;

use crate::checked_uri::absolute_uri;
use crate::error::uri_excerpt;

/// The longest identifier. With [`MAX_RESOURCES`] of them an access token that is a JWT still fits
/// into a header.
const MAX_LENGTH: usize = 255;

/// The most resource servers that one token is for, or one client may ask tokens for.
pub const MAX_RESOURCES: usize = 8;

/// The identifier of a resource server (RFC 8707 §2): an absolute URI without fragment. Compared as
/// it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResourceUri(String);

/// Resource servers, each once. Its text has a space between two of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ResourceList(Vec<ResourceUri>);

/// Not the identifier of a resource server, or too many of them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResourceUriError {
    /// Something else.
    #[error(
        "{0:?} is not an absolute URI of at most {MAX_LENGTH} visible characters, without fragment, user and password"
    )]
    NotAResource(String),
    /// More than anybody needs.
    #[error("there are more than {MAX_RESOURCES} resources")]
    TooMany,
}

impl ResourceUri {
    /// The identifier, as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ResourceUri {
    type Err = ResourceUriError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match absolute_uri(text, MAX_LENGTH).filter(|uri| uri.fragment().is_none()) {
            Some(_) => Ok(Self(text.to_owned())),
            None => Err(ResourceUriError::NotAResource(uri_excerpt(text))),
        }
    }
}

impl fmt::Display for ResourceUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl ResourceList {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the resource server of that identifier is among them.
    pub fn contains(&self, identifier: &str) -> bool {
        self.0.iter().any(|it| it.as_str() == identifier)
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &ResourceUri> {
        self.0.iter()
    }

    /// The same list without some of it.
    #[must_use]
    pub fn without(&self, taken: &[&ResourceUri]) -> Self {
        let kept = self.iter().filter(|it| !taken.contains(it));
        Self(kept.cloned().collect())
    }

    /// What of it is in `other`, too.
    #[must_use]
    pub fn within(&self, other: &Self) -> Self {
        let kept = self.iter().filter(|it| other.contains(it.as_str()));
        Self(kept.cloned().collect())
    }

    /// The same list, if there is any resource in it.
    pub fn if_any(&self) -> Option<Self> {
        (!self.is_empty()).then(|| self.clone())
    }
}

/// What is named twice counts once.
impl TryFrom<Vec<ResourceUri>> for ResourceList {
    type Error = ResourceUriError;

    fn try_from(uris: Vec<ResourceUri>) -> Result<Self, Self::Error> {
        let mut list = Self::default();
        for uri in uris {
            if !list.contains(uri.as_str()) {
                list.0.push(uri);
            }
        }
        if list.0.len() > MAX_RESOURCES {
            return Err(ResourceUriError::TooMany);
        }
        Ok(list)
    }
}

impl FromStr for ResourceList {
    type Err = ResourceUriError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let words = text.split(' ').filter(|word| !word.is_empty());
        let uris: Result<Vec<ResourceUri>, _> = words.map(str::parse).collect();
        uris?.try_into()
    }
}

impl fmt::Display for ResourceList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<&str> = self.iter().map(ResourceUri::as_str).collect();
        f.write_str(&words.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resource_is_an_absolute_uri_without_fragment() {
        for good in [
            "https://api.example",
            "https://api.example/v1?tenant=a",
            "http://127.0.0.1:3000/",
            "urn:example:photos",
        ] {
            assert_eq!(good.parse::<ResourceUri>().unwrap().as_str(), good);
        }
        let long = format!("https://api.example/{}", "x".repeat(MAX_LENGTH));
        for bad in [
            "",
            "api",
            "/api",
            "//api.example",
            "https://api.example#x",
            "https://api.example#",
            "https://me@api.example",
            "https://me:x@api.example",
            "https://api.example/a b",
            "https://api.example/\u{e4}",
            "https://",
            &long,
        ] {
            assert!(bad.parse::<ResourceUri>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_list_is_read_as_it_was_written_and_names_each_once() {
        let text = "https://a.example urn:b";
        let list: ResourceList = text.parse().unwrap();
        assert_eq!(list.to_string(), text);
        assert!(list.contains("urn:b") && !list.contains("https://a.example/"));
        let twice: ResourceList = "urn:b urn:a urn:b".parse().unwrap();
        assert_eq!(twice.to_string(), "urn:b urn:a");
        assert_eq!("".parse(), Ok(ResourceList::default()));
        let many: Vec<String> = (0..=MAX_RESOURCES).map(|n| format!("urn:{n}")).collect();
        let many: Result<ResourceList, _> = many.join(" ").parse();
        assert_eq!(many, Err(ResourceUriError::TooMany));
        assert!("urn:a nothing".parse::<ResourceList>().is_err());
    }
}
