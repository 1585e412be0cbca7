//! Tokens that are signed with `EdDSA`, where the operator has made a key for it.

use aip_base::SystemRng;
use aip_jose::Alg;
use aip_keys::{KeySet, Purpose};
use aip_oauth::registration::RegistrationError;
use aip_storage::client::{AccessTokenFormat, IdTokenAlg};
use aws_lc_rs::digest::{SHA512, digest};
use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use crate::app::App;
use crate::on_both_engines;
use crate::world::{BASE, KEYS, World};

on_both_engines!(
    without_a_key_nothing_is_signed_with_eddsa,
    what_an_app_wants_signed_with_eddsa_verifies,
    a_key_that_follows_another_is_taken_over,
);

/// The keys of stories, and one for `EdDSA`. Returns its id, too.
fn with_key(world: &World, mut keys: KeySet) -> (KeySet, String) {
    let kid = keys.add(Purpose::Oidc, Alg::EdDsa, &*world.clock, &SystemRng);
    let kid = kid.unwrap();
    let json = keys.to_json().unwrap();
    world
        .secrets
        .learn_keys("a signing key", json.expose_secret());
    (keys, kid)
}

async fn advertised(world: &World) -> Value {
    let metadata = world.get("/.well-known/openid-configuration").await.ok();
    for answer in ["userinfo", "introspection"] {
        let name = format!("{answer}_signing_alg_values_supported");
        assert_eq!(
            metadata[name],
            metadata["id_token_signing_alg_values_supported"]
        );
    }
    metadata["id_token_signing_alg_values_supported"].clone()
}

async fn register(world: &World) -> App<'_> {
    App::register(world, |settings| {
        settings.id_token_alg = IdTokenAlg::EdDsa;
        settings.userinfo_alg = Some(IdTokenAlg::EdDsa);
        settings.access_token_format = AccessTokenFormat::Jwt;
    })
    .await
}

fn part(jwt: &str, number: usize) -> Vec<u8> {
    let part = jwt.split('.').nth(number).unwrap();
    URL_SAFE_NO_PAD.decode(part).unwrap()
}

/// The claims, verified by the library of the curve with the key as it is published.
async fn verified(world: &World, jwt: &str, kid: &str) -> Value {
    let header: Value = serde_json::from_slice(&part(jwt, 0)).unwrap();
    assert_eq!(
        (&header["alg"], &header["kid"]),
        (&json!("EdDSA"), &json!(kid))
    );
    let jwks = world.get("/.well-known/jwks.json").await.ok();
    let keys = jwks["keys"].as_array().unwrap();
    let key = keys.iter().find(|key| key["kid"] == kid).unwrap();
    assert_eq!(
        (&key["kty"], &key["crv"]),
        (&json!("OKP"), &json!("Ed25519"))
    );
    assert_eq!(key["d"], Value::Null);
    let public = URL_SAFE_NO_PAD.decode(key["x"].as_str().unwrap()).unwrap();
    let (signed, _) = jwt.rsplit_once('.').unwrap();
    UnparsedPublicKey::new(&ED25519, public)
        .verify(signed.as_bytes(), &part(jwt, 2))
        .unwrap();
    serde_json::from_slice(&part(jwt, 1)).unwrap()
}

async fn without_a_key_nothing_is_signed_with_eddsa(world: &World) {
    let refused = async || {
        let mut settings = App::settings();
        settings.id_token_alg = IdTokenAlg::EdDsa;
        let server = world.aip().app.server.clone();
        server.register_client(None, settings).await.err()
    };
    assert_eq!(advertised(world).await, json!(["RS256", "ES256"]));
    assert!(matches!(
        refused().await,
        Some(RegistrationError::NoKey("EdDSA"))
    ));
    // Nor with one that others may not know yet.
    let (keys, kid) = with_key(world, KEYS.clone());
    world.restart_with(keys.clone()).await;
    assert_eq!(advertised(world).await, json!(["RS256", "ES256"]));
    assert!(matches!(
        refused().await,
        Some(RegistrationError::NoKey("EdDSA"))
    ));
    // It is told as soon as it signs, without a restart.
    let mut active = keys;
    active
        .activate(&kid, aip_base::Clock::now(&*world.clock))
        .unwrap();
    let ring = world.aip().app.server.keys.clone();
    ring.replace(active, &[]).unwrap();
    assert_eq!(advertised(world).await, json!(["RS256", "ES256", "EdDSA"]));
    assert!(refused().await.is_none());
}

