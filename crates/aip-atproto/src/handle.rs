//! Handles: host names that stand for an account (<https://atproto.com/specs/handle>).

use crate::hostname::{self, HostnameError};
use crate::text::text_type;
use crate::user_input;

/// Top-level domains that are never resolved
/// (<https://atproto.com/specs/handle#additional-non-syntax-restrictions>).
const UNRESOLVABLE: [&str; 8] = [
    "alt",
    "arpa",
    "example",
    "internal",
    "invalid",
    "local",
    "localhost",
    "onion",
];
/// The top-level domain for tests, resolved in development only.
const DEVELOPMENT: &str = "test";

/// A handle, in lower case. A name for display and for finding an account, never a key: handles
/// move between accounts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Handle(String);

/// Why a text is not a handle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a handle is a domain name, like `alice.bsky.social`: {0}")]
pub struct HandleError(#[from] pub HostnameError);

impl Handle {
    /// Parses a handle in any case. Whether it may be looked up is [`Self::is_resolvable`].
    pub fn parse(text: &str) -> Result<Self, HandleError> {
        hostname::check(text)?;
        Ok(Self(text.to_ascii_lowercase()))
    }

    /// Parses what a person typed: spaces, invisible characters and a leading `@` or `at://` are
    /// removed first.
    pub fn from_user_input(input: &str) -> Result<Self, HandleError> {
        Self::parse(&user_input::clean(input))
    }

    /// The handle, in lower case.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the top-level domain may be looked up; `.test` only in `development`.
    pub fn is_resolvable(&self, development: bool) -> bool {
        let tld = self.0.rsplit('.').next().unwrap_or_default();
        !UNRESOLVABLE.contains(&tld) && (development || tld != DEVELOPMENT)
    }
}

text_type!(Handle, HandleError);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_type_is_cleaned_before_it_is_parsed() {
        let typed = [
            "alice.bsky.social",
            "@alice.bsky.social",
            "at://alice.bsky.social",
            "  Alice.BSKY.Social\n",
            "alice. bsky.social",
            "\u{202a}@alice.bsky.social\u{202c}",
            "\u{feff}alice\u{200b}.bsky.social\u{e0020}",
        ];
        for input in typed {
            assert_eq!(
                Handle::from_user_input(input).unwrap().as_str(),
                "alice.bsky.social"
            );
        }
        for input in [
            "@@alice.test",
            "alice@example.com",
            "@alice",
            "",
            "@",
            "bücher.test",
        ] {
            assert!(Handle::from_user_input(input).is_err(), "{input}");
        }
        assert!(Handle::from_user_input(&" ".repeat(1 << 20)).is_err());
    }

    #[test]
    fn disallowed_top_level_domains_are_not_resolved() {
        for tld in UNRESOLVABLE {
            let handle = Handle::parse(&format!("alice.{}", tld.to_uppercase())).unwrap();
            assert!(!handle.is_resolvable(true), "{handle}");
        }
        let test = Handle::parse("alice.test").unwrap();
        assert!(test.is_resolvable(true) && !test.is_resolvable(false));
        assert!(
            Handle::parse("onion.example.com")
                .unwrap()
                .is_resolvable(false)
        );
    }
}
