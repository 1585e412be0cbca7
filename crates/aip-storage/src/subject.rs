//! Subjects as clients name them (OpenID Connect Core §8).

use std::fmt;
use std::str::FromStr;

use aip_atproto::Did;
use aip_keys::PairwiseSubject;

/// Whom a client means by a `sub`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// An account, by its DID.
    Account(Did),
    /// An account that the client knows by an identifier of its sector.
    Pairwise(PairwiseSubject),
}

/// The text is neither a DID nor a pairwise identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a subject is a DID, or 43 characters of base64url")]
pub struct InvalidSubject;

impl FromStr for Subject {
    type Err = InvalidSubject;

    fn from_str(text: &str) -> Result<Self, InvalidSubject> {
        if let Ok(did) = Did::parse(text) {
            return Ok(Self::Account(did));
        }
        text.parse().map(Self::Pairwise).map_err(|_| InvalidSubject)
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Account(did) => f.write_str(did.as_str()),
            Self::Pairwise(subject) => f.write_str(subject.as_str()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_is_a_did_or_a_pairwise_identifier() {
        let pairwise = "A".repeat(43);
        for good in [
            "did:plc:ewvi7nxzyoun6zhxrhs64oiz",
            "did:web:a.example",
            &pairwise,
        ] {
            assert_eq!(good.parse::<Subject>().unwrap().to_string(), good);
        }
        // Of the last one, two bits are no part of the bytes.
        let (short, long) = ("A".repeat(42), "A".repeat(44));
        let loose = format!("{}B", "A".repeat(42));
        for bad in ["", "alice.example", "did:plc:", &short, &long, &loose] {
            assert!(bad.parse::<Subject>().is_err(), "{bad}");
        }
    }
}
