//! Keys: what comes in, what goes out, and what never does.

#![allow(
    clippy::unwrap_used,
    reason = "a helper of a test fails it by panicking"
)]

use aip_jose::{Alg, JwkError, JwkSet, PublicJwk, SigningKey, sign_jwt};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proptest::prelude::*;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use strum::IntoEnumIterator as _;

fn generate(alg: Alg) -> SigningKey {
    SigningKey::generate(alg, Some("k1".to_owned())).unwrap()
}

fn private_json(key: &SigningKey) -> Value {
    serde_json::from_str(key.to_private_jwk_json().unwrap().expose_secret()).unwrap()
}

#[test]
fn a_private_key_survives_export_and_import() {
    for alg in Alg::iter() {
        let key = generate(alg);
        let exported = key.to_private_jwk_json().unwrap();
        let imported = SigningKey::from_jwk_json(exported.expose_secret()).unwrap();
        assert_eq!(imported.public(), key.public());
        let signature = imported.sign(b"message").unwrap();
        assert!(
            key.public()
                .verifying_key()
                .verify(b"message", &signature)
                .is_ok(),
            "{alg}"
        );
        assert!(
            key.public()
                .verifying_key()
                .verify(b"massage", &signature)
                .is_err(),
            "{alg}"
        );
    }
}

#[test]
fn private_members_of_another_key_are_refused() {
    for alg in Alg::iter() {
        let mut mixed = private_json(&generate(alg));
        for (member, value) in private_json(&generate(alg)).as_object().unwrap() {
            if ["d", "p", "q", "dp", "dq", "qi"].contains(&member.as_str()) {
                mixed[member] = value.clone();
            }
        }
        assert!(
            SigningKey::from_jwk_json(&mixed.to_string()).is_err(),
            "{alg}"
        );
    }
}

#[test]
fn a_public_key_never_shows_private_members() {
    for alg in Alg::iter() {
        let key = generate(alg);
        let public = serde_json::to_value(key.public()).unwrap();
        let set = serde_json::to_value(JwkSet::new(vec![key.public().clone()])).unwrap();
        for shown in [&public, &set["keys"][0]] {
            let members: Vec<_> = shown
                .as_object()
                .unwrap()
                .keys()
                .map(String::as_str)
                .collect();
            let allowed = ["alg", "crv", "e", "kid", "kty", "n", "use", "x", "y"];
            assert!(
                members.iter().all(|member| allowed.contains(member)),
                "{members:?}"
            );
        }
        let secret = private_json(&key)["d"].as_str().unwrap().to_owned();
        let shown = format!("{key:?} {:?} {public}", key.public());
        assert!(!shown.contains(&secret), "{alg}");
    }
}

#[test]
fn a_private_jwk_is_never_taken_for_a_public_one() {
    for alg in Alg::iter() {
        let private = private_json(&generate(alg));
        assert_eq!(
            PublicJwk::from_json(&private.to_string()),
            Err(JwkError::Private)
        );
        assert!(serde_json::from_value::<PublicJwk>(private.clone()).is_err());
        assert!(serde_json::from_value::<JwkSet>(json!({"keys": [private]})).is_err());
    }
    let public = serde_json::to_value(generate(Alg::Es256).public()).unwrap();
    for member in ["d", "p", "q", "dp", "dq", "qi", "oth", "k"] {
        for value in [json!("AA"), json!(null), json!([])] {
            let mut leaking = public.clone();
            leaking[member] = value;
            assert_eq!(
                PublicJwk::from_json(&leaking.to_string()),
                Err(JwkError::Private),
                "{member}"
            );
        }
    }
}

#[test]
fn a_key_has_one_algorithm_and_one_use() {
    let rsa = serde_json::to_value(generate(Alg::Rs256).public()).unwrap();
    for (member, value) in [
        ("alg", "ES256"),
        ("alg", "PS384"),
        ("alg", "none"),
        ("alg", "HS256"),
        ("use", "enc"),
    ] {
        let mut other = rsa.clone();
        other[member] = value.into();
        assert_eq!(
            PublicJwk::from_json(&other.to_string()),
            Err(JwkError::Unsupported),
            "{value}"
        );
    }
}

