//! Why somebody could not be resolved.

use aip_atproto::{Did, Handle};

use crate::cache::{ByteSize, Transient};

/// Why a handle or DID could not be resolved.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// The top-level domain of the handle is never looked up.
    #[error("`{0}` ends in a name that is never looked up")]
    HandleNotResolvable(Handle),
    /// Neither DNS nor the host of the handle knows a DID.
    #[error("`{0}` is not set up as a handle: no DNS record `_atproto.{0}`, no DID at its website")]
    HandleNotFound(Handle),
    /// DNS names two different DIDs.
    #[error("the DNS records `_atproto.{0}` name more than one DID")]
    HandleAmbiguous(Handle),
    /// Nobody knows the DID.
    #[error("`{0}` does not exist")]
    DidNotFound(Did),
    /// The DID was given up by its owner.
    #[error("`{0}` was deactivated for good")]
    DidTombstoned(Did),
    /// The document is not one.
    #[error("the DID document of `{did}` is not usable: {reason}")]
    BadDocument {
        /// Whose document it is.
        did: Did,
        /// What is wrong with it.
        reason: String,
    },
    /// The document names no usable PDS.
    #[error("the DID document of `{0}` names no PDS")]
    NoPds(Did),
    /// No answer, or none that could be understood: asking again later may help.
    #[error("`{subject}` could not be resolved now: {reason}")]
    Unavailable {
        /// The handle or DID.
        subject: String,
        /// The last thing that went wrong.
        reason: String,
    },
}

impl ResolveError {
    /// Whether the error may pass by itself.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }
}

impl ByteSize for ResolveError {
    /// The texts of others in it are cut when it is made.
    fn bytes(&self) -> usize {
        512
    }
}

impl Transient for ResolveError {
    fn is_transient(&self) -> bool {
        self.is_transient()
    }
}
