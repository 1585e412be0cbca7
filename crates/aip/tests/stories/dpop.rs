//! Tokens bound to a key of the app (RFC 9449): worthless without a fresh proof by that key.

use std::time::Duration;

use aip_base::Clock as _;
use aip_jose::{Alg, SigningKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::Request;
use http::header::AUTHORIZATION;
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::app::{Tokens, s256};
use crate::on_both_engines;
use crate::world::{BASE, World};

on_both_engines!(
    d2_row41_bound_tokens_say_so_and_are_worthless_without_a_proof,
    d2_row46_every_flaw_of_a_proof_is_refused,
    d2_row47_a_bound_token_is_no_bearer_token_and_the_reverse,
);

const USERINFO: &str = "/oauth/userinfo";

async fn d2_row41_bound_tokens_say_so_and_are_worthless_without_a_proof(world: &World) {
    let app = world.app().await.with_dpop();
    let tokens = app.sign_in(&world.browser(), world.alice()).await;
    assert_eq!(tokens.answer["token_type"], "DPoP");
    app.userinfo(&tokens.access).await.ok();
    app.query(&tokens.access, "com.atproto.server.getSession")
        .await
        .ok();

    let before = world.state().await;
    let answer = app.without_key().refresh(&tokens.refresh).await;
    answer.expect(400, "invalid_grant").logged("caller");
    assert_eq!(
        world.state().await,
        before,
        "the refresh token is not spent"
    );
    let renewed = Tokens::of(&app.refresh(&tokens.refresh).await);
    assert_eq!(renewed.answer["token_type"], "DPoP");
}

async fn d2_row47_a_bound_token_is_no_bearer_token_and_the_reverse(world: &World) {
    let (bound, free) = (world.app().await.with_dpop(), world.app().await);
    let bound_tokens = bound.sign_in(&world.browser(), world.alice()).await;
    let free_tokens = free.sign_in(&world.browser(), world.alice()).await;
    let before = world.state().await;
    let sent = world.pds().requests().len();

    let call = "com.atproto.server.getSession";
    for answer in [
        bound.without_key().userinfo(&bound_tokens.access).await,
        bound.without_key().query(&bound_tokens.access, call).await,
        free.with_another_key().userinfo(&free_tokens.access).await,
        free.with_another_key()
            .query(&free_tokens.access, call)
            .await,
    ] {
        answer.expect(401, "invalid_token").logged("wrong scheme");
        let challenge = answer.header("www-authenticate");
        assert!(challenge.contains("error=\"invalid_token\""), "{challenge}");
    }
    assert_eq!(
        world.state().await.without(&["replays"]),
        before.without(&["replays"])
    );
    assert_eq!(world.pds().requests().len(), sent);
}

/// A proof that is right in everything, to be spoilt.
struct Draft {
    header: Value,
    claims: Value,
}

impl Draft {
    /// The compact token, signed with `key`.
    fn sign(&self, key: &SigningKey) -> String {
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let input = format!("{}.{}", encode(&self.header), encode(&self.claims));
        let signature = key.sign(input.as_bytes()).unwrap();
        format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

async fn d2_row46_every_flaw_of_a_proof_is_refused(world: &World) {
    let app = world.app().await.with_dpop();
    let tokens = app.sign_in(&world.browser(), world.alice()).await;
    let nonce = app.nonce().unwrap();
    let now = world.clock.now().as_secs();
    let other = SigningKey::generate(Alg::Es256, None).unwrap();
    let public = |key: &SigningKey| serde_json::to_value(key.public()).unwrap();
    let private: Value = serde_json::from_str(secrecy::ExposeSecret::expose_secret(
        &other.to_private_jwk_json().unwrap(),
    ))
    .unwrap();
    let number = std::cell::Cell::new(0);
    let draft = || {
        number.set(number.get() + 1);
        Draft {
            header: json!({ "typ": "dpop+jwt", "alg": "ES256", "jwk": public(app.key()) }),
            claims: json!({
                "jti": format!("story-{}", number.get()),
                "htm": "GET",
                "htu": format!("{BASE}{USERINFO}"),
                "iat": now,
                "nonce": nonce,
                "ath": s256(&tokens.access),
            }),
        }
    };
    let header = |member: &str, value: Value| {
        let mut draft = draft();
        draft.header[member] = value;
        draft.sign(app.key())
    };
    let claim = |member: &str, value: Value| {
        let mut draft = draft();
        draft.claims[member] = value;
        draft.sign(app.key())
    };
    let unsigned = {
        let token = header("alg", json!("none"));
        format!("{}.", token.rsplit_once('.').unwrap().0)
    };
    let by_another_key = {
        let mut draft = draft();
        draft.header["jwk"] = public(&other);
        draft.sign(&other)
    };
    let invalid = "invalid_dpop_proof";
    let cases: Vec<(&str, Vec<String>, &str)> = vec![
        ("missing", vec![], invalid),
        (
            "two",
            vec![draft().sign(app.key()), draft().sign(app.key())],
            invalid,
        ),
        ("no token at all", vec!["garbage".to_owned()], invalid),
        ("typ", vec![header("typ", json!("JWT"))], invalid),
        ("alg none", vec![unsigned], invalid),
        ("alg of a MAC", vec![header("alg", json!("HS256"))], invalid),
        ("private key", vec![header("jwk", private)], invalid),
        ("no key", vec![header("jwk", Value::Null)], invalid),
        ("signature", vec![draft().sign(&other)], invalid),
        ("htm", vec![claim("htm", json!("POST"))], invalid),
        (
            "path",
            vec![claim("htu", json!(format!("{BASE}/oauth/token")))],
            invalid,
        ),
        (
            "host",
            vec![claim("htu", json!("https://evil.example/oauth/userinfo"))],
            invalid,
        ),
        ("too old", vec![claim("iat", json!(now - 600))], invalid),
        (
            "from the future",
            vec![claim("iat", json!(now + 600))],
            invalid,
        ),
        ("no jti", vec![claim("jti", Value::Null)], invalid),
        (
            "ath",
            vec![claim("ath", json!(s256("another token")))],
            invalid,
        ),
        ("no ath", vec![claim("ath", Value::Null)], invalid),
        (
            "no nonce",
            vec![claim("nonce", Value::Null)],
            "use_dpop_nonce",
        ),
        (
            "made-up nonce",
            vec![claim("nonce", json!("made-up"))],
            "use_dpop_nonce",
        ),
        ("another key", vec![by_another_key], "invalid_token"),
    ];
    let before = world.state().await.without(&["replays"]);
    for (what, proofs, error) in cases {
        let answer = userinfo_with(world, &tokens.access, &proofs).await;
        assert_eq!(answer.json()["error"], error, "{what}: {}", answer.text());
        answer.expect(401, error).logged("caller");
        let challenge = answer.header("www-authenticate");
        assert!(challenge.starts_with("DPoP "), "{what}: {challenge}");
        assert!(
            challenge.contains(&format!("error=\"{error}\"")),
            "{what}: {challenge}"
        );
        answer.header("dpop-nonce");
    }
    assert_eq!(world.state().await.without(&["replays"]), before);

    // The query is no part of `htu`; a good proof works once, also at another replica.
    let good = claim("htu", json!(format!("{BASE}{USERINFO}?a=b")));
    userinfo_with(world, &tokens.access, std::slice::from_ref(&good))
        .await
        .ok();
    world.restart().await;
    let again = userinfo_with(world, &tokens.access, &[good]).await;
    again.expect(401, invalid).logged("used before");

    // An old nonce is told what the new one is.
    let fresh_but_for_the_nonce = {
        world.pass(Duration::from_mins(4));
        claim("iat", json!(now + 240))
    };
    let answer = userinfo_with(world, &tokens.access, &[fresh_but_for_the_nonce]).await;
    answer.expect(401, "use_dpop_nonce");
    assert_ne!(answer.header("dpop-nonce"), nonce);
}

async fn userinfo_with(world: &World, access: &str, proofs: &[String]) -> Answer {
    let request = Request::get(format!("{BASE}{USERINFO}"));
    let request = request.header(AUTHORIZATION, format!("DPoP {access}"));
    let request = proofs
        .iter()
        .fold(request, |request, proof| request.header("dpop", proof));
    world.send(request.body(Bytes::new()).unwrap()).await
}
