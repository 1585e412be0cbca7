//! Service tokens: what the AT Protocol asks of those who accept them, one refusal after the other.

#![allow(
    clippy::unwrap_used,
    reason = "a helper of a test fails it by panicking"
)]

use aip_base::Timestamp;
use aip_jose::service_token::{
    Expected, ServiceTokenError, VerifiedServiceToken, claimed_issuer, verify,
};
use aip_jose::{Alg, JwsError, SigningKey, UnverifiedJws, sign_jwt};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

/// The order `n` of the curve secp256k1 (SEC 2, §2.4.1), big-endian.
const SECP256K1_ORDER: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe,
    0xba, 0xae, 0xdc, 0xe6, 0xaf, 0x48, 0xa0, 0x3b, 0xbf, 0xd2, 0x5e, 0x8c, 0xd0, 0x36, 0x41, 0x41,
];
const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);
const ISSUER: &str = "did:plc:7iza6de2dwap2sbkpav7c6c6";
const METHOD: &str = "tools.graze.aip.clients.Update";
const EXPECTED: Expected<'static> = Expected {
    issuer: ISSUER,
    audiences: &["did:web:aip.example", "did:web:aip.example#aip"],
    method: METHOD,
    now: NOW,
};

fn key(alg: Alg) -> SigningKey {
    SigningKey::generate(alg, None).unwrap()
}

fn claims() -> Value {
    json!({
        "iss": ISSUER, "aud": "did:web:aip.example", "lxm": METHOD, "jti": "j1",
        "iat": NOW.as_secs(), "exp": NOW.as_secs() + 60,
    })
}

/// A token whose `s` is low or not, as is wanted: half of those that aws-lc signs are.
fn signed(key: &SigningKey, typ: &str, claims: &Value, low_s: bool) -> String {
    let mut tokens = std::iter::repeat_with(|| sign_jwt(key, typ, claims).unwrap()).take(200);
    tokens
        .find(|token| UnverifiedJws::parse(token).unwrap().has_low_s() == low_s)
        .unwrap()
}

fn check(key: &SigningKey, token: &str) -> Result<VerifiedServiceToken, ServiceTokenError> {
    verify(UnverifiedJws::parse(token)?, key.public(), &EXPECTED)
}

/// The outcome for a token with one claim changed (or, with `null`, left out).
fn with_claim(name: &str, value: Value) -> Result<VerifiedServiceToken, ServiceTokenError> {
    let mut claims = claims();
    claims[name] = value;
    claims
        .as_object_mut()
        .unwrap()
        .retain(|_, value| !value.is_null());
    let key = key(Alg::Es256k);
    check(&key, &signed(&key, "JWT", &claims, true))
}

fn at(offset: i64) -> Value {
    (NOW.as_secs() + offset).into()
}

#[test]
fn a_token_of_an_account_is_accepted_with_either_curve_and_either_audience() {
    for alg in [Alg::Es256, Alg::Es256k] {
        let key = key(alg);
        for audience in EXPECTED.audiences {
            let mut claims = claims();
            claims["aud"] = (*audience).into();
            let token = signed(&key, "JWT", &claims, true);
            let verified = check(&key, &token).unwrap();
            assert_eq!(verified.jti, "j1");
            assert!(verified.expires > NOW);
            let parsed = UnverifiedJws::parse(&token).unwrap();
            assert_eq!(claimed_issuer(&parsed).unwrap(), ISSUER);
        }
    }
    // What may be left out.
    assert!(with_claim("iat", Value::Null).is_ok());
}

