//! A DID or a handle, as `com.atproto` lexicons and login fields take them
//! (<https://atproto.com/specs/lexicon#at-identifier>).

use crate::did::{Did, DidError};
use crate::handle::{Handle, HandleError};
use crate::text::text_type;
use crate::user_input;

/// A DID or a handle.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AtIdentifier {
    /// A DID.
    Did(Did),
    /// A handle.
    Handle(Handle),
}

/// Why a text is neither. Texts that start with `did:` were meant as DIDs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AtIdentifierError {
    /// It starts with `did:` and is no DID.
    #[error(transparent)]
    Did(#[from] DidError),
    /// It is no handle.
    #[error(transparent)]
    Handle(#[from] HandleError),
}

impl AtIdentifier {
    /// Parses a DID (it starts with `did:`) or else a handle.
    pub fn parse(text: &str) -> Result<Self, AtIdentifierError> {
        if text.starts_with("did:") {
            return Ok(Self::Did(Did::parse(text)?));
        }
        Ok(Self::Handle(Handle::parse(text)?))
    }

    /// Parses what a person typed, cleaned as by [`Handle::from_user_input`].
    pub fn from_user_input(input: &str) -> Result<Self, AtIdentifierError> {
        Self::parse(&user_input::clean(input))
    }

    /// The DID or the handle.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Did(did) => did.as_str(),
            Self::Handle(handle) => handle.as_str(),
        }
    }
}

text_type!(AtIdentifier, AtIdentifierError);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pasted_profile_uri_is_the_account_it_names() {
        let did = AtIdentifier::from_user_input(" at://did:plc:7iza6de2dwap2sbkpav7c6c6").unwrap();
        assert!(matches!(did, AtIdentifier::Did(_)), "{did}");
        let handle = AtIdentifier::from_user_input("at://Alice.Test").unwrap();
        assert_eq!(handle.to_string(), "alice.test");
    }

    #[test]
    fn a_broken_did_is_reported_as_a_did() {
        let error = AtIdentifier::parse("did:plc:short").unwrap_err();
        assert_eq!(error, AtIdentifierError::Did(DidError::Plc));
    }
}
