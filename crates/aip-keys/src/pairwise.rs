//! Pairwise subject identifiers (OpenID Connect Core §8.1): what the clients of one sector know an
//! account by. Those of two sectors cannot be told to be of one account, and none leads back to it.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// The identifier: 32 bytes in base64url without padding, 43 characters. It is made by
/// [`TokenHasher::pairwise_subject`](crate::TokenHasher::pairwise_subject), or was sent by a client.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PairwiseSubject(String);

/// Not of the form of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a pairwise subject has 43 characters of base64url")]
pub struct NoPairwiseSubject;

impl PairwiseSubject {
    pub(crate) fn of(bytes: &[u8; 32]) -> Self {
        Self(URL_SAFE_NO_PAD.encode(bytes))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PairwiseSubject {
    type Err = NoPairwiseSubject;

    fn from_str(text: &str) -> Result<Self, NoPairwiseSubject> {
        let bytes = (text.len() == 43).then(|| URL_SAFE_NO_PAD.decode(text).ok());
        let bytes: Option<[u8; 32]> = bytes.flatten().and_then(|it| it.try_into().ok());
        bytes.as_ref().map(Self::of).ok_or(NoPairwiseSubject)
    }
}

impl fmt::Display for PairwiseSubject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
