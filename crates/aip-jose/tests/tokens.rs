//! Tokens: what is refused before, at and after the signature.

#![allow(
    clippy::unwrap_used,
    reason = "a helper of a test fails it by panicking"
)]

use aip_jose::{Alg, JwsError, SigningKey, UnverifiedJws, sign_jwt, sign_with_jwk_header};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proptest::prelude::*;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use strum::IntoEnumIterator as _;

fn key(alg: Alg) -> SigningKey {
    SigningKey::generate(alg, Some("k1".to_owned())).unwrap()
}

/// A token with this header and these claims, rightly signed.
fn signed(key: &SigningKey, header: &str, claims: &str) -> String {
    let input = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(header),
        URL_SAFE_NO_PAD.encode(claims)
    );
    let signature = URL_SAFE_NO_PAD.encode(key.sign(input.as_bytes()).unwrap());
    format!("{input}.{signature}")
}

#[test]
fn a_token_verifies_with_its_key_and_with_no_other() {
    for alg in Alg::iter() {
        let (mine, other) = (key(alg), key(alg));
        let token = sign_jwt(&mine, "at+jwt", &json!({"sub": "did:plc:x"})).unwrap();
        let parse = || UnverifiedJws::parse(&token).unwrap();
        let verified = parse().verify(mine.public(), alg).unwrap();
        assert!(verified.header().is_typ("at+jwt"));
        assert_eq!(verified.header().kid.as_deref(), Some("k1"));
        assert_eq!(verified.claims::<Value>().unwrap()["sub"], "did:plc:x");
        assert!(matches!(
            parse().verify(other.public(), alg),
            Err(JwsError::Signature)
        ));
    }
}

#[test]
fn the_header_never_chooses_the_algorithm() {
    let (es256, rs256) = (key(Alg::Es256), key(Alg::Rs256));
    let token = sign_jwt(&es256, "JWT", &json!({})).unwrap();
    let parse = || UnverifiedJws::parse(&token).unwrap();
    for (key, expected) in [
        (&rs256, Alg::Rs256),
        (&rs256, Alg::Es256),
        (&es256, Alg::Rs256),
    ] {
        let refused = parse().verify(key.public(), expected);
        assert!(matches!(refused, Err(JwsError::AlgMismatch { .. })));
    }
}

