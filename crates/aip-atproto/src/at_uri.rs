//! `at://` URIs in the restricted form that lexicons use
//! (<https://atproto.com/specs/at-uri-scheme#restricted-at-uri-syntax>).

use crate::at_identifier::{AtIdentifier, AtIdentifierError};
use crate::nsid::{Nsid, NsidError};
use crate::text::text_type;

/// The longest URI.
const MAX_LEN: usize = 8192;
/// The longest record key (<https://atproto.com/specs/record-key>).
const MAX_RECORD_KEY: usize = 512;

/// A reference to an account, a collection or a record. A handle in it is in lower case.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AtUri {
    text: String,
    authority: AtIdentifier,
    collection: Option<Nsid>,
    record_key: Option<String>,
}

/// Why a text is not such a URI.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AtUriError {
    /// More than 8 KiB.
    #[error("an AT URI has at most {MAX_LEN} characters")]
    TooLong,
    /// It does not start with `at://`.
    #[error("an AT URI starts with `at://`")]
    Scheme,
    /// The account is neither a DID nor a handle.
    #[error("the account of an AT URI: {0}")]
    Authority(#[from] AtIdentifierError),
    /// The collection is no NSID.
    #[error("the collection of an AT URI: {0}")]
    Collection(#[from] NsidError),
    /// The record key is malformed.
    #[error(
        "a record key has 1 to {MAX_RECORD_KEY} characters out of letters, digits and `-._~:`, and is not `.` or `..`"
    )]
    RecordKey,
    /// There is something behind the record key.
    #[error("an AT URI ends with the record key")]
    Trailing,
}

impl AtUri {
    /// Parses `at://ACCOUNT[/COLLECTION[/RECORD-KEY]]`, without query, fragment or trailing slash.
    pub fn parse(text: &str) -> Result<Self, AtUriError> {
        if text.len() > MAX_LEN {
            return Err(AtUriError::TooLong);
        }
        let rest = text.strip_prefix("at://").ok_or(AtUriError::Scheme)?;
        let mut parts = rest.split('/');
        let authority = AtIdentifier::parse(parts.next().unwrap_or_default())?;
        let collection = parts.next().map(Nsid::parse).transpose()?;
        let record_key = parts.next().map(check_record_key).transpose()?;
        if parts.next().is_some() {
            return Err(AtUriError::Trailing);
        }
        let mut text = format!("at://{authority}");
        for part in [collection.as_ref().map(Nsid::as_str), record_key]
            .into_iter()
            .flatten()
        {
            text.push('/');
            text.push_str(part);
        }
        let record_key = record_key.map(str::to_owned);
        Ok(Self {
            text,
            authority,
            collection,
            record_key,
        })
    }

    /// The whole URI.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The account.
    pub fn authority(&self) -> &AtIdentifier {
        &self.authority
    }

    /// The record type, where one is named.
    pub fn collection(&self) -> Option<&Nsid> {
        self.collection.as_ref()
    }

    /// The record key, where one is named.
    pub fn record_key(&self) -> Option<&str> {
        self.record_key.as_deref()
    }
}

text_type!(AtUri, AtUriError);

fn check_record_key(key: &str) -> Result<&str, AtUriError> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~:".contains(&b);
    let fits = (1..=MAX_RECORD_KEY).contains(&key.len()) && key.bytes().all(plain);
    if fits && key != "." && key != ".." {
        Ok(key)
    } else {
        Err(AtUriError::RecordKey)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_a_uri_are_typed() {
        let uri = AtUri::parse("at://Alice.Test/app.bsky.feed.post/3k2a").unwrap();
        assert_eq!(uri.to_string(), "at://alice.test/app.bsky.feed.post/3k2a");
        assert_eq!(uri.authority().as_str(), "alice.test");
        assert_eq!(uri.collection().unwrap().name(), "post");
        assert_eq!(uri.record_key(), Some("3k2a"));
    }

    #[test]
    fn lengths_are_bounded() {
        let record = |n: usize| format!("at://alice.test/app.bsky.feed.post/{}", "o".repeat(n));
        assert!(AtUri::parse(&record(MAX_RECORD_KEY)).is_ok());
        assert_eq!(
            AtUri::parse(&record(MAX_RECORD_KEY + 1)),
            Err(AtUriError::RecordKey)
        );
        assert_eq!(AtUri::parse(&record(8200)), Err(AtUriError::TooLong));
    }
}
