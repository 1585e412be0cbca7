//! DPoP proofs: the list of RFC 9449 §4.3, one refusal after the other.

#![allow(
    clippy::unwrap_used,
    reason = "a helper of a test fails it by panicking"
)]

use std::time::Duration;

use aip_base::{SystemRng, Timestamp};
use aip_jose::dpop::{DpopError, Expected, Proof, verify};
use aip_jose::{Alg, JwsError, SigningKey, sign_jwt, sign_with_jwk_header};
use serde_json::{Value, json};
use strum::IntoEnumIterator as _;

const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);

const REQUEST: Expected<'static> = Expected {
    htm: "POST",
    htu: "https://aip.example/oauth/token",
    now: NOW,
    max_age: Duration::from_mins(1),
    max_skew: Duration::from_secs(10),
    access_token: None,
};

const PROOF: Proof<'static> = Proof {
    htm: "POST",
    htu: "https://aip.example/oauth/token",
    nonce: Some("n1"),
    access_token: None,
};

fn key() -> SigningKey {
    SigningKey::generate(Alg::Es256, Some("never-sent".to_owned())).unwrap()
}

fn make(proof: Proof<'_>) -> String {
    proof.make(&key(), &SystemRng, NOW).unwrap()
}

/// A proof with one claim changed (or, with `null`, left out).
fn with_claim(name: &str, value: Value) -> String {
    let mut claims = json!({
        "jti": "j1", "htm": REQUEST.htm, "htu": REQUEST.htu, "iat": NOW.as_secs(),
    });
    claims[name] = value;
    claims
        .as_object_mut()
        .unwrap()
        .retain(|_, value| !value.is_null());
    sign_with_jwk_header(&key(), "dpop+jwt", &claims).unwrap()
}

#[test]
fn a_proof_shows_the_key_and_is_unique() {
    for alg in Alg::iter() {
        let key = SigningKey::generate(alg, None).unwrap();
        let make = || PROOF.make(&key, &SystemRng, NOW).unwrap();
        let one = verify(&make(), &REQUEST).unwrap();
        let other = verify(&make(), &REQUEST).unwrap();
        assert_eq!(one.jkt, key.public().thumbprint());
        assert_eq!((one.iat, one.nonce.as_deref()), (NOW, Some("n1")));
        assert_ne!(one.jti, other.jti);
    }
}

#[test]
fn a_proof_of_another_type_is_refused() {
    let claims = json!({"jti": "j", "htm": "POST", "htu": REQUEST.htu, "iat": NOW.as_secs()});
    let proof = sign_with_jwk_header(&key(), "JWT", &claims).unwrap();
    assert!(matches!(verify(&proof, &REQUEST), Err(DpopError::Typ)));
}

#[test]
fn a_proof_without_a_key_is_refused() {
    let claims = json!({"jti": "j", "htm": "POST", "htu": REQUEST.htu, "iat": NOW.as_secs()});
    let proof = sign_jwt(&key(), "dpop+jwt", &claims).unwrap();
    assert!(matches!(verify(&proof, &REQUEST), Err(DpopError::NoKey)));
}

#[test]
fn a_proof_signed_by_another_key_is_refused() {
    let (one, other) = (make(PROOF), make(PROOF));
    let (header, _) = one.split_once('.').unwrap();
    let (_, rest) = other.split_once('.').unwrap();
    let refused = verify(&format!("{header}.{rest}"), &REQUEST);
    assert!(matches!(refused, Err(DpopError::Jws(JwsError::Signature))));
}

#[test]
fn a_proof_for_another_method_is_refused() {
    for htm in ["GET", "post", ""] {
        assert!(matches!(
            verify(&make(Proof { htm, ..PROOF }), &REQUEST),
            Err(DpopError::Htm)
        ));
    }
}

#[test]
fn a_proof_for_another_url_is_refused() {
    for htu in [
        "https://evil.example/oauth/token",
        "http://aip.example/oauth/token",
        "https://aip.example:8443/oauth/token",
        "https://aip.example/oauth/token/",
        "https://aip.example/oauth/Token",
        "https://user@aip.example/oauth/token",
        "/oauth/token",
        "",
    ] {
        let refused = verify(&with_claim("htu", htu.into()), &REQUEST);
        assert!(matches!(refused, Err(DpopError::Htu)), "{htu}");
    }
}

