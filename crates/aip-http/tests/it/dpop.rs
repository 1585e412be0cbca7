//! Tokens that are bound to a key (RFC 9449).

use http::header::AUTHORIZATION;
use http::{HeaderName, Request};

use crate::support::app::{DpopKey, TestApp, VERIFIER, userinfo};
use crate::support::{Answer, ISSUER, World};

async fn redeem_with(app: &TestApp<'_>, code: &str, proofs: Vec<(HeaderName, String)>) -> Answer {
    let form = [
        ("grant_type", "authorization_code"),
        ("code", code),
        ("redirect_uri", app.redirect_uri.as_str()),
        ("code_verifier", VERIFIER),
    ];
    app.token(&form, proofs).await
}

async fn call(world: &World, authorization: String, proof: Option<(HeaderName, String)>) -> Answer {
    let mut request = Request::get("/oauth/userinfo").header(AUTHORIZATION, authorization);
    if let Some((name, value)) = proof {
        request = request.header(name, value);
    }
    world
        .send(request.body(axum::body::Body::empty()).unwrap())
        .await
}

#[tokio::test]
async fn d2_row41_a_proof_binds_the_tokens_and_they_are_worthless_without_it() {
    let world = World::new().await;
    let app = world.app().await;
    let key = DpopKey::new();
    let code = app.code(&mut world.browser(), &[]).await;
    let proof = key.proof(&world, "POST", "/oauth/token", None);
    let answer = redeem_with(&app, &code, vec![proof]).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(answer.header("dpop-nonce"), world.server.dpop_nonce());
    let tokens = answer.json();
    assert_eq!(tokens["token_type"], "DPoP");

    let refresh = tokens["refresh_token"].as_str().unwrap();
    app.refresh(refresh)
        .await
        .expect_error(400, "invalid_grant");
    let form = [("grant_type", "refresh_token"), ("refresh_token", refresh)];
    let stranger = DpopKey::new().proof(&world, "POST", "/oauth/token", None);
    let answer = app.token(&form, vec![stranger]).await;
    answer.expect_error(400, "invalid_grant");
    let proof = key.proof(&world, "POST", "/oauth/token", None);
    let fresh = app.token(&form, vec![proof]).await;
    assert_eq!(fresh.json()["token_type"], "DPoP");
}

#[tokio::test]
async fn d2_row46_without_a_current_nonce_the_app_is_given_one() {
    let world = World::new().await;
    let app = world.app().await;
    let key = DpopKey::new();
    let code = app.code(&mut world.browser(), &[]).await;
    let url = format!("{ISSUER}/oauth/token");
    for nonce in [None, Some("old")] {
        let proof = key.proof_with(&world, "POST", &url, None, nonce);
        let answer = redeem_with(&app, &code, vec![proof]).await;
        answer.expect_error(400, "use_dpop_nonce");
        assert_eq!(answer.header("dpop-nonce"), world.server.dpop_nonce());
    }
}

#[tokio::test]
async fn d2_row46_a_proof_for_something_else_or_two_or_twice_is_refused() {
    let world = World::new().await;
    let app = world.app().await;
    let key = DpopKey::new();
    let code = app.code(&mut world.browser(), &[]).await;
    let nonce = world.server.dpop_nonce();
    let proof = |method: &str, url: &str| key.proof_with(&world, method, url, None, Some(&nonce));
    let token_url = format!("{ISSUER}/oauth/token");
    let good = proof("POST", &token_url);
    for proofs in [
        vec![proof("GET", &token_url)],
        vec![proof("POST", &format!("{ISSUER}/oauth/revoke"))],
        vec![proof("POST", "https://other.example/oauth/token")],
        vec![good.clone(), proof("POST", &token_url)],
        vec![(HeaderName::from_static("dpop"), "garbage".to_owned())],
    ] {
        let answer = redeem_with(&app, &code, proofs).await;
        answer.expect_error(400, "invalid_dpop_proof");
    }
    assert_eq!(
        redeem_with(&app, &code, vec![good.clone()]).await.status,
        200
    );
    let answer = redeem_with(&app, &code, vec![good]).await;
    answer.expect_error(400, "invalid_dpop_proof");
}

