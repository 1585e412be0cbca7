//! Namespaced identifiers: the names of record types and methods (<https://atproto.com/specs/nsid>).

use crate::hostname;
use crate::text::text_type;

/// The longest NSID.
const MAX_LEN: usize = 317;
/// The longest domain authority, that is everything before the last dot.
const MAX_AUTHORITY: usize = 253;
/// The longest name, the part behind the last dot.
const MAX_NAME: usize = 63;

/// A namespaced identifier like `app.bsky.feed.post`, compared as written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nsid(String);

/// Why a text is not an NSID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NsidError {
    /// More than 317 characters, or more than 253 before the name.
    #[error("an NSID has at most {MAX_LEN} characters, {MAX_AUTHORITY} of them before the name")]
    TooLong,
    /// Fewer than three segments.
    #[error("an NSID has at least three parts, like `app.bsky.actor`")]
    Segments,
    /// A segment of the reversed domain name is malformed.
    #[error("an NSID starts with a domain name in reverse order, like `app.bsky`")]
    Authority,
    /// The last segment is malformed.
    #[error("an NSID ends in a name of 1 to {MAX_NAME} letters and digits, a letter first")]
    Name,
}

impl Nsid {
    /// Parses an NSID.
    pub fn parse(text: &str) -> Result<Self, NsidError> {
        if text.len() > MAX_LEN {
            return Err(NsidError::TooLong);
        }
        let (authority, name) = text.rsplit_once('.').ok_or(NsidError::Segments)?;
        if authority.len() > MAX_AUTHORITY {
            return Err(NsidError::TooLong);
        }
        if !authority.contains('.') {
            return Err(NsidError::Segments);
        }
        if authority
            .split('.')
            .any(|segment| hostname::check_label(segment).is_err())
            || authority.starts_with(|c: char| c.is_ascii_digit())
        {
            return Err(NsidError::Authority);
        }
        if name.len() > MAX_NAME
            || !name.starts_with(|c: char| c.is_ascii_alphabetic())
            || !name.bytes().all(|b| b.is_ascii_alphanumeric())
        {
            return Err(NsidError::Name);
        }
        Ok(Self(text.to_owned()))
    }

    /// The NSID as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Everything before the last dot: the reversed domain name, `app.bsky.feed`.
    pub fn authority(&self) -> &str {
        self.0
            .rsplit_once('.')
            .map_or("", |(authority, _)| authority)
    }

    /// Everything behind the last dot: `post`.
    pub fn name(&self) -> &str {
        self.0.rsplit_once('.').map_or("", |(_, name)| name)
    }

    /// Whether this NSID lies in the group `group` (`app.bsky`) or below it. Domain names have no
    /// case, so neither has the comparison.
    pub fn is_within(&self, group: &str) -> bool {
        let authority = self.authority();
        match authority.get(..group.len()) {
            Some(start) if start.eq_ignore_ascii_case(group) => {
                matches!(authority.as_bytes().get(group.len()), None | Some(b'.'))
            }
            _ => false,
        }
    }
}

text_type!(Nsid, NsidError);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_nsid_lies_within_its_own_group_and_those_above() {
        let nsid = Nsid::parse("chat.bsky.convo.getLog").unwrap();
        assert_eq!(
            (nsid.authority(), nsid.name()),
            ("chat.bsky.convo", "getLog")
        );
        for group in ["chat.bsky.convo", "chat.bsky", "chat", "Chat.Bsky"] {
            assert!(nsid.is_within(group), "{group}");
        }
        for group in [
            "chat.bsk",
            "chat.bsky.convo.getLog",
            "chat.bsky.con",
            "app.bsky",
        ] {
            assert!(!nsid.is_within(group), "{group}");
        }
    }
}