/// RFC 7518 §3.3 and §3.5: the numbers are the same, and the signatures are not.
#[test]
fn an_rsa_key_signs_in_the_one_way_that_it_says() {
    let pss = generate(Alg::Ps256);
    let mut public = serde_json::to_value(pss.public()).unwrap();
    assert_eq!(public["alg"], "PS256");
    public["alg"] = "RS256".into();
    let pkcs1 = PublicJwk::from_json(&public.to_string()).unwrap();
    public.as_object_mut().unwrap().remove("alg");
    let unsaid = PublicJwk::from_json(&public.to_string()).unwrap();
    assert_eq!((pkcs1.alg(), unsaid.alg()), (Alg::Rs256, Alg::Rs256));
    assert_eq!(pkcs1.thumbprint(), pss.public().thumbprint());
    assert_ne!(pkcs1, *pss.public());
    let token = sign_jwt(&pss, "JWT", &json!({})).unwrap();
    for (key, alg) in [(&pkcs1, Alg::Ps256), (&pkcs1, Alg::Rs256)] {
        let jws = aip_jose::UnverifiedJws::parse(&token).unwrap();
        assert!(jws.verify(key, alg).is_err(), "{alg}");
    }
    let signature = pss.sign(b"message").unwrap();
    assert!(
        pkcs1
            .verifying_key()
            .verify(b"message", &signature)
            .is_err()
    );
}

/// Of these, one signature verifies for nearly any message.
#[test]
fn keys_of_ed25519_whose_order_is_small_are_refused() {
    let ends =
        |first: &str, middle: &str, last: &str| format!("{first}{}{last}", middle.repeat(30));
    let small = [
        "00".repeat(32),
        ends("01", "00", "00"),
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05".to_owned(),
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a".to_owned(),
        ends("ec", "ff", "7f"),
        ends("ed", "ff", "7f"),
        ends("ee", "ff", "7f"),
    ];
    for hex in small {
        let mut x: Vec<u8> = (0..64)
            .step_by(2)
            .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
            .collect();
        for sign in [0, 0x80] {
            x[31] = (x[31] & 0x7f) | sign;
            let jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": URL_SAFE_NO_PAD.encode(&x)});
            assert_eq!(
                PublicJwk::from_json(&jwk.to_string()),
                Err(JwkError::NotAKey),
                "{hex}"
            );
        }
    }
}

/// A token with such a "signature" is what the refusal above is for: `R` is the neutral element, `S`
/// is 0.
#[test]
fn a_signature_of_zeros_verifies_with_no_key() {
    let key = generate(Alg::EdDsa);
    let mut signature = [0; 64];
    signature[0] = 1;
    let verified = key.public().verifying_key().verify(b"message", &signature);
    assert!(verified.is_err());
}

#[test]
fn keys_that_are_none_are_refused() {
    let good = serde_json::to_value(generate(Alg::Es256).public()).unwrap();
    let changed = |member: &str, value: Value| {
        let mut key = good.clone();
        key[member] = value;
        PublicJwk::from_json(&key.to_string())
    };
    assert_eq!(changed("x", good["y"].clone()), Err(JwkError::NotAKey));
    assert_eq!(changed("crv", "secp256k1".into()), Err(JwkError::NotAKey));
    assert_eq!(changed("crv", "P-384".into()), Err(JwkError::Unsupported));
    assert_eq!(changed("kty", "OKP".into()), Err(JwkError::Unsupported));
    for (crv, x, refused) in [
        ("Ed448", "A".repeat(76), JwkError::Unsupported),
        ("X25519", "A".repeat(43), JwkError::Unsupported),
        ("Ed25519", "A".repeat(42), JwkError::Member("x")),
        ("Ed25519", "A".repeat(44), JwkError::Member("x")),
        ("Ed25519", "=".repeat(43), JwkError::Member("x")),
    ] {
        let key = json!({"kty": "OKP", "crv": crv, "x": x}).to_string();
        assert_eq!(PublicJwk::from_json(&key), Err(refused), "{crv} {x}");
    }
    assert_eq!(changed("x", "AAAA".into()), Err(JwkError::Member("x")));
    assert_eq!(changed("y", Value::Null), Err(JwkError::Member("y")));
    assert_eq!(
        changed("kid", "k".repeat(257).into()),
        Err(JwkError::Member("kid"))
    );
    assert_eq!(PublicJwk::from_json("[]"), Err(JwkError::Malformed));
    for alg in ["RS256", "PS256"] {
        let small = json!({"kty": "RSA", "alg": alg, "n": "_".repeat(172), "e": "AQAB"});
        assert_eq!(
            PublicJwk::from_json(&small.to_string()),
            Err(JwkError::NotAKey)
        );
    }
}

