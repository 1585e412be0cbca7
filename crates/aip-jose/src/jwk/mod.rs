//! JSON Web Keys, the public ones (RFC 7517).

mod public;
mod raw;
mod set;
mod thumbprint;

pub use public::PublicJwk;
pub use raw::JwkError;
pub use set::JwkSet;
pub use thumbprint::{InvalidThumbprint, Thumbprint};

pub(crate) use public::RequiredMembers;
pub(crate) use raw::{MemberPresence, RawJwk};