async fn what_an_app_wants_signed_with_eddsa_verifies(world: &World) {
    let (mut keys, kid) = with_key(world, KEYS.clone());
    keys.activate(&kid, aip_base::Clock::now(&*world.clock))
        .unwrap();
    world.restart_with(keys).await;
    assert_eq!(advertised(world).await, json!(["RS256", "ES256", "EdDSA"]));
    let app = register(world).await;
    let browser = world.browser();
    let tokens = app.sign_in(&browser, world.alice()).await;
    let did = world.alice().did.as_str();

    let claims = verified(world, tokens.id_token(), &kid).await;
    assert_eq!(
        (&claims["iss"], &claims["sub"]),
        (&json!(BASE), &json!(did))
    );
    // OpenID Connect Core §3.1.3.6, with the hash function of Ed25519.
    let hash = digest(&SHA512, tokens.access.as_bytes());
    let half = URL_SAFE_NO_PAD.encode(&hash.as_ref()[..32]);
    assert_eq!(claims["at_hash"], half);
    let claims = verified(world, &tokens.access, &kid).await;
    assert_eq!(claims["sub"], did);
    let told = app.userinfo(&tokens.access).await;
    let claims = verified(world, told.text(), &kid).await;
    assert_eq!(claims["sub"], did);
    assert_eq!(app.introspect(&tokens.access).await.ok()["active"], true);

    // It comes back as a hint, and a forged one does not.
    let pending =
        app.begin_authorization(&[("prompt", "none"), ("id_token_hint", tokens.id_token())]);
    pending.code(&browser.open(&pending.url).await.away());
    let forged = format!("{}A", &tokens.id_token()[..tokens.id_token().len() - 1]);
    let (head, signature) = tokens.id_token().rsplit_once('.').unwrap();
    let swapped: String = signature.chars().rev().collect();
    for forged in [forged, format!("{head}.{swapped}"), format!("{head}.")] {
        if forged == tokens.id_token() {
            continue;
        }
        let pending = app.begin_authorization(&[("prompt", "none"), ("id_token_hint", &forged)]);
        pending.refused(&browser.open(&pending.url).await.away(), "invalid_request");
    }
    // Others go on with what they are registered for.
    let usual = world.app().await.sign_in(&browser, world.alice()).await;
    let header: Value = serde_json::from_slice(&part(usual.id_token(), 0)).unwrap();
    assert_eq!(header["alg"], "ES256");
}

async fn a_key_that_follows_another_is_taken_over(world: &World) {
    let (mut keys, first) = with_key(world, KEYS.clone());
    let now = aip_base::Clock::now(&*world.clock);
    keys.activate(&first, now).unwrap();
    world.restart_with(keys.clone()).await;
    let app = register(world).await;
    let browser = world.browser();
    let tokens = app.sign_in(&browser, world.alice()).await;

    let (mut keys, second) = with_key(world, keys);
    keys.activate(&second, now).unwrap();
    world.restart_with(keys.clone()).await;
    let renewed = app.refresh(&tokens.refresh).await.ok();
    world.secrets.learn_tokens(&renewed);
    verified(world, renewed["id_token"].as_str().unwrap(), &second).await;
    // What the first one signed counts while it is published, and as a hint when it is retired.
    assert_eq!(app.introspect(&tokens.access).await.ok()["active"], true);
    keys.retire(&first, now).unwrap();
    world.restart_with(keys).await;
    let pending =
        app.begin_authorization(&[("prompt", "none"), ("id_token_hint", tokens.id_token())]);
    pending.code(&browser.open(&pending.url).await.away());
}