#[test]
fn unusable_keys_of_a_set_are_left_out() {
    let usable = generate(Alg::Es256);
    let set = json!({"keys": [
        {"kty": "OKP", "crv": "X25519", "x": "3p7bfXt9wbTTW2HC7OQ1Nz-DQ8hbeGdNrfx-FG-IK08"},
        {"no": "key"},
        usable.public(),
        7,
    ]});
    let set: JwkSet = serde_json::from_value(set).unwrap();
    assert_eq!(set.keys(), std::slice::from_ref(usable.public()));
    let many = json!({"keys": vec![json!({}); 65]});
    assert!(serde_json::from_value::<JwkSet>(many).is_err());
}

#[test]
fn an_rsa_key_of_a_set_that_names_no_algorithm_is_for_both() {
    let with = |alg: Option<&str>, kid: &str| {
        let mut jwk = serde_json::to_value(generate(Alg::Rs256).public()).unwrap();
        let members = jwk.as_object_mut().unwrap();
        members.remove("alg");
        members.insert("kid".to_owned(), json!(kid));
        members.extend(alg.map(|alg| ("alg".to_owned(), json!(alg))));
        jwk
    };
    let keys = [
        with(None, "any"),
        with(Some("PS256"), "pss"),
        with(Some("RS256"), "pkcs1"),
    ];
    let set: JwkSet = serde_json::from_value(json!({ "keys": keys })).unwrap();
    for (kid, algs) in [
        ("any", &[Alg::Rs256, Alg::Ps256][..]),
        ("pss", &[Alg::Ps256]),
        ("pkcs1", &[Alg::Rs256]),
    ] {
        for alg in [Alg::Rs256, Alg::Ps256, Alg::Es256] {
            let key = set.select(Some(kid), alg);
            assert_eq!(key.is_some(), algs.contains(&alg), "{kid} {alg}");
        }
    }
    // Read again it is the same, and what is written can be read.
    let again: JwkSet = serde_json::from_str(&set.to_json()).unwrap();
    assert_eq!(again, set);
    let many = json!({"keys": vec![keys[0].clone(); 33]});
    assert!(serde_json::from_value::<JwkSet>(many).is_err());
}

#[test]
fn a_key_is_selected_by_id_and_algorithm_and_never_tried_out() {
    let (one, other) = (
        generate(Alg::Es256),
        SigningKey::generate(Alg::Es256, None).unwrap(),
    );
    let alone = JwkSet::new(vec![one.public().clone()]);
    assert_eq!(alone.select(Some("k1"), Alg::Es256), Some(one.public()));
    assert_eq!(alone.select(None, Alg::Es256), Some(one.public()));
    assert_eq!(alone.select(Some("k2"), Alg::Es256), None);
    assert_eq!(alone.select(Some("k1"), Alg::Rs256), None);
    let both = JwkSet::new(vec![one.public().clone(), other.public().clone()]);
    assert_eq!(both.select(None, Alg::Es256), None);
    assert!(both.candidates(None, Alg::Es256).is_empty());
}

