//! Who signed in: `id_token`, userinfo, published keys.

use std::collections::BTreeSet;
use std::time::Duration;

use aip_base::Clock as _;
use aip_storage::client::IdTokenAlg;
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};

use crate::app::{App, SCOPE, Tokens};
use crate::main_story::verified_claims;
use crate::on_both_engines;
use crate::world::{BASE, World};

on_both_engines!(
    the_id_token_is_about_this_sign_in_and_nothing_else,
    nothing_but_a_live_access_token_opens_userinfo,
    published_keys_are_public_and_each_for_one_purpose,
    an_email_address_comes_from_the_pds_when_it_was_asked_for,
);

async fn the_id_token_is_about_this_sign_in_and_nothing_else(world: &World) {
    for (alg, name) in [(IdTokenAlg::Es256, "ES256"), (IdTokenAlg::Rs256, "RS256")] {
        let app = App::register(world, |settings| settings.id_token_alg = alg).await;
        for with_nonce in [true, false] {
            let changes = if with_nonce {
                &[][..]
            } else {
                &[("nonce", "")]
            };
            let pending = app.begin_authorization(changes);
            let browser = world.browser();
            let login = browser.open(&pending.url).await;
            let back = browser
                .allow(&browser.sign_in(&login, world.alice()).await)
                .await;
            world.pass(Duration::from_secs(10));
            let tokens = Tokens::of(&app.redeem(&pending, &pending.code(&back)).await);

            let now = world.clock.now().as_secs();
            let claims = verified_claims(world, tokens.id_token()).await;
            let mut expected = json!({
                "iss": BASE,
                "sub": world.alice().did.as_str(),
                "aud": app.id.as_str(),
                "iat": now,
                "exp": now + 600,
                "at_hash": at_hash(&tokens.access),
                "sid": claims["sid"],
            });
            assert!(claims["sid"].as_str().is_some_and(|it| it.len() == 36));
            if with_nonce {
                expected["nonce"] = json!(pending.nonce);
            }
            assert_eq!(claims, expected);
            assert_eq!(header(tokens.id_token())["alg"], name);

            // After a refresh it is about the same sign-in, without the nonce.
            let renewed = Tokens::of(&app.refresh(&tokens.refresh).await);
            let claims = verified_claims(world, renewed.id_token()).await;
            expected["at_hash"] = json!(at_hash(&renewed.access));
            expected.as_object_mut().unwrap().remove("nonce");
            assert_eq!(claims, expected);
        }
    }
    let discovery = world.get("/.well-known/openid-configuration").await.ok();
    let algs = &discovery["id_token_signing_alg_values_supported"];
    assert_eq!(*algs, json!(["RS256", "ES256"]));
}

fn at_hash(access: &str) -> String {
    URL_SAFE_NO_PAD.encode(&digest(&SHA256, access.as_bytes()).as_ref()[..16])
}

fn header(token: &str) -> Value {
    let header = token.split('.').next().unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).unwrap()).unwrap()
}

