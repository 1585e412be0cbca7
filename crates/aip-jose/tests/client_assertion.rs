//! Client assertions: what RFC 7523 §3 and its revision ask, one refusal after the other.

#![allow(
    clippy::unwrap_used,
    reason = "a helper of a test fails it by panicking"
)]

use aip_base::{SystemRng, Timestamp};
use aip_jose::client_assertion::{
    AssertionError, Expected, VerifiedAssertion, claimed_client, make, verify,
};
use aip_jose::{Alg, JwsError, SigningKey, UnverifiedJws, sign_jwt};
use serde_json::{Value, json};

const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);
const CLIENT: &str = "https://app.example/client.json";
const ISSUER: &str = "https://aip.example";
const EXPECTED: Expected<'static> = Expected {
    client_id: CLIENT,
    audiences: &[ISSUER],
    audience_in_array: true,
    now: NOW,
};

fn key(alg: Alg) -> SigningKey {
    SigningKey::generate(alg, Some("k1".to_owned())).unwrap()
}

fn check(key: &SigningKey, token: &str) -> Result<VerifiedAssertion, AssertionError> {
    verify(
        UnverifiedJws::parse(token)?,
        key.public(),
        Alg::Es256,
        &EXPECTED,
    )
}

/// The outcome for an assertion with one claim changed (or, with `null`, left out).
fn with_claim(name: &str, value: Value) -> Result<VerifiedAssertion, AssertionError> {
    let mut claims = json!({
        "iss": CLIENT, "sub": CLIENT, "aud": ISSUER, "jti": "j1",
        "iat": NOW.as_secs(), "exp": NOW.as_secs() + 60,
    });
    claims[name] = value;
    claims
        .as_object_mut()
        .unwrap()
        .retain(|_, value| !value.is_null());
    let key = key(Alg::Es256);
    check(&key, &sign_jwt(&key, "JWT", &claims).unwrap())
}

fn at(offset: i64) -> Value {
    (NOW.as_secs() + offset).into()
}

#[test]
fn an_assertion_of_ours_is_one_that_we_accept() {
    let key = key(Alg::Es256);
    let make = || make(&key, &SystemRng, NOW, CLIENT, ISSUER).unwrap();
    let (one, other) = (make(), make());
    let parsed = UnverifiedJws::parse(&one).unwrap();
    assert_eq!(claimed_client(&parsed).unwrap(), CLIENT);
    assert_eq!(parsed.header().kid.as_deref(), Some("k1"));
    let one = check(&key, &one).unwrap();
    assert!(one.expires > NOW);
    assert_ne!(one.jti, check(&key, &other).unwrap().jti);
}

#[test]
fn another_key_or_algorithm_is_refused() {
    let mine = key(Alg::Es256);
    let token = make(&key(Alg::Es256), &SystemRng, NOW, CLIENT, ISSUER).unwrap();
    assert!(matches!(
        check(&mine, &token),
        Err(AssertionError::Jws(JwsError::Signature))
    ));
    let rsa = key(Alg::Rs256);
    let token = make(&rsa, &SystemRng, NOW, CLIENT, ISSUER).unwrap();
    for registered in [&rsa, &mine] {
        let refused = check(registered, &token);
        assert!(matches!(
            refused,
            Err(AssertionError::Jws(JwsError::AlgMismatch { .. }))
        ));
    }
}

#[test]
fn issuer_and_subject_are_both_the_client() {
    for name in ["iss", "sub"] {
        let refused = with_claim(name, "https://other.example/client.json".into());
        assert!(matches!(refused, Err(AssertionError::Client)), "{name}");
        assert!(
            matches!(with_claim(name, Value::Null), Err(AssertionError::Jws(_))),
            "{name}"
        );
    }
}

#[test]
fn the_audience_is_this_issuer_alone() {
    assert!(with_claim("aud", json!([ISSUER])).is_ok());
    for aud in [
        json!([ISSUER, "https://other.example"]),
        json!([]),
        json!("https://aip.example/"),
        json!("https://aip.example/oauth/token"),
        json!("https://aip.example/oauth/par"),
    ] {
        assert!(
            matches!(
                with_claim("aud", aud.clone()),
                Err(AssertionError::Audience)
            ),
            "{aud}"
        );
    }
    assert!(matches!(
        with_claim("aud", Value::Null),
        Err(AssertionError::Jws(_))
    ));
}

#[test]
fn expiry_is_required_and_bounded() {
    assert!(with_claim("exp", at(3600)).is_ok());
    assert!(matches!(
        with_claim("exp", at(3601)),
        Err(AssertionError::LivesTooLong)
    ));
    assert!(matches!(
        with_claim("exp", at(-30)),
        Err(AssertionError::Expired)
    ));
    assert!(matches!(
        with_claim("exp", at(-600)),
        Err(AssertionError::Expired)
    ));
    assert!(matches!(
        with_claim("exp", Value::Null),
        Err(AssertionError::Jws(_))
    ));
    // Clocks differ; the id must be remembered that much longer.
    let late = with_claim("exp", at(-29)).unwrap();
    assert!(late.expires > NOW);
}

#[test]
fn a_little_ahead_is_fine_and_far_ahead_is_not() {
    for name in ["nbf", "iat"] {
        assert!(with_claim(name, at(8)).is_ok(), "{name}");
        assert!(
            matches!(with_claim(name, at(70)), Err(AssertionError::NotYet)),
            "{name}"
        );
    }
}

#[test]
fn the_id_is_required_and_bounded() {
    assert!(matches!(
        with_claim("jti", "".into()),
        Err(AssertionError::Jti)
    ));
    assert!(matches!(
        with_claim("jti", "j".repeat(257).into()),
        Err(AssertionError::Jti)
    ));
    assert!(matches!(
        with_claim("jti", Value::Null),
        Err(AssertionError::Jws(_))
    ));
}

#[test]
fn tokens_for_other_purposes_are_no_assertions() {
    let key = key(Alg::Es256);
    let claims = json!({
        "iss": CLIENT, "sub": CLIENT, "aud": ISSUER, "jti": "j", "exp": NOW.as_secs() + 60,
    });
    let typed = |typ: &str| check(&key, &sign_jwt(&key, typ, &claims).unwrap());
    assert!(typed("client-authentication+jwt").is_ok());
    for typ in ["at+jwt", "dpop+jwt", "logout+jwt"] {
        assert!(matches!(typed(typ), Err(AssertionError::Typ)), "{typ}");
    }
}
