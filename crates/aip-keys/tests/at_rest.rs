//! What a stolen database, a swapped row or a lost key can and cannot do.

#![allow(
    clippy::unwrap_used,
    reason = "a helper of a test fails it by panicking"
)]

use aip_base::SystemRng;
use aip_keys::{
    Aad, MasterKeys, MasterKeysError, SealError, Sealed, TokenHash, TokenKind, secrets_equal,
};
use proptest::prelude::*;
use secrecy::ExposeSecret as _;
use subtle::ConstantTimeEq;

const PLACE: Aad<'static> = Aad {
    table: "upstream_sessions",
    column: "refresh_token",
    row: "row-1",
};
const SECRET: &str = "the refresh token of a PDS";

fn seal(keys: &MasterKeys) -> Sealed {
    keys.sealer()
        .seal(&SystemRng, SECRET.as_bytes(), PLACE)
        .unwrap()
}

fn open(keys: &MasterKeys, sealed: &Sealed, place: Aad<'_>) -> Result<String, SealError> {
    keys.sealer()
        .open_text(sealed, place)
        .map(|text| text.expose_secret().to_owned())
}

#[test]
fn what_was_sealed_opens_in_its_place() {
    let keys = MasterKeys::generate(&SystemRng);
    let sealed = seal(&keys);
    assert_eq!(open(&keys, &sealed, PLACE), Ok(SECRET.to_owned()));
    assert_eq!(
        keys.sealer().open(&sealed, PLACE).unwrap().expose_secret(),
        SECRET.as_bytes()
    );
    assert_ne!(
        sealed,
        seal(&keys),
        "the same text never looks the same twice"
    );
    let stored = Sealed::from_stored(sealed.as_str().to_owned());
    assert_eq!(open(&keys, &stored, PLACE), Ok(SECRET.to_owned()));
}

#[test]
fn a_sealer_in_use_goes_on_with_other_keys() {
    let mut keys = MasterKeys::generate(&SystemRng);
    let sealer = keys.sealer();
    let before = sealer.seal(&SystemRng, SECRET.as_bytes(), PLACE).unwrap();
    let old = keys.primary().to_owned();
    let new = keys.add(&SystemRng);
    keys.activate(&new).unwrap();
    sealer.replace(&keys);
    assert_eq!(sealer.prefix(), Sealed::prefix_of(&new));
    assert!(sealer.open(&before, PLACE).is_ok());
    let after = sealer.seal(&SystemRng, SECRET.as_bytes(), PLACE).unwrap();
    assert!(after.as_str().starts_with(&Sealed::prefix_of(&new)));
    keys.remove(&old).unwrap();
    sealer.replace(&keys);
    assert_eq!(sealer.kids(), [new]);
    let refused = sealer.open(&before, PLACE).err();
    assert_eq!(refused, Some(SealError::UnknownKey(old)));
}

#[test]
fn ciphertext_moved_to_another_row_fails() {
    let keys = MasterKeys::generate(&SystemRng);
    let sealed = seal(&keys);
    for elsewhere in [
        Aad {
            row: "row-2",
            ..PLACE
        },
        Aad {
            column: "access_token",
            ..PLACE
        },
        Aad {
            table: "app_passwords",
            ..PLACE
        },
        Aad {
            column: "refresh_tokenrow",
            row: "-1",
            ..PLACE
        },
    ] {
        assert_eq!(
            open(&keys, &sealed, elsewhere),
            Err(SealError::Refused),
            "{elsewhere:?}"
        );
    }
}

#[test]
fn an_old_master_key_still_opens_and_the_new_one_seals() {
    let mut keys = MasterKeys::generate(&SystemRng);
    let old = seal(&keys);
    let first = keys.primary().to_owned();
    let primary = keys.add(&SystemRng);
    assert_eq!(keys.primary(), first, "a new key does not seal at once");
    keys.activate(&primary).unwrap();
    assert_eq!(keys.primary(), primary);
    assert_eq!(open(&keys, &old, PLACE), Ok(SECRET.to_owned()));
    let new = seal(&keys);
    let prefix = keys.sealer().prefix();
    assert!(!old.as_str().starts_with(&prefix) && new.as_str().starts_with(&prefix));
    assert!(old.as_str().starts_with(&Sealed::prefix_of(&first)));

    keys.remove(&first).unwrap();
    assert_eq!(keys.kids().collect::<Vec<_>>(), [primary.as_str()]);
    assert_eq!(open(&keys, &new, PLACE), Ok(SECRET.to_owned()));
    assert!(matches!(
        open(&keys, &old, PLACE),
        Err(SealError::UnknownKey(_))
    ));
}

#[test]
fn another_key_of_the_same_id_does_not_open() {
    let keys = MasterKeys::generate(&SystemRng);
    let other = MasterKeys::generate(&SystemRng);
    let renamed = other
        .to_json()
        .expose_secret()
        .replace(other.primary(), keys.primary());
    let renamed = MasterKeys::from_json(&renamed).unwrap();
    assert_eq!(open(&renamed, &seal(&keys), PLACE), Err(SealError::Refused));
}

