//! What a person types to say who they are: a handle, a DID, or the URL of their server.

use aip_atproto::{AtIdentifier, AtIdentifierError, Origin, OriginError};

/// Who wants to sign in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SubjectInput {
    /// An account, by handle or DID.
    Account(AtIdentifier),
    /// Some account of this PDS or authorization server.
    Server(Origin),
}

/// Why the input is none of them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubjectInputError {
    /// It looks like a URL and is not the URL of a server.
    #[error("this is not the address of a server: {0}")]
    Server(#[from] OriginError),
    /// It is neither a handle nor a DID.
    #[error(transparent)]
    Account(#[from] AtIdentifierError),
}

impl SubjectInput {
    /// Parses what was typed or pasted.
    pub fn parse(input: &str) -> Result<Self, SubjectInputError> {
        let trimmed = input.trim();
        if trimmed.starts_with("https://") || trimmed.starts_with("http://") {
            return Ok(Self::Server(Origin::parse(trimmed)?));
        }
        Ok(Self::Account(AtIdentifier::from_user_input(input)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handles_dids_and_servers_are_distinguished() {
        for (input, expected) in [
            (
                " @Alice.Example.com ",
                "Account(Handle(Handle(\"alice.example.com\")))",
            ),
            (
                "did:web:example.com",
                "Account(Did(Did(\"did:web:example.com\")))",
            ),
        ] {
            assert_eq!(
                format!("{:?}", SubjectInput::parse(input).unwrap()),
                expected
            );
        }
        let server = SubjectInput::parse("https://pds.example.com/\n").unwrap();
        assert_eq!(
            server,
            SubjectInput::Server(Origin::parse("https://pds.example.com").unwrap())
        );
        for input in [
            "",
            "alice",
            "did:key:z6Mk",
            "https://pds.example.com/path",
            "ftp://x.org",
        ] {
            assert!(SubjectInput::parse(input).is_err(), "{input}");
        }
    }
}