#[test]
fn of_keys_that_share_a_kid_those_of_the_algorithm_are_candidates_and_no_more_than_four() {
    let keys: Vec<_> = [Alg::Es256, Alg::EdDsa, Alg::Es256]
        .into_iter()
        .cycle()
        .take(9)
        .map(generate)
        .collect();
    let set = JwkSet::new(keys.iter().map(|key| key.public().clone()).collect());
    let of_es256: Vec<_> = set.candidates(Some("k1"), Alg::Es256);
    assert_eq!(
        of_es256,
        [0, 2, 3, 5].map(|number| keys[number].public()),
        "the first four, in their order"
    );
    assert_eq!(set.candidates(Some("k1"), Alg::EdDsa).len(), 3);
    assert!(set.candidates(Some("k2"), Alg::Es256).is_empty());
    assert!(set.candidates(Some("k1"), Alg::Rs256).is_empty());
    assert_eq!(set.select(Some("k1"), Alg::Es256), None);
}

#[test]
fn es256k_signatures_have_a_low_s() {
    // Half of the order of secp256k1, its first bytes.
    let half = [0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
    let key = generate(Alg::Es256k);
    for message in 0..50_u8 {
        let signature = key.sign(&[message]).unwrap();
        assert!(signature[32..40] <= half[..], "{signature:?}");
    }
}

#[test]
fn multikeys_of_other_kinds_are_refused() {
    let ed25519 = "z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK";
    for bad in [
        ed25519,
        "",
        "z",
        "zDn",
        "f0000",
        "zO0Il",
        &format!("z{}", "1".repeat(100)),
    ] {
        assert!(PublicJwk::from_multikey(bad).is_err(), "{bad}");
    }
    for alg in [Alg::Rs256, Alg::Ps256, Alg::EdDsa] {
        assert!(generate(alg).public().to_multikey().is_none());
        assert!(generate(alg).to_private_did_key().is_none());
    }
}

#[test]
fn a_private_did_key_is_imported_under_its_public_one() {
    let key = generate(Alg::Es256);
    let did = key.to_private_did_key().unwrap();
    let imported = SigningKey::from_private_did_key(did.expose_secret(), None).unwrap();
    assert_eq!(imported.public().thumbprint(), key.public().thumbprint());
    let public = format!("did:key:{}", key.public().to_multikey().unwrap());
    assert_eq!(imported.kid(), Some(public.as_str()));
    let again = imported.to_private_did_key().unwrap();
    assert_eq!(again.expose_secret(), did.expose_secret());
    let named = SigningKey::from_private_did_key(did.expose_secret(), Some("k1".to_owned()));
    assert_eq!(named.unwrap().public(), key.public());

    let other_curve = generate(Alg::Es256k).to_private_did_key().unwrap();
    let text = did.expose_secret();
    for bad in [
        "",
        "did:key:",
        "did:key:z",
        "did:web:example.com",
        &public,
        other_curve.expose_secret(),
        &text[..text.len() - 2],
        &format!("{text}1"),
        &text.replace("did:key:z", "did:key:f"),
        &format!("did:key:z{}", "1".repeat(100)),
    ] {
        let refused = SigningKey::from_private_did_key(bad, None).err();
        let refused = refused.unwrap().to_string();
        assert!(bad.is_empty() || !refused.contains(bad), "{refused}");
    }
}

#[test]
fn a_key_without_an_id_signs_without_one() {
    let key = SigningKey::generate(Alg::Es256, None).unwrap();
    let token = sign_jwt(&key, "JWT", &json!({})).unwrap();
    assert!(
        aip_jose::UnverifiedJws::parse(&token)
            .unwrap()
            .header()
            .kid
            .is_none()
    );
}

proptest! {
    #[test]
    fn every_key_of_a_curve_survives_its_multikey(secp in any::<bool>()) {
        let key = generate(if secp { Alg::Es256k } else { Alg::Es256 });
        let multikey = key.public().to_multikey().unwrap();
        let parsed = PublicJwk::from_multikey(&multikey).unwrap();
        prop_assert_eq!(parsed.thumbprint(), key.public().thumbprint());
    }
}