#[test]
fn master_keys_survive_their_json_and_mistakes_are_named() {
    let keys = MasterKeys::generate(&SystemRng);
    let json = keys.to_json();
    let json = json.expose_secret();
    let loaded = MasterKeys::from_json(json).unwrap();
    assert_eq!(open(&loaded, &seal(&keys), PLACE), Ok(SECRET.to_owned()));
    assert_eq!(
        loaded.token_hasher().hash("x"),
        keys.token_hasher().hash("x")
    );

    let kid = keys.primary();
    let refused = |from: &str, to: &str| MasterKeys::from_json(&json.replacen(from, to, 1)).err();
    let primary = format!(r#""primary":"{kid}""#);
    assert_eq!(
        refused(&primary, r#""primary":"z""#),
        Some(MasterKeysError::NoPrimary("z".to_owned()))
    );
    let own = format!(r#""kid":"{kid}""#);
    assert!(matches!(
        refused(&own, r#""kid":"a.b""#),
        Some(MasterKeysError::Kid(_))
    ));
    assert!(matches!(
        refused(r#""key":""#, r#""key":"A"#),
        Some(MasterKeysError::Key(_))
    ));
    assert_eq!(
        refused("token_pepper", "pepper"),
        Some(MasterKeysError::Malformed)
    );
    assert!(
        !format!("{keys:?}{:?}", keys.sealer()).contains(&json[json.len() - 20..json.len() - 4])
    );
}

#[test]
fn token_hashes_stay_the_same_when_the_master_key_is_rotated() {
    let mut keys = MasterKeys::generate(&SystemRng);
    let before = keys.token_hasher().hash("token");
    let first = keys.primary().to_owned();
    let second = keys.add(&SystemRng);
    keys.activate(&second).unwrap();
    keys.remove(&first).unwrap();
    assert_eq!(keys.token_hasher().hash("token"), before);
    assert_ne!(keys.token_hasher().hash("tokem"), before);
    assert_ne!(
        MasterKeys::generate(&SystemRng)
            .token_hasher()
            .hash("token"),
        before
    );
    assert_eq!(TokenHash::from_bytes(*before.as_bytes()), before);
}

#[test]
fn a_derived_token_is_always_the_same_and_does_not_follow_from_stored_hashes() {
    let hasher = MasterKeys::generate(&SystemRng).token_hasher();
    let token = TokenKind::RefreshToken.mint(&SystemRng);
    let token = token.expose_secret();
    let derive = |kind, from: &str| hasher.derive(kind, from).expose_secret().to_owned();
    let successor = derive(TokenKind::RefreshToken, token);
    assert_eq!(successor, derive(TokenKind::RefreshToken, token));
    assert!(TokenKind::RefreshToken.parse(&successor).is_ok());
    assert_ne!(successor, derive(TokenKind::RefreshToken, &successor));
    let access = derive(TokenKind::AccessToken, token);
    assert_ne!(successor["aip_rt_".len()..], access["aip_at_".len()..]);
    let stored = hasher.hash(token);
    let from_stored = secret_part(stored.as_bytes());
    assert!(!successor.contains(&from_stored) && !access.contains(&from_stored));
}

/// How 32 bytes look inside a token.
fn secret_part(bytes: &[u8; 32]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
}

#[test]
fn secrets_are_compared_in_constant_time() {
    // The comparisons are those of `subtle`, which look at every byte …
    fn constant_time<T: ConstantTimeEq + PartialEq>(one: &T, other: &T) -> bool {
        assert_eq!(bool::from(one.ct_eq(other)), one == other);
        one == other
    }
    // … and what is compared are keyed hashes: a guess that shares a long prefix with the secret
    // shares nothing with its hash, so nothing could be learned byte by byte anyway.
    let hasher = MasterKeys::generate(&SystemRng).token_hasher();
    let secret = TokenKind::ClientSecret.mint(&SystemRng);
    let secret = secret.expose_secret();
    let stored = hasher.hash(secret);
    assert!(constant_time(&stored, &hasher.hash(secret)));
    for cut in 1..secret.len() {
        let guess = format!("{}{}", &secret[..cut], "!".repeat(secret.len() - cut));
        let hash = hasher.hash(&guess);
        assert!(!constant_time(&stored, &hash));
        assert_ne!(
            hash.as_bytes()[..4],
            stored.as_bytes()[..4],
            "no prefix in common"
        );
    }
    assert!(secrets_equal("state", "state"));
    assert!(!secrets_equal("state", "statf") && !secrets_equal("state", "stat"));
}

proptest! {
    #[test]
    fn anything_in_a_sealed_column_is_refused_without_a_panic(text in "(v1\\.)?.{0,120}") {
        let keys = MasterKeys::generate(&SystemRng);
        let own = text.replacen("v1.", &format!("v1.{}.", keys.primary()), 1);
        for text in [text, own] {
            prop_assert!(open(&keys, &Sealed::from_stored(text), PLACE).is_err());
        }
    }

    #[test]
    fn one_changed_character_does_not_open(at in any::<proptest::sample::Index>()) {
        let keys = MasterKeys::generate(&SystemRng);
        let mut sealed = seal(&keys).as_str().to_owned().into_bytes();
        let at = at.index(sealed.len());
        sealed[at] = if sealed[at] == b'A' { b'B' } else { b'A' };
        let sealed = Sealed::from_stored(String::from_utf8(sealed).unwrap());
        prop_assert!(open(&keys, &sealed, PLACE).is_err());
    }

    #[test]
    fn any_bytes_survive_sealing(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let sealer = MasterKeys::generate(&SystemRng).sealer();
        let sealed = sealer.seal(&SystemRng, &bytes, PLACE).unwrap();
        let opened = sealer.open(&sealed, PLACE).unwrap();
        prop_assert_eq!(opened.expose_secret(), bytes.as_slice());
    }
}
