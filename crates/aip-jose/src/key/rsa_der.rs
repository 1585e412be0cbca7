//! Reads the numbers of an RSA private key out of PKCS #8 (RFC 5958 §2, RFC 8017 A.1.2).
//!
//! The crypto library hands a generated key out only in this form, and a private JWK
//! (RFC 7518 §6.3.2) needs the numbers one by one. Only DER that the library itself has just
//! written is read here.

use zeroize::Zeroizing;

const INTEGER: u8 = 0x02;
const OCTET_STRING: u8 = 0x04;
const SEQUENCE: u8 = 0x30;

/// The numbers of an RSA key, big-endian without leading zeros.
pub(super) struct RsaNumbers {
    pub(super) n: Vec<u8>,
    pub(super) e: Vec<u8>,
    pub(super) d: Zeroizing<Vec<u8>>,
    pub(super) p: Zeroizing<Vec<u8>>,
    pub(super) q: Zeroizing<Vec<u8>>,
    pub(super) dp: Zeroizing<Vec<u8>>,
    pub(super) dq: Zeroizing<Vec<u8>>,
    pub(super) qi: Zeroizing<Vec<u8>>,
}

/// Takes a PKCS #8 document apart; `None` if it is not one of a two-prime RSA key.
pub(super) fn parse_pkcs8(der: &[u8]) -> Option<RsaNumbers> {
    let (private_key_info, _) = take(SEQUENCE, der)?;
    let (_version, rest) = take(INTEGER, private_key_info)?;
    let (_algorithm, rest) = take(SEQUENCE, rest)?;
    let (private_key, _) = take(OCTET_STRING, rest)?;
    let (rsa_private_key, _) = take(SEQUENCE, private_key)?;
    let (_version, mut rest) = take(INTEGER, rsa_private_key)?;
    let mut number = || {
        let (bytes, after) = take(INTEGER, rest)?;
        rest = after;
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        Some(bytes.get(zeros..)?.to_vec())
    };
    Some(RsaNumbers {
        n: number()?,
        e: number()?,
        d: number()?.into(),
        p: number()?.into(),
        q: number()?.into(),
        dp: number()?.into(),
        dq: number()?.into(),
        qi: number()?.into(),
    })
}

/// Splits the contents of the element tagged `tag` from what follows it (X.690 §8.1).
fn take(tag: u8, der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (found, rest) = der.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = if *first < 0x80 {
        (usize::from(*first), rest)
    } else {
        let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
        if bytes.len() > 4 {
            return None;
        }
        (
            bytes
                .iter()
                .fold(0, |sum, byte| sum << 8 | usize::from(*byte)),
            rest,
        )
    };
    (*found == tag).then(|| rest.split_at_checked(length))?
}
