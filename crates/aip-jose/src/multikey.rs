//! Multikeys: the multibase form of keys in DID documents and `did:key`
//! (AT Protocol "Cryptography", W3C Controlled Identifiers §2.2.2).
//!
//! `z` + base58btc(multicodec prefix ‖ compressed point).

use zeroize::Zeroizing;

use crate::Alg;
use crate::key::{Curve, Material, VerifyingKey};

/// Why a text is not the multikey of a supported key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MultikeyError {
    /// Not base58btc multibase of a sensible length.
    #[error("not a base58btc multikey")]
    Malformed,
    /// Another kind of key.
    #[error("neither a P-256 nor a secp256k1 key")]
    Unsupported,
    /// The bytes are not a point of the curve.
    #[error("not a point of the curve")]
    NotAKey,
}

/// The multicodec prefixes of a curve.
struct Codec {
    curve: Curve,
    public: [u8; 2],
    private: [u8; 2],
}

const CODECS: [Codec; 2] = [
    Codec {
        curve: Curve::P256,
        public: [0x80, 0x24],
        private: [0x86, 0x26],
    },
    Codec {
        curve: Curve::Secp256k1,
        public: [0xe7, 0x01],
        private: [0x81, 0x26],
    },
];

/// A multikey of 35 bytes has at most 48 digits; base58 costs the square of its length.
const MAX_DIGITS: usize = 64;

const ALPHABET: &[u8; 58] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";

pub(crate) fn parse(multikey: &str) -> Result<VerifyingKey, MultikeyError> {
    let bytes = multikey
        .strip_prefix('z')
        .and_then(decode_base58)
        .ok_or(MultikeyError::Malformed)?;
    let (prefix, point) = bytes.split_at_checked(2).ok_or(MultikeyError::Malformed)?;
    let codec = CODECS
        .iter()
        .find(|codec| codec.public == prefix)
        .ok_or(MultikeyError::Unsupported)?;
    // Only the compressed form, so that a key has one multikey.
    if point.len() != 33 {
        return Err(MultikeyError::Malformed);
    }
    VerifyingKey::from_sec1(codec.curve, point).map_err(|_| MultikeyError::NotAKey)
}

pub(crate) fn format(key: &VerifyingKey) -> Option<String> {
    let Material::Ec { curve, x, y } = key.material() else {
        return None;
    };
    let codec = CODECS.iter().find(|codec| codec.curve == *curve)?;
    let sign = 2 + (y[31] & 1);
    Some(format!(
        "z{}",
        encode_base58(&[&codec.public[..], &[sign], x].concat())
    ))
}

pub(crate) fn private_did_key(alg: Alg, scalar: &[u8]) -> Option<String> {
    let codec = CODECS.iter().find(|codec| codec.curve.alg() == alg)?;
    let bytes = Zeroizing::new([&codec.private[..], scalar].concat());
    Some(format!("did:key:z{}", encode_base58(&bytes)))
}

/// The private number in the private `did:key` of a P-256 key.
pub(crate) fn p256_scalar(did: &str) -> Result<Zeroizing<[u8; 32]>, MultikeyError> {
    let digits = did.strip_prefix("did:key:z");
    let bytes = digits
        .and_then(decode_base58)
        .ok_or(MultikeyError::Malformed)?;
    let bytes = Zeroizing::new(bytes);
    let (prefix, scalar) = bytes.split_at_checked(2).ok_or(MultikeyError::Malformed)?;
    let is_p256 = |codec: &Codec| codec.curve == Curve::P256 && codec.private == prefix;
    if !CODECS.iter().any(is_p256) {
        return Err(MultikeyError::Unsupported);
    }
    let scalar = scalar.try_into().map_err(|_| MultikeyError::Malformed)?;
    Ok(Zeroizing::new(scalar))
}

fn encode_base58(bytes: &[u8]) -> String {
    let mut digits: Zeroizing<Vec<u8>> = Zeroizing::default();
    for byte in bytes {
        let mut carry = u32::from(*byte);
        for digit in digits.iter_mut() {
            carry += u32::from(*digit) << 8;
            *digit = (carry % 58).to_le_bytes()[0];
            carry /= 58;
        }
        while carry > 0 {
            digits.push((carry % 58).to_le_bytes()[0]);
            carry /= 58;
        }
    }
    let zeros = bytes.iter().take_while(|byte| **byte == 0).map(|_| 0);
    zeros
        .chain(digits.iter().rev().copied())
        .filter_map(|digit| ALPHABET.get(usize::from(digit)))
        .map(|letter| char::from(*letter))
        .collect()
}

fn decode_base58(text: &str) -> Option<Vec<u8>> {
    if text.len() > MAX_DIGITS {
        return None;
    }
    // Of a private key: erased when it grows, too.
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_DIGITS));
    for letter in text.bytes() {
        let digit = ALPHABET.iter().position(|known| *known == letter)?;
        let mut carry = u32::try_from(digit).ok()?;
        for byte in bytes.iter_mut() {
            carry += u32::from(*byte) * 58;
            *byte = carry.to_le_bytes()[0];
            carry >>= 8;
        }
        while carry > 0 {
            bytes.push(carry.to_le_bytes()[0]);
            carry >>= 8;
        }
    }
    let zeros = text
        .bytes()
        .take_while(|letter| *letter == ALPHABET[0])
        .map(|_| 0);
    Some(zeros.chain(bytes.iter().rev().copied()).collect())
}