#[test]
fn none_and_macs_are_refused() {
    let key = key(Alg::Rs256);
    for alg in [
        "none", "None", "HS256", "PS384", "ES384", "Ed25519", "eddsa", "", "es256",
    ] {
        let token = signed(&key, &json!({"alg": alg}).to_string(), "{}");
        assert!(
            matches!(UnverifiedJws::parse(&token), Err(JwsError::UnsupportedAlg)),
            "{alg}"
        );
    }
    let unsigned = format!("{}.e30.", URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#));
    assert!(matches!(
        UnverifiedJws::parse(&unsigned),
        Err(JwsError::UnsupportedAlg)
    ));
}

#[test]
fn critical_extensions_are_refused() {
    let key = key(Alg::Es256);
    for crit in [json!(["b64"]), json!([]), json!(null)] {
        let header = json!({"alg": "ES256", "crit": crit, "b64": false}).to_string();
        let token = signed(&key, &header, "{}");
        assert!(
            matches!(UnverifiedJws::parse(&token), Err(JwsError::Critical)),
            "{crit}"
        );
    }
}

#[test]
fn duplicate_members_are_refused_in_header_and_claims() {
    let key = key(Alg::Es256);
    let header = signed(&key, r#"{"alg":"ES256","alg":"RS256"}"#, "{}");
    assert!(matches!(
        UnverifiedJws::parse(&header),
        Err(JwsError::Header(_))
    ));
    let unknown = signed(&key, r#"{"alg":"ES256","x":1,"x":2}"#, "{}");
    assert!(matches!(
        UnverifiedJws::parse(&unknown),
        Err(JwsError::Header(_))
    ));
    let claims = signed(&key, r#"{"alg":"ES256"}"#, r#"{"sub":"a","sub":"b"}"#);
    let verified = UnverifiedJws::parse(&claims)
        .unwrap()
        .verify(key.public(), Alg::Es256)
        .unwrap();
    assert!(matches!(
        verified.claims::<Value>(),
        Err(JwsError::Claims(_))
    ));
}

#[test]
fn only_three_parts_of_strict_base64url_are_a_token() {
    let key = key(Alg::Es256);
    let token = sign_jwt(&key, "JWT", &json!({"n": 1})).unwrap();
    let [header, payload, signature] = token.split('.').collect::<Vec<_>>()[..] else {
        unreachable!("a compact token has three parts")
    };
    let malformed = [
        String::new(),
        "..".to_owned(),
        format!("{header}.{payload}"),
        format!("{token}."),
        format!("{token}.{signature}"),
        format!("{header}.{payload}.{signature}=="),
        format!("{header}. {payload}.{signature}"),
        format!("{header}.{payload}.{signature}+"),
        format!("{token}\n"),
    ];
    for text in malformed {
        assert!(UnverifiedJws::parse(&text).is_err(), "{text:?}");
    }
    // The last character of 64 bytes carries four bits that must be zero.
    let last = signature.chars().last().unwrap();
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let next = alphabet
        .chars()
        .nth(alphabet.find(last).unwrap() + 1)
        .unwrap();
    let other = format!(
        "{header}.{payload}.{}{next}",
        &signature[..signature.len() - 1]
    );
    assert!(matches!(
        UnverifiedJws::parse(&other),
        Err(JwsError::Malformed)
    ));
}

#[test]
fn a_token_is_measured_before_it_is_decoded() {
    let long = "a".repeat(16 * 1024 + 1);
    assert!(matches!(
        UnverifiedJws::parse(&long),
        Err(JwsError::TooLong)
    ));
}

#[test]
fn the_type_may_be_written_as_a_media_type() {
    let key = key(Alg::Es256);
    let is_at = |typ: &str| {
        let token = sign_jwt(&key, typ, &json!({})).unwrap();
        UnverifiedJws::parse(&token)
            .unwrap()
            .header()
            .is_typ("at+jwt")
    };
    assert!(is_at("at+jwt") && is_at("application/at+jwt") && is_at("AT+JWT"));
    assert!(!is_at("JWT") && !is_at("dpop+jwt") && !is_at("applicationéat+jwt"));
}

#[test]
fn a_private_key_in_the_header_is_refused() {
    let key = key(Alg::Es256);
    let jwk: Value =
        serde_json::from_str(key.to_private_jwk_json().unwrap().expose_secret()).unwrap();
    let header = json!({"alg": "ES256", "typ": "dpop+jwt", "jwk": jwk}).to_string();
    let token = signed(&key, &header, "{}");
    assert!(matches!(
        UnverifiedJws::parse(&token),
        Err(JwsError::Jwk(_))
    ));
}

#[test]
fn a_key_in_the_header_has_its_required_members_alone() {
    let key = key(Alg::Es256);
    let token = sign_with_jwk_header(&key, "dpop+jwt", &json!({})).unwrap();
    let header = URL_SAFE_NO_PAD
        .decode(token.split('.').next().unwrap())
        .unwrap();
    let header: Value = serde_json::from_slice(&header).unwrap();
    let members: Vec<_> = header["jwk"].as_object().unwrap().keys().collect();
    assert_eq!(members, ["crv", "kty", "x", "y"]);
    assert!(header.get("kid").is_none());
}

proptest! {
    #[test]
    fn jose_parsers_never_panic(
        text in ".{0,200}",
        parts in proptest::array::uniform3(proptest::collection::vec(any::<u8>(), 0..80)),
    ) {
        let token = parts.map(|part| URL_SAFE_NO_PAD.encode(part)).join(".");
        for text in [&text, &token] {
            let _ = UnverifiedJws::parse(text).map(|jws| jws.unverified_claims::<Value>());
            let _ = SigningKey::from_jwk_json(text);
            let _ = aip_jose::PublicJwk::from_json(text);
            let _ = aip_jose::PublicJwk::from_multikey(text);
            let _ = text.parse::<aip_jose::Thumbprint>();
            let _ = serde_json::from_str::<aip_jose::JwkSet>(text);
        }
    }

    #[test]
    fn headers_and_keys_of_any_values_never_panic(
        values in proptest::collection::vec("[A-Za-z0-9_-]{0,90}", 6),
        kty in prop_oneof![Just("EC"), Just("OKP"), Just("RSA"), Just("oct")],
        crv in prop_oneof![Just("P-256"), Just("secp256k1"), Just("Ed25519")],
    ) {
        let jwk = json!({
            "kty": kty, "crv": crv, "x": values[0], "y": values[1], "n": values[2],
            "e": values[3], "d": values[4], "p": values[5],
        });
        let _ = SigningKey::from_jwk_json(&jwk.to_string());
        let _ = aip_jose::PublicJwk::from_json(&jwk.to_string());
    }

    #[test]
    fn one_changed_character_breaks_the_token(at in any::<proptest::sample::Index>()) {
        let key = key(Alg::Es256);
        let mut token = sign_jwt(&key, "JWT", &json!({"sub": "did:plc:x"})).unwrap().into_bytes();
        let at = at.index(token.len());
        token[at] = if token[at] == b'A' { b'B' } else { b'A' };
        let token = String::from_utf8(token).unwrap();
        let verified = UnverifiedJws::parse(&token).and_then(|jws| jws.verify(key.public(), Alg::Es256));
        prop_assert!(verified.is_err());
    }
}