#[tokio::test]
async fn d2_row47_a_bound_token_is_no_bearer_token_and_the_reverse() {
    let world = World::new().await;
    let app = world.app().await;
    let key = DpopKey::new();
    let code = app.code(&mut world.browser(), &[]).await;
    let proof = key.proof(&world, "POST", "/oauth/token", None);
    let tokens = redeem_with(&app, &code, vec![proof]).await.json();
    let bound = tokens["access_token"].as_str().unwrap();

    let as_bearer = userinfo(&world, &format!("Bearer {bound}")).await;
    as_bearer.expect_error(401, "invalid_token");
    assert!(
        as_bearer
            .joined("www-authenticate")
            .contains("error=\"invalid_token\"")
    );
    let without = call(&world, format!("DPoP {bound}"), None).await;
    without.expect_error(401, "invalid_dpop_proof");
    let proof = DpopKey::new().proof(&world, "GET", "/oauth/userinfo", Some(bound));
    let other_key = call(&world, format!("DPoP {bound}"), Some(proof)).await;
    other_key.expect_error(401, "invalid_token");
    let proof = key.proof(&world, "GET", "/oauth/userinfo", None);
    let without_ath = call(&world, format!("DPoP {bound}"), Some(proof)).await;
    without_ath.expect_error(401, "invalid_dpop_proof");

    let proof = key.proof(&world, "GET", "/oauth/userinfo", Some(bound));
    let right = call(&world, format!("DPoP {bound}"), Some(proof)).await;
    assert_eq!(right.status, 200, "{}", right.body);

    let free = app.tokens(&[]).await["access_token"]
        .as_str()
        .unwrap()
        .to_owned();
    let proof = key.proof(&world, "GET", "/oauth/userinfo", Some(&free));
    let as_dpop = call(&world, format!("DPoP {free}"), Some(proof)).await;
    as_dpop.expect_error(401, "invalid_token");
}

#[tokio::test]
async fn d2_row46_a_resource_asks_for_a_nonce_in_its_challenge() {
    let world = World::new().await;
    let app = world.app().await;
    let key = DpopKey::new();
    let code = app.code(&mut world.browser(), &[]).await;
    let proof = key.proof(&world, "POST", "/oauth/token", None);
    let tokens = redeem_with(&app, &code, vec![proof]).await.json();
    let token = tokens["access_token"].as_str().unwrap();
    let url = format!("{ISSUER}/oauth/userinfo");
    let proof = key.proof_with(&world, "GET", &url, Some(token), None);
    let answer = call(&world, format!("DPoP {token}"), Some(proof)).await;
    answer.expect_error(401, "use_dpop_nonce");
    let challenge = answer.joined("www-authenticate");
    assert!(challenge.starts_with("DPoP "), "{challenge}");
    assert!(
        challenge.contains("error=\"use_dpop_nonce\""),
        "{challenge}"
    );
    assert!(challenge.contains("algs=\"ES256"), "{challenge}");
    assert_eq!(answer.header("dpop-nonce"), world.server.dpop_nonce());
}

#[tokio::test]
async fn d2_row48_the_url_of_a_proof_is_judged_by_the_issuer_and_not_by_headers() {
    let world = World::new().await;
    let app = world.app().await;
    let key = DpopKey::new();
    let code = app.code(&mut world.browser(), &[]).await;
    let nonce = world.server.dpop_nonce();
    let forged = |url: &str| {
        vec![
            key.proof_with(&world, "POST", url, None, Some(&nonce)),
            (http::header::HOST, "evil.example".to_owned()),
            (
                HeaderName::from_static("x-forwarded-host"),
                "evil.example".to_owned(),
            ),
        ]
    };
    let answer = redeem_with(&app, &code, forged("https://evil.example/oauth/token")).await;
    answer.expect_error(400, "invalid_dpop_proof");
    let answer = redeem_with(&app, &code, forged(&format!("{ISSUER}/oauth/token"))).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
}
