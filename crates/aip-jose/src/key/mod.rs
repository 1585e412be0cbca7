//! Parsed keys: [`SigningKey`] signs, [`VerifyingKey`] verifies. Both know their one algorithm.

mod ed25519;
mod private_jwk;
mod rsa_der;
mod signing;
mod verifying;

pub use signing::{KeyError, SignError, SigningKey};
pub use verifying::{SignatureError, VerifyingKey};

pub(crate) use verifying::{Curve, Material, RsaPadding, has_low_s};
