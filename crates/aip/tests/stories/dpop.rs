//! Tokens bound to a key of the app (RFC 9449): worthless without a fresh proof by that key.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use aip_base::Clock as _;
use aip_jose::{Alg, SigningKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::Request;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::app::{App, Tokens, basic_credential, s256};
use crate::on_both_engines;
use crate::world::{BASE, World};

on_both_engines!(
    bound_tokens_say_so_and_are_worthless_without_a_proof,
    a_proof_of_every_advertised_algorithm_binds_a_token,
    every_flaw_of_a_proof_is_refused,
    a_key_that_was_named_in_the_browser_binds_the_code,
    a_proof_is_good_once_on_all_replicas,
    a_proof_is_good_once_although_valkey_forgets,
    an_old_or_missing_nonce_is_answered_with_a_new_one,
    neither_scheme_opens_what_the_other_is_for,
    the_url_of_a_proof_is_ours_whatever_the_headers_say,
);

const USERINFO: &str = "/oauth/userinfo";

async fn a_proof_of_every_advertised_algorithm_binds_a_token(world: &World) {
    let metadata = world.get("/.well-known/openid-configuration").await.ok();
    let advertised = metadata["dpop_signing_alg_values_supported"].as_array();
    let advertised: Vec<Alg> = advertised
        .unwrap()
        .iter()
        .map(|name| name.as_str().unwrap().parse().unwrap())
        .collect();
    assert_eq!(advertised.len(), 5);
    for alg in advertised {
        let app = world.app().await.with_dpop_of(alg);
        let tokens = app.sign_in(&world.browser(), world.alice()).await;
        assert_eq!(tokens.answer["token_type"], "DPoP", "{alg}");
        app.userinfo(&tokens.access).await.ok();
        let bound_to = &app.introspect(&tokens.access).await.ok()["cnf"]["jkt"];
        assert_eq!(bound_to, app.key().public().thumbprint().as_str());
        let refused = app.with_another_key().userinfo(&tokens.access).await;
        refused.expect(401, "invalid_token");
    }
}

async fn bound_tokens_say_so_and_are_worthless_without_a_proof(world: &World) {
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
    let garbage = Request::post(format!("{BASE}/oauth/token"))
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        .header(
            AUTHORIZATION,
            basic_credential(app.id.as_str(), app.secret.as_deref().unwrap()),
        )
        .header("dpop", "garbage")
        .body(format!("grant_type=refresh_token&refresh_token={}", tokens.refresh).into());
    let answer = world.send(garbage.unwrap()).await;
    answer.expect(400, "invalid_dpop_proof").logged("caller");
    assert_eq!(
        world.state().await,
        before,
        "the refresh token is not spent"
    );
    let renewed = Tokens::of(&app.refresh(&tokens.refresh).await);
    assert_eq!(renewed.answer["token_type"], "DPoP");
}

async fn neither_scheme_opens_what_the_other_is_for(world: &World) {
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

/// What a proof for userinfo is made of: right in everything, to be spoilt.
struct Prover<'a> {
    app: &'a App<'a>,
    access: String,
    nonce: String,
    made: AtomicU32,
}

impl<'a> Prover<'a> {
    async fn new(app: &'a App<'a>) -> Self {
        let tokens = app.sign_in(&app.world.browser(), app.world.alice()).await;
        Self {
            app,
            access: tokens.access,
            nonce: app.nonce().unwrap(),
            made: AtomicU32::new(0),
        }
    }

    fn claims(&self) -> Value {
        json!({
            "jti": format!("proof-{}", self.made.fetch_add(1, Ordering::Relaxed)),
            "htm": "GET",
            "htu": format!("{BASE}{USERINFO}"),
            "iat": self.app.world.clock.now().as_secs(),
            "nonce": self.nonce,
            "ath": s256(&self.access),
        })
    }

    fn header(key: &SigningKey) -> Value {
        let jwk = serde_json::to_value(key.public()).unwrap();
        json!({ "typ": "dpop+jwt", "alg": "ES256", "jwk": jwk })
    }

    fn proof(&self) -> String {
        sign(
            self.app.key(),
            &Self::header(self.app.key()),
            &self.claims(),
        )
    }

    fn proof_with_header(&self, member: &str, value: Value) -> String {
        let mut header = Self::header(self.app.key());
        header[member] = value;
        sign(self.app.key(), &header, &self.claims())
    }

    fn proof_with_claim(&self, member: &str, value: impl Into<Value>) -> String {
        let mut claims = self.claims();
        claims[member] = value.into();
        sign(self.app.key(), &Self::header(self.app.key()), &claims)
    }

    /// A whole proof by another key.
    fn proof_by(&self, key: &SigningKey) -> String {
        sign(key, &Self::header(key), &self.claims())
    }

    /// A proof whose signature is another key's.
    fn proof_signed_by(&self, key: &SigningKey) -> String {
        sign(key, &Self::header(self.app.key()), &self.claims())
    }

    async fn send(&self, proofs: &[String]) -> Answer {
        self.send_with(proofs, &[]).await
    }

    async fn send_with(&self, proofs: &[String], headers: &[(&str, &str)]) -> Answer {
        let request = Request::get(format!("{BASE}{USERINFO}"));
        let request = request.header(AUTHORIZATION, format!("DPoP {}", self.access));
        let proofs = proofs.iter().map(|proof| ("dpop", proof.as_str()));
        let request = proofs
            .chain(headers.iter().copied())
            .fold(request, |request, (name, value)| {
                request.header(name, value)
            });
        self.app
            .world
            .send(request.body(Bytes::new()).unwrap())
            .await
    }
}

fn sign(key: &SigningKey, header: &Value, claims: &Value) -> String {
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let input = format!("{}.{}", encode(header), encode(claims));
    let signature = key.sign(input.as_bytes()).unwrap();
    format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn another_key() -> SigningKey {
    SigningKey::generate(Alg::Es256, None).unwrap()
}

async fn every_flaw_of_a_proof_is_refused(world: &World) {
    let app = world.app().await.with_dpop();
    let prover = Prover::new(&app).await;
    let other = another_key();
    let private = other.to_private_jwk_json().unwrap();
    let private: Value = serde_json::from_str(private.expose_secret()).unwrap();
    let unsigned = prover.proof_with_header("alg", json!("none"));
    let unsigned = format!("{}.", unsigned.rsplit_once('.').unwrap().0);
    let now = world.clock.now().as_secs();
    let before = world.state().await.without(&["replays"]);

    for (what, proofs) in [
        ("missing", vec![]),
        ("two", vec![prover.proof(), prover.proof()]),
        ("no token at all", vec!["garbage".to_owned()]),
        ("typ", vec![prover.proof_with_header("typ", json!("JWT"))]),
        ("alg none", vec![unsigned]),
        (
            "a MAC",
            vec![prover.proof_with_header("alg", json!("HS256"))],
        ),
        (
            "private key",
            vec![prover.proof_with_header("jwk", private)],
        ),
        ("no key", vec![prover.proof_with_header("jwk", Value::Null)]),
        ("signature", vec![prover.proof_signed_by(&other)]),
        ("htm", vec![prover.proof_with_claim("htm", "POST")]),
        (
            "path",
            vec![prover.proof_with_claim("htu", format!("{BASE}/oauth/token"))],
        ),
        (
            "host",
            vec![prover.proof_with_claim("htu", "https://evil.example/oauth/userinfo")],
        ),
        ("too old", vec![prover.proof_with_claim("iat", now - 600)]),
        (
            "from the future",
            vec![prover.proof_with_claim("iat", now + 600)],
        ),
        ("no jti", vec![prover.proof_with_claim("jti", Value::Null)]),
        (
            "ath",
            vec![prover.proof_with_claim("ath", s256("another token"))],
        ),
        ("no ath", vec![prover.proof_with_claim("ath", Value::Null)]),
    ] {
        let answer = prover.send(&proofs).await;
        assert_eq!(answer.json()["error"], "invalid_dpop_proof", "{what}");
        expect_challenge(&answer, "invalid_dpop_proof");
    }
    let answer = prover.send(&[prover.proof_by(&other)]).await;
    expect_challenge(&answer, "invalid_token");
    assert_eq!(world.state().await.without(&["replays"]), before);
    prover.send(&[prover.proof()]).await.ok();
}

/// RFC 9449 §10, for a request that was not pushed.
async fn a_key_that_was_named_in_the_browser_binds_the_code(world: &World) {
    for app in [world.app().await, world.public_app().await] {
        let app = app.with_dpop();
        let jkt = app.key().public().thumbprint();
        let pending = app.begin_authorization(&[("dpop_jkt", jkt.as_str())]);
        let browser = world.browser();
        let login = browser.open(&pending.url).await;
        let consent = browser.sign_in(&login, world.alice()).await;
        let code = pending.code(&browser.allow(&consent).await);
        let before = world.state().await.without(&["replays"]);
        for other in [app.without_key(), app.with_another_key()] {
            let answer = other.redeem(&pending, &code).await;
            answer.expect(400, "invalid_grant").logged("DPoP key");
        }
        assert_eq!(world.state().await.without(&["replays"]), before);
        let tokens = Tokens::of(&app.redeem(&pending, &code).await);
        assert_eq!(tokens.answer["token_type"], "DPoP");
        app.userinfo(&tokens.access).await.ok();
        let refused = app.with_another_key().userinfo(&tokens.access).await;
        refused.expect(401, "invalid_token");
    }
    let app = world.app().await;
    let long = "a".repeat(44);
    for jkt in [
        "short",
        &long,
        "not/base64url+of/a/SHA-256/hash/at/all+++++",
    ] {
        let pending = app.begin_authorization(&[("dpop_jkt", jkt)]);
        let page = world.browser().open(&pending.url).await;
        pending.refused(&page.away(), "invalid_request");
        page.answer.logged("dpop_jkt");
    }
}

#[track_caller]
fn expect_challenge(answer: &Answer, error: &str) {
    answer.expect(401, error).logged("caller");
    let challenge = answer.header("www-authenticate");
    assert!(challenge.starts_with("DPoP "), "{challenge}");
    assert!(
        challenge.contains(&format!("error=\"{error}\"")),
        "{challenge}"
    );
    assert!(challenge.contains("algs=\"ES256"), "{challenge}");
}

async fn a_proof_is_good_once_on_all_replicas(world: &World) {
    let app = world.app().await.with_dpop();
    let prover = Prover::new(&app).await;
    // The query is no part of `htu`.
    let good = [prover.proof_with_claim("htu", format!("{BASE}{USERINFO}?a=b"))];
    prover.send(&good).await.ok();
    let _one = world.replica().await;
    let answer = prover.send(&good).await;
    expect_challenge(&answer, "invalid_dpop_proof");
    answer.logged("used before");
    prover.send(&[prover.proof()]).await.ok();
}

async fn a_proof_is_good_once_although_valkey_forgets(world: &World) {
    let mut valkey = world.valkey().await;
    let app = world.app().await.with_dpop();
    let prover = Prover::new(&app).await;
    let proofs = [prover.proof(), prover.proof()];
    for proof in &proofs {
        prover.send(std::slice::from_ref(proof)).await.ok();
    }
    valkey.wipe().await;
    let wiped = prover.send(&proofs[..1]).await;
    expect_challenge(&wiped, "invalid_dpop_proof");
    valkey.kill().await;
    let away = prover.send(&proofs[1..]).await;
    expect_challenge(&away, "invalid_dpop_proof");
}

async fn an_old_or_missing_nonce_is_answered_with_a_new_one(world: &World) {
    let app = world.app().await.with_dpop();
    let mut prover = Prover::new(&app).await;
    world.pass(Duration::from_mins(4));
    for proof in [
        prover.proof(),
        prover.proof_with_claim("nonce", Value::Null),
        prover.proof_with_claim("nonce", "made-up"),
    ] {
        let answer = prover.send(&[proof]).await;
        expect_challenge(&answer, "use_dpop_nonce");
        let given = answer.header("dpop-nonce").to_owned();
        assert_ne!(given, prover.nonce);
    }
    let given = prover.send(&[prover.proof()]).await;
    prover.nonce = given.header("dpop-nonce").to_owned();
    prover.send(&[prover.proof()]).await.ok();
}

async fn the_url_of_a_proof_is_ours_whatever_the_headers_say(world: &World) {
    let app = world.app().await.with_dpop();
    let prover = Prover::new(&app).await;
    let forged = [
        ("host", "evil.example"),
        ("x-forwarded-host", "evil.example"),
        ("x-forwarded-proto", "http"),
        ("forwarded", "host=evil.example"),
    ];
    let for_evil = prover.proof_with_claim("htu", "https://evil.example/oauth/userinfo");
    let answer = prover.send_with(&[for_evil], &forged).await;
    expect_challenge(&answer, "invalid_dpop_proof");
    prover.send_with(&[prover.proof()], &forged).await.ok();
}
