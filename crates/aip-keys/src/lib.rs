//! AIP's own keys and what is done with them.
//!
//! * [`KeySet`]: the private keys that AIP signs with, each for one purpose, in one state;
//! * [`KeyRing`]: the key set of a running process, replaced when its source has changed;
//! * [`MasterKeys`]: the keys that protect the database: a [`Sealer`] for what must be read
//!   again, a [`TokenHasher`] for what must only be recognised;
//! * [`TokenKind`]: the tokens and secrets that AIP hands out, with prefix and checksum.
//!
//! No file is read or written here: keys come and go as JSON texts.

mod hash;
mod key_ring;
mod key_set;
mod master;
mod pairwise;
mod seal;
mod token;

pub use hash::{TokenHash, TokenHasher, secrets_equal};
pub use key_ring::{KeyRing, ReplaceError};
pub use key_set::{
    KeyInfo, KeySet, KeySetError, KeyState, KeyTimes, Purpose, RotationPolicy, RotationStep,
};
pub use master::{MasterKeys, MasterKeysError};
pub use pairwise::{NoPairwiseSubject, PairwiseSubject};
pub use seal::{Aad, SealError, Sealed, Sealer};
pub use token::{PresentedToken, TokenKind, TokenShapeError, has_v2_form};
