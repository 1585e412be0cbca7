//! Codes: once, for one minute, for the app, redirect, verifier and key they were made for.

use std::time::Duration;

use aip_jose::{Alg, UnverifiedJws};
use aip_oauth::registration::ClientSettings;
use aip_storage::client::IdTokenAlg;
use serde_json::Value;

use crate::support::app::{TestApp, VERIFIER, userinfo};
use crate::support::{ALICE, ISSUER, World, settings};

#[tokio::test]
async fn a_code_becomes_tokens_that_nobody_may_keep_in_a_cache() {
    let world = World::new().await;
    let app = world.app().await;
    let code = app.code(&mut world.browser(), &[]).await;
    let answer = app.redeem(&code, &[]).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(answer.header("cache-control"), "no-store");
    assert_eq!(answer.header("pragma"), "no-cache");
    let tokens = answer.json();
    assert_eq!(tokens["token_type"], "Bearer");
    assert_eq!(tokens["expires_in"], 600);
    assert_eq!(tokens["scope"], "atproto openid profile");
}

#[tokio::test]
async fn d2_row35_a_code_used_twice_takes_back_what_it_gave() {
    let world = World::new().await;
    let app = world.app().await;
    let code = app.code(&mut world.browser(), &[]).await;
    let tokens = app.redeem(&code, &[]).await.json();
    app.redeem(&code, &[])
        .await
        .expect_error(400, "invalid_grant");
    let bearer = format!("Bearer {}", tokens["access_token"].as_str().unwrap());
    assert_eq!(userinfo(&world, &bearer).await.status, 401);
    let refresh = tokens["refresh_token"].as_str().unwrap();
    app.refresh(refresh)
        .await
        .expect_error(400, "invalid_grant");
}

#[tokio::test]
async fn d2_row35_of_two_parallel_exchanges_exactly_one_wins() {
    let world = World::new().await;
    let app = world.app().await;
    let code = app.code(&mut world.browser(), &[]).await;
    let (one, other) = tokio::join!(app.redeem(&code, &[]), app.redeem(&code, &[]));
    let mut statuses = [one.status.as_u16(), other.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 400]);
}

#[tokio::test]
async fn d2_row36_a_code_is_good_for_its_own_exchange_only() {
    let world = World::new().await;
    let app = world.app().await;
    let other = world.app().await;
    let code = app.code(&mut world.browser(), &[]).await;
    let wrong_verifier = "x".repeat(43);
    for changes in [
        [("redirect_uri", "https://app.example/elsewhere")],
        [("code_verifier", "")],
        [("code_verifier", wrong_verifier.as_str())],
        [("code_verifier", "short")],
    ] {
        let answer = app.redeem(&code, &changes).await;
        answer.expect_error(400, "invalid_grant");
    }
    other
        .redeem(&code, &[])
        .await
        .expect_error(400, "invalid_grant");
    // OAuth 2.1 §10.2: with PKCE the redirect URI need not be repeated.
    let without = app.redeem(&code, &[("redirect_uri", "")]).await;
    assert_eq!(without.status, 200, "nothing was spent: {}", without.body);
}

#[tokio::test]
async fn d2_row36_a_verifier_without_a_challenge_is_refused() {
    let world = World::new().await;
    let app = world
        .app_with(ClientSettings {
            require_pkce: false,
            auth_method: aip_storage::client::ClientAuthMethod::SecretBasic,
            ..settings()
        })
        .await;
    let without = [("code_challenge", ""), ("code_challenge_method", "")];
    let code = app.code(&mut world.browser(), &without).await;
    let answer = app.redeem(&code, &[("code_verifier", VERIFIER)]).await;
    answer.expect_error(400, "invalid_grant");
    let neither = [("code_verifier", ""), ("redirect_uri", "")];
    let answer = app.redeem(&code, &neither).await;
    answer.expect_error(400, "invalid_grant");
    let answer = app.redeem(&code, &[("code_verifier", "")]).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
}

#[tokio::test]
async fn d2_row36_a_code_is_over_after_a_minute() {
    let world = World::new().await;
    let app = world.app().await;
    let code = app.code(&mut world.browser(), &[]).await;
    world.clock.advance(Duration::from_secs(61));
    app.redeem(&code, &[])
        .await
        .expect_error(400, "invalid_grant");
}

