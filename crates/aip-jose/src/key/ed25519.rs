//! Public keys of Ed25519 (RFC 8032 §5.1.5, RFC 8037 §2).

use aws_lc_rs::signature::{ED25519, ParsedPublicKey};

use super::verifying::NotAKey;

/// The bit of the last byte that is the sign of x, and no part of y.
const SIGN_OF_X: u8 = 0x80;

/// The y coordinates, little-endian, of the points whose order is at most 8, each in every encoding
/// that is read as it. Whoever has such a key can make one signature that verifies for nearly any
/// message, and AWS-LC 0.47 takes the key, as RFC 8032 lets it. The list is that of libsodium
/// (`ge25519_has_small_order`).
const SMALL_ORDER: [[u8; 32]; 7] = [
    [0; 32],
    with_ends(0x01, 0x00, 0x00),
    [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98,
        0xf0, 0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53,
        0xfc, 0x05,
    ],
    [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67,
        0x0f, 0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac,
        0x03, 0x7a,
    ],
    with_ends(0xec, 0xff, 0x7f),
    with_ends(0xed, 0xff, 0x7f),
    with_ends(0xee, 0xff, 0x7f),
];

/// A number of which all bytes but the first and the last are `middle`.
const fn with_ends(first: u8, middle: u8, last: u8) -> [u8; 32] {
    let mut bytes = [middle; 32];
    bytes[0] = first;
    bytes[31] = last;
    bytes
}

/// A public key. Whether it is a point of the curve shows when it verifies: of one that is none, no
/// signature does.
pub(super) fn parse(x: &[u8; 32]) -> Result<ParsedPublicKey, NotAKey> {
    let mut y = *x;
    y[31] &= !SIGN_OF_X;
    if SMALL_ORDER.contains(&y) {
        return Err(NotAKey);
    }
    ParsedPublicKey::new(&ED25519, x).map_err(|_| NotAKey)
}