#[test]
fn another_issuer_audience_or_method_is_refused() {
    type Error = ServiceTokenError;
    for issuer in [
        json!("did:plc:aaaaaaaaaaaaaaaaaaaaaaaa"),
        json!("did:plc:7iza6de2dwap2sbkpav7c6c6#atproto_labeler"),
        json!(""),
    ] {
        assert!(matches!(with_claim("iss", issuer), Err(Error::Issuer)));
    }
    for audience in [
        json!("did:web:other.example"),
        json!("did:web:aip.example#atproto_pds"),
        json!("did:web:aip.example#"),
        json!("https://aip.example"),
        json!(["did:web:aip.example"]),
        json!(["did:web:aip.example", "did:web:other.example"]),
        json!([]),
    ] {
        let refused = with_claim("aud", audience);
        assert!(matches!(refused, Err(Error::Audience)), "{refused:?}");
    }
    for method in [
        Value::Null,
        json!(""),
        json!("*"),
        json!("tools.graze.aip.clients.update"),
        json!("tools.graze.aip.clients.Delete"),
    ] {
        let refused = with_claim("lxm", method);
        assert!(matches!(refused, Err(Error::Method)), "{refused:?}");
    }
    for (name, value) in [
        ("iss", Value::Null),
        ("aud", Value::Null),
        ("exp", Value::Null),
        ("iss", json!(7)),
        ("aud", json!({})),
        ("lxm", json!([METHOD])),
        ("exp", json!("tomorrow")),
        ("jti", json!(7)),
    ] {
        let refused = with_claim(name, value);
        let malformed = matches!(refused, Err(Error::Token(JwsError::Claims(_))));
        assert!(malformed, "{name}: {refused:?}");
    }
}

#[test]
fn its_life_is_bounded_and_it_can_be_spent() {
    type Error = ServiceTokenError;
    for late in [-31, -3600] {
        let refused = with_claim("exp", at(late));
        assert!(matches!(refused, Err(Error::Expired)), "{late}");
    }
    for fine in [-29, 1, 3600] {
        assert!(with_claim("exp", at(fine)).is_ok(), "{fine}");
    }
    for far in [3631, 1_000_000_000] {
        let refused = with_claim("exp", at(far));
        assert!(matches!(refused, Err(Error::LivesTooLong)), "{far}");
    }
    for member in ["iat", "nbf"] {
        assert!(with_claim(member, at(29)).is_ok());
        let refused = with_claim(member, at(31));
        assert!(matches!(refused, Err(Error::NotYet)), "{member}");
    }
    for jti in [Value::Null, json!(""), json!("j".repeat(257))] {
        assert!(matches!(with_claim("jti", jti), Err(Error::Jti)));
    }
    assert!(with_claim("jti", json!("j".repeat(256))).is_ok());
}

#[test]
fn another_kind_of_token_is_refused() {
    let key = key(Alg::Es256k);
    for typ in ["at+jwt", "refresh+jwt", "dpop+jwt", "", "secevent+jwt"] {
        let refused = check(&key, &signed(&key, typ, &claims(), true));
        assert!(matches!(refused, Err(ServiceTokenError::Typ)), "{typ}");
    }
    for typ in ["JWT", "jwt", "application/jwt"] {
        assert!(check(&key, &signed(&key, typ, &claims(), true)).is_ok());
    }
}

#[test]
fn another_key_is_distinguished_from_every_other_refusal() {
    for (signs, verifies) in [
        (Alg::Es256, Alg::Es256),
        (Alg::Es256k, Alg::Es256k),
        (Alg::Es256, Alg::Es256k),
        (Alg::Rs256, Alg::Es256),
        (Alg::EdDsa, Alg::Es256k),
    ] {
        let token = signed(&key(signs), "JWT", &claims(), true);
        let refused = check(&key(verifies), &token).unwrap_err();
        assert!(refused.is_of_key(), "{signs} {verifies}: {refused}");
    }
    assert!(!with_claim("aud", json!("x")).unwrap_err().is_of_key());
}

#[test]
fn a_signature_with_a_high_s_is_refused() {
    let p256 = key(Alg::Es256);
    let refused = check(&p256, &signed(&p256, "JWT", &claims(), false));
    assert!(matches!(refused, Err(ServiceTokenError::HighS)));

    // Of secp256k1, the high one is made of the low one: `n - s` verifies as well.
    let k256 = key(Alg::Es256k);
    let token = signed(&k256, "JWT", &claims(), true);
    let (input, signature) = token.rsplit_once('.').unwrap();
    let mut signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let mut borrow = 0;
    for (digit, order) in signature[32..].iter_mut().zip(SECP256K1_ORDER).rev() {
        let difference = i16::from(order) - i16::from(*digit) - borrow;
        borrow = i16::from(difference < 0);
        *digit = u8::try_from(difference.rem_euclid(256)).unwrap();
    }
    let high = format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature));
    let parsed = UnverifiedJws::parse(&high).unwrap();
    assert!(parsed.verify(k256.public(), Alg::Es256k).is_ok());
    let refused = check(&k256, &high);
    assert!(matches!(refused, Err(ServiceTokenError::HighS)));
}