#[tokio::test]
async fn d2_row36_a_failed_client_authentication_does_not_burn_the_code() {
    let world = World::new().await;
    let app = world.confidential_app().await;
    let code = app.code(&mut world.browser(), &[]).await;
    let thief = TestApp {
        world: &world,
        id: app.id.clone(),
        redirect_uri: app.redirect_uri.clone(),
        method: app.method,
        secret: Some("wrong".to_owned()),
    };
    thief
        .redeem(&code, &[])
        .await
        .expect_error(401, "invalid_client");
    assert_eq!(app.redeem(&code, &[]).await.status, 200);
}

#[tokio::test]
async fn d2_row37_a_public_app_must_say_which_app_it_is() {
    let world = World::new().await;
    let app = world.app().await;
    let code = app.code(&mut world.browser(), &[]).await;
    let form = [
        ("grant_type", "authorization_code"),
        ("code", code.as_str()),
        ("redirect_uri", app.redirect_uri.as_str()),
        ("code_verifier", VERIFIER),
    ];
    let answer = world.post("/oauth/token", &form).await;
    answer.expect_error(401, "invalid_client");
}

#[tokio::test]
async fn other_grant_types_are_unsupported() {
    let world = World::new().await;
    let app = world.confidential_app().await;
    for grant_type in ["password", "client_credentials", "implicit"] {
        let answer = app.token(&[("grant_type", grant_type)], Vec::new()).await;
        answer.expect_error(400, "unsupported_grant_type");
    }
    let answer = app.token(&[("scope", "openid")], Vec::new()).await;
    answer.expect_error(400, "invalid_request");
}

#[tokio::test]
async fn d2_row49_the_id_token_is_for_this_app_this_sign_in_and_this_access_token() {
    let world = World::new().await;
    for (alg, name) in [
        (IdTokenAlg::Es256, Alg::Es256),
        (IdTokenAlg::Rs256, Alg::Rs256),
    ] {
        let app = world
            .app_with(ClientSettings {
                id_token_alg: alg,
                ..settings()
            })
            .await;
        let tokens = app.tokens(&[]).await;
        let token = UnverifiedJws::parse(tokens["id_token"].as_str().unwrap()).unwrap();
        let jwks: aip_jose::JwkSet =
            serde_json::from_value(world.get("/.well-known/jwks.json").await.json()).unwrap();
        let kid = token.header().kid.clone();
        let key = jwks
            .select(kid.as_deref(), name)
            .expect("its key is published");
        let claims: Value = token.verify(key, name).unwrap().claims().unwrap();
        assert_eq!(claims["iss"], ISSUER);
        assert_eq!(claims["sub"], ALICE);
        assert_eq!(claims["aud"], app.id);
        assert_eq!(claims["nonce"], "the nonce");
        assert!(claims["exp"].as_i64() > claims["iat"].as_i64());
        let access = tokens["access_token"].as_str().unwrap();
        let digest = at_hash(access);
        assert_eq!(claims["at_hash"], digest);
    }
}

/// OpenID Connect Core §3.1.3.6, computed apart from the server's own code: the DPoP proof of an
/// access token carries the whole hash (RFC 9449 §4.2) of which `at_hash` is the left half.
fn at_hash(access_token: &str) -> String {
    use aip_base::SystemRng;
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    let key = aip_jose::SigningKey::generate(Alg::Es256, None).unwrap();
    let proof = aip_jose::dpop::Proof {
        htm: "GET",
        htu: ISSUER,
        nonce: None,
        access_token: Some(access_token),
    };
    let now = aip_base::Timestamp::from_secs(0);
    let proof = proof.make(&key, &SystemRng, now).unwrap();
    let claims: Value = UnverifiedJws::parse(&proof)
        .unwrap()
        .unverified_claims()
        .unwrap();
    let hash = URL_SAFE_NO_PAD
        .decode(claims["ath"].as_str().unwrap())
        .unwrap();
    URL_SAFE_NO_PAD.encode(&hash[..16])
}