async fn nothing_but_a_live_access_token_opens_userinfo(world: &World) {
    let app = world.app().await;
    let tokens = app.sign_in(&world.browser(), world.alice()).await;
    let other_world = World::begin(crate::world::Engine::Sqlite).await;
    let foreign = other_world.app().await;
    let foreign = foreign
        .sign_in(&other_world.browser(), other_world.alice())
        .await;
    other_world.end().await;
    let before = world.state().await;
    let mut mistyped = tokens.access.clone();
    mistyped.pop();
    for (what, token) in [
        ("id_token", tokens.id_token()),
        ("refresh token", &tokens.refresh),
        ("another AIP's", &foreign.access),
        ("mistyped", &mistyped),
        ("one that is too long", &format!("{}x", tokens.access)),
        ("upper case", &tokens.access.to_uppercase()),
        ("another kind", &tokens.access.replace("aip_at_", "aip_rt_")),
        ("two", &format!("{0},{0}", tokens.access)),
        ("nothing", ""),
    ] {
        let answer = app.userinfo(token).await;
        assert_eq!(answer.status, 401, "{what}: {}", answer.text());
        answer.logged("caller");
        assert!(answer.headers.contains_key("www-authenticate"), "{what}");
    }
    let path = format!("/oauth/userinfo?access_token={}", tokens.access);
    let in_query = world.get(&path).await;
    in_query
        .expect(401, "invalid_token")
        .logged("no access token");
    let challenges = in_query.headers.get_all("www-authenticate").iter();
    let challenges: Vec<_> = challenges.map(|it| it.to_str().unwrap()).collect();
    assert!(
        challenges.iter().all(|it| !it.contains("error=")),
        "{challenges:?}"
    );
    let grant = [("grant_type", "client_credentials")];
    app.token(&grant).await.expect(400, "unauthorized_client");
    assert_eq!(world.state().await, before);

    world.pass(Duration::from_mins(61));
    app.userinfo(&tokens.access)
        .await
        .expect(401, "invalid_token");
    let tokens = Tokens::of(&app.refresh(&tokens.refresh).await);
    app.userinfo(&tokens.access).await.ok();
    let form = format!("access_token={}", tokens.access);
    let media_type = [("content-type", "application/x-www-form-urlencoded")];
    let path = "/oauth/userinfo";
    let both = app.call(
        &Method::POST,
        path,
        &tokens.access,
        &media_type,
        Bytes::from(form),
    );
    both.await
        .expect(400, "invalid_request")
        .logged("in the header and in the body");
    app.revoke(&tokens.access).await;
    app.userinfo(&tokens.access)
        .await
        .expect(401, "invalid_token");
}

async fn published_keys_are_public_and_each_for_one_purpose(world: &World) {
    let mut kids = Vec::new();
    for path in ["/.well-known/jwks.json", "/oauth/upstream/jwks.json"] {
        let set = world.get(path).await.ok();
        let keys = set["keys"].as_array().unwrap();
        assert!(!keys.is_empty());
        for key in keys {
            for private in ["d", "p", "q", "dp", "dq", "qi", "k", "oth"] {
                assert!(key.get(private).is_none(), "{path} shows {private}");
            }
        }
        let of_set = keys
            .iter()
            .map(|key| key["kid"].as_str().unwrap().to_owned());
        kids.push(of_set.collect::<BTreeSet<_>>());
    }
    assert!(kids[0].is_disjoint(&kids[1]));
    let app = world.app().await;
    let tokens = app.sign_in(&world.browser(), world.alice()).await;
    let kid = header(tokens.id_token())["kid"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(kids[0].contains(&kid));
    for request in world.pds().requests_to(aip_sandbox::Endpoint::Token) {
        assert!(kids[1].contains(&request.assertion_kid().unwrap()));
    }
}

async fn an_email_address_comes_from_the_pds_when_it_was_asked_for(world: &World) {
    let app = world.app().await;
    let scope = format!("{SCOPE} email");
    let with = app
        .sign_in_for(&world.browser(), world.alice(), &scope)
        .await;
    let claims = app.userinfo(&with.access).await.ok();
    assert_eq!(claims["email"], "alice-test@mail.test");
    assert_eq!(
        claims["email_verified"], false,
        "nobody vouches for the PDS"
    );
    assert_eq!(claims["preferred_username"], world.alice().handle.as_str());
    assert_eq!(claims["name"], world.alice().handle.as_str());
    let least = app
        .sign_in_for(&world.browser(), world.alice(), "openid atproto")
        .await;
    assert_eq!(
        app.userinfo(&least.access).await.ok(),
        json!({ "sub": world.alice().did.as_str(), "did": world.alice().did.as_str() })
    );
    let without = app.sign_in(&world.browser(), world.alice()).await;
    assert!(
        app.userinfo(&without.access)
            .await
            .ok()
            .get("email")
            .is_none()
    );
}