#[test]
fn htu_is_compared_after_normalisation_and_without_its_query() {
    for htu in [
        "https://aip.example/oauth/token?a=b",
        "https://aip.example/oauth/token#f",
        "HTTPS://AIP.example:443/oauth/./token",
    ] {
        assert!(
            verify(&with_claim("htu", htu.into()), &REQUEST).is_ok(),
            "{htu}"
        );
    }
    let with_query = Expected {
        htu: "https://aip.example/oauth/token?x=y",
        ..REQUEST
    };
    assert!(verify(&make(PROOF), &with_query).is_ok());
}

#[test]
fn a_made_proof_leaves_query_and_fragment_out() {
    let proof = make(Proof {
        htu: "https://pds.example/xrpc/a.b.c?did=x#y",
        ..PROOF
    });
    let jws = aip_jose::UnverifiedJws::parse(&proof).unwrap();
    let claims: Value = jws.unverified_claims().unwrap();
    assert_eq!(claims["htu"], "https://pds.example/xrpc/a.b.c");
}

#[test]
fn a_proof_outside_the_time_window_is_refused() {
    let at = |offset: i64| {
        verify(
            &with_claim("iat", (NOW.as_secs() + offset).into()),
            &REQUEST,
        )
    };
    assert!(at(-60).is_ok() && at(10).is_ok());
    assert!(matches!(at(-61), Err(DpopError::TooOld)));
    assert!(matches!(at(-600), Err(DpopError::TooOld)));
    assert!(matches!(at(11), Err(DpopError::InFuture)));
    assert!(matches!(at(600), Err(DpopError::InFuture)));
    assert!(matches!(
        at(i64::MIN - NOW.as_secs().wrapping_neg()),
        Err(DpopError::TooOld)
    ));
}

#[test]
fn a_proof_for_another_access_token_is_refused() {
    let at_resource = Expected {
        access_token: Some("token-a"),
        ..REQUEST
    };
    let for_token = |access_token| {
        verify(
            &make(Proof {
                access_token,
                ..PROOF
            }),
            &at_resource,
        )
    };
    assert!(for_token(Some("token-a")).is_ok());
    assert!(matches!(
        for_token(Some("token-b")),
        Err(DpopError::AccessToken)
    ));
    assert!(matches!(for_token(None), Err(DpopError::AccessToken)));
    let rfc9449_7_1 = Expected {
        access_token: Some("Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU"),
        ..REQUEST
    };
    let proof = with_claim("ath", "fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo".into());
    assert!(verify(&proof, &rfc9449_7_1).is_ok());
}

#[test]
fn missing_and_oversized_claims_are_refused() {
    for name in ["jti", "htm", "htu", "iat"] {
        let refused = verify(&with_claim(name, Value::Null), &REQUEST);
        assert!(
            matches!(refused, Err(DpopError::Jws(JwsError::Claims(_)))),
            "{name}"
        );
    }
    for jti in [String::new(), "j".repeat(257)] {
        assert!(matches!(
            verify(&with_claim("jti", jti.into()), &REQUEST),
            Err(DpopError::Jti)
        ));
    }
}

#[test]
fn a_proof_that_has_expired_or_is_not_valid_yet_is_refused() {
    let at = |seconds: i64| json!(NOW.as_secs() + seconds);
    for seconds in [-1, 0, -100_000] {
        let proof = with_claim("exp", at(seconds));
        assert!(
            matches!(verify(&proof, &REQUEST), Err(DpopError::Expired)),
            "{seconds}"
        );
    }
    for seconds in [6, 60, 100_000] {
        let proof = with_claim("nbf", at(seconds));
        assert!(
            matches!(verify(&proof, &REQUEST), Err(DpopError::NotYet)),
            "{seconds}"
        );
    }
    for (claim, seconds) in [("exp", 1), ("exp", 100_000), ("nbf", 0), ("nbf", -100_000)] {
        verify(&with_claim(claim, at(seconds)), &REQUEST).unwrap();
    }
    assert!(verify(&with_claim("exp", json!("tomorrow")), &REQUEST).is_err());
}
