//! Access tokens that are JWTs (RFC 9068): resource servers read them by themselves; at AIP they open
//! what opaque ones open, and end as they do.

use std::time::Duration;

use aip_base::Clock as _;
use aip_jose::{Alg, SigningKey, UnverifiedJws, sign_jwt};
use aip_oauth::registration::ClientSettings;
use aip_storage::client::{AccessTokenFormat, GrantType, IdTokenAlg};
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::app::{App, Tokens};
use crate::main_story::verified_claims;
use crate::on_both_engines;
use crate::request_line::statements;
use crate::world::{BASE, Engine, World};

on_both_engines!(
    a_jwt_says_what_its_grant_says_in_both_algorithms,
    a_jwt_opens_here_what_an_opaque_token_opens,
    a_jwt_ends_with_its_time_by_revocation_and_with_its_grant,
    a_jwt_that_is_not_ours_is_nothing,
    a_jwt_is_bound_to_the_key_of_its_proof,
    a_jwt_of_an_app_itself_is_for_no_account,
    of_fifty_exchanges_for_a_jwt_one_wins,
    a_refresh_for_a_jwt_costs_one_statement,
);

const API: &str = "https://api.example.org";

fn with_jwts(settings: &mut ClientSettings) {
    settings.access_token_format = AccessTokenFormat::Jwt;
    settings.resources = API.parse().unwrap();
}

async fn jwt_app(world: &World) -> App<'_> {
    App::register(world, with_jwts).await
}

/// The claims of a token that nobody verified.
fn claims_of(token: &str) -> Value {
    let jws = UnverifiedJws::parse(token).unwrap();
    jws.unverified_claims().unwrap()
}

/// AIP's own key towards apps.
fn signing_key(world: &World) -> std::sync::Arc<SigningKey> {
    let keys = world.aip().app.server.keys.current();
    keys.oidc(Alg::Es256).unwrap().clone()
}

async fn a_jwt_says_what_its_grant_says_in_both_algorithms(world: &World) {
    for (alg, name) in [(IdTokenAlg::Es256, "ES256"), (IdTokenAlg::Rs256, "RS256")] {
        let app = App::register(world, |settings| {
            with_jwts(settings);
            settings.id_token_alg = alg;
        });
        let app = app.await;
        let tokens = app.sign_in(&world.browser(), world.alice()).await;
        assert_eq!(tokens.answer["token_type"], "Bearer");
        let header = UnverifiedJws::parse(&tokens.access).unwrap();
        let header = header.header();
        assert_eq!(header.typ.as_deref(), Some("at+jwt"));
        assert_eq!(header.alg.as_str(), name);
        let claims = verified_claims(world, &tokens.access).await;
        let now = world.clock.now().as_secs();
        let jti = claims["jti"].as_str().unwrap();
        assert!(jti.len() >= 22, "{jti}");
        let told = app.introspect(&tokens.access).await.ok();
        let expected = json!({
            "iss": BASE, "sub": world.alice().did.as_str(), "aud": BASE,
            "client_id": app.id.as_str(), "scope": tokens.answer["scope"],
            "jti": jti, "iat": told["iat"], "exp": told["exp"], "acr": "0",
        });
        assert_eq!(claims, expected);
        assert_eq!(claims["exp"], now + 3600);
        // The ID token is about this very access token.
        let hash = digest(&SHA256, tokens.access.as_bytes());
        let at_hash = URL_SAFE_NO_PAD.encode(&hash.as_ref()[..16]);
        assert_eq!(
            verified_claims(world, tokens.id_token()).await["at_hash"],
            at_hash
        );
        // Each has an id of its own.
        let renewed = Tokens::of(&app.refresh(&tokens.refresh).await);
        assert_ne!(claims_of(&renewed.access)["jti"], claims["jti"]);
        let narrow = app.narrow(&renewed.refresh, "openid").await;
        let narrow = Tokens::of(&narrow);
        assert_eq!(claims_of(&narrow.access)["scope"], "openid");
    }
    // When and for whom the person signed in, and the resource servers that were asked for.
    let app = jwt_app(world).await;
    let pending = app.begin_authorization(&[("prompt", "login"), ("resource", API)]);
    let browser = world.browser();
    let login = browser.open(&pending.url).await;
    let consent = browser.sign_in(&login, world.alice()).await;
    let back = browser.allow(&consent).await;
    let tokens = Tokens::of(&app.redeem(&pending, &pending.code(&back)).await);
    let claims = verified_claims(world, &tokens.access).await;
    assert_eq!(claims["aud"], API);
    let id_token = verified_claims(world, tokens.id_token()).await;
    assert!(id_token["auth_time"].is_i64());
    assert_eq!(claims["auth_time"], id_token["auth_time"]);
}

async fn a_jwt_opens_here_what_an_opaque_token_opens(world: &World) {
    let app = jwt_app(world).await;
    let tokens = app.sign_in(&world.browser(), world.alice()).await;
    let one = world.replica().await;
    for _ in 0..2 {
        let did = world.alice().did.as_str();
        assert_eq!(app.userinfo(&tokens.access).await.ok()["sub"], did);
        let query = "com.atproto.server.getSession";
        app.query(&tokens.access, query).await.ok();
        let session = app.call(
            &http::Method::GET,
            "/api/atprotocol/session",
            &tokens.access,
            &[],
            bytes::Bytes::new(),
        );
        assert_eq!(session.await.ok()["did"], did);
        world.lead_to(&one);
    }
    // For another resource server alone, nothing.
    let pending = app.begin_authorization(&[("resource", API)]);
    let browser = world.browser();
    let login = browser.open(&pending.url).await;
    let consent = browser.sign_in(&login, world.alice()).await;
    let back = browser.allow(&consent).await;
    let tokens = Tokens::of(&app.redeem(&pending, &pending.code(&back)).await);
    let refused = app.userinfo(&tokens.access).await;
    refused
        .expect(401, "invalid_token")
        .logged("for other resource servers");
    // It may be narrower than its grant here, too.
    let tokens = app.sign_in(&world.browser(), world.alice()).await;
    let narrow = Tokens::of(&app.narrow(&tokens.refresh, "atproto").await);
    let refused = app.userinfo(&narrow.access).await;
    refused.expect(403, "insufficient_scope");
}

async fn a_jwt_ends_with_its_time_by_revocation_and_with_its_grant(world: &World) {
    let app = jwt_app(world).await;
    let stranger = jwt_app(world).await;
    let tokens = app.sign_in(&world.browser(), world.alice()).await;
    let dead = json!({ "active": false });
    let renewed = Tokens::of(&app.refresh(&tokens.refresh).await);
    assert_eq!(stranger.introspect(&tokens.access).await.ok(), dead);
    assert_eq!(stranger.revoke(&tokens.access).await.status, 200);
    app.userinfo(&tokens.access).await.ok();

    let one = world.replica().await;
    app.query(&tokens.access, "com.atproto.server.getSession")
        .await
        .ok();
    assert_eq!(app.revoke(&tokens.access).await.status, 200);
    let refused = app
        .query(&tokens.access, "com.atproto.server.getSession")
        .await;
    refused.expect(401, "invalid_token");
    world.lead_to(&one);
    app.userinfo(&tokens.access)
        .await
        .expect(401, "invalid_token");
    assert_eq!(app.introspect(&tokens.access).await.ok(), dead);
    app.userinfo(&renewed.access).await.ok();

    world.pass(Duration::from_hours(1));
    app.userinfo(&renewed.access)
        .await
        .expect(401, "invalid_token");
    assert_eq!(app.introspect(&renewed.access).await.ok(), dead);
    let last = Tokens::of(&app.refresh(&renewed.refresh).await);
    assert_eq!(app.revoke(&last.refresh).await.status, 200);
    app.userinfo(&last.access)
        .await
        .expect(401, "invalid_token");
    assert_eq!(app.introspect(&last.access).await.ok(), dead);
}

async fn a_jwt_that_is_not_ours_is_nothing(world: &World) {
    let app = jwt_app(world).await;
    let tokens = app.sign_in(&world.browser(), world.alice()).await;
    let claims = claims_of(&tokens.access);
    let key = signing_key(world);
    let resigned = sign_jwt(&key, "at+jwt", &claims).unwrap();
    app.userinfo(&resigned).await.ok();
    let with = |name: &str, value: Value| {
        let mut claims = claims.clone();
        claims[name] = value;
        sign_jwt(&key, "at+jwt", &claims).unwrap()
    };
    let kid = key.kid().unwrap().to_owned();
    let stolen_name = SigningKey::generate(Alg::Es256, Some(kid)).unwrap();
    let nameless = SigningKey::generate(Alg::Es256, None).unwrap();
    let keys = world.aip().app.server.keys.current();
    let upstream = keys.upstream_active().clone();
    let parts: Vec<&str> = tokens.access.split('.').collect();
    let none = URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"at+jwt"}"#);
    let before = world.state().await;
    for (forged, what) in [
        (
            sign_jwt(&stolen_name, "at+jwt", &claims).unwrap(),
            "another key",
        ),
        (sign_jwt(&nameless, "at+jwt", &claims).unwrap(), "no kid"),
        (
            sign_jwt(&upstream, "at+jwt", &claims).unwrap(),
            "a key towards PDSs",
        ),
        (sign_jwt(&key, "JWT", &claims).unwrap(), "another type"),
        (
            with("iss", json!("https://other.example.org")),
            "another issuer",
        ),
        (with("jti", json!("another")), "another id"),
        (with("jti", Value::Null), "no id"),
        (with("sub", json!(app.id.as_str())), "the client as subject"),
        (format!("{none}.{}.", parts[1]), "no signature"),
        (format!("{none}.{}.{}", parts[1], parts[2]), "alg none"),
        (format!("{}.{}.", parts[0], parts[1]), "cut off"),
        (claims["jti"].as_str().unwrap().to_owned(), "the id alone"),
        (tokens.id_token().to_owned(), "the ID token"),
        ("a.b.c".to_owned(), "garbage"),
        ("x".repeat(17_000), "much garbage"),
    ] {
        let refused = app.userinfo(&forged).await;
        assert_eq!(refused.status, 401, "{what}");
        let told = app.introspect(&forged).await.ok();
        assert_eq!(told, json!({ "active": false }), "{what}");
        assert_eq!(app.revoke(&forged).await.status, 200, "{what}");
    }
    assert_eq!(world.state().await, before);
    app.userinfo(&tokens.access).await.ok();
}

async fn a_jwt_is_bound_to_the_key_of_its_proof(world: &World) {
    let app = jwt_app(world).await.with_dpop();
    let tokens = app.sign_in(&world.browser(), world.alice()).await;
    assert_eq!(tokens.answer["token_type"], "DPoP");
    let jkt = app.key().public().thumbprint();
    let claims = verified_claims(world, &tokens.access).await;
    assert_eq!(claims["cnf"], json!({ "jkt": jkt.as_str() }));
    app.userinfo(&tokens.access).await.ok();
    app.query(&tokens.access, "com.atproto.server.getSession")
        .await
        .ok();
    for other in [app.without_key(), app.with_another_key()] {
        let refused = other.userinfo(&tokens.access).await;
        refused.expect(401, "invalid_token");
    }
}

async fn a_jwt_of_an_app_itself_is_for_no_account(world: &World) {
    let app = App::register(world, |settings| {
        with_jwts(settings);
        settings.grant_types = vec![GrantType::ClientCredentials].try_into().unwrap();
        settings.redirect_uris.clear();
    });
    let app = app.await;
    let form = [("grant_type", "client_credentials"), ("resource", API)];
    for form in [&form[..1], &form[..]] {
        let answer = app.token(form).await.ok();
        let token = answer["access_token"].as_str().unwrap();
        let claims = verified_claims(world, token).await;
        assert_eq!(claims["sub"], app.id.as_str());
        assert_eq!(claims["client_id"], app.id.as_str());
        let audience = if form.len() == 1 { BASE } else { API };
        assert_eq!(claims["aud"], audience);
        for absent in ["acr", "auth_time", "cnf"] {
            assert_eq!(claims.get(absent), None);
        }
        let refused = app.userinfo(token).await;
        refused
            .expect(401, "invalid_token")
            .logged("for no account");
        assert_eq!(app.introspect(token).await.ok()["active"], true);
        assert_eq!(app.revoke(token).await.status, 200);
        assert_eq!(app.introspect(token).await.ok()["active"], false);
    }
}

async fn of_fifty_exchanges_for_a_jwt_one_wins(world: &World) {
    let app = jwt_app(world).await;
    let pending = app.begin_authorization(&[]);
    let browser = world.browser();
    let login = browser.open(&pending.url).await;
    let consent = browser.sign_in(&login, world.alice()).await;
    let code = pending.code(&browser.allow(&consent).await);
    let answers = join_all((0..50).map(|_| app.redeem(&pending, &code))).await;
    let (won, lost): (Vec<_>, Vec<_>) = answers.iter().partition(|it| it.status.is_success());
    assert_eq!((won.len(), lost.len()), (1, 49));
    let tokens = Tokens::of(won[0]);
    let refused = app.userinfo(&tokens.access).await;
    refused.expect(401, "invalid_token");
}

async fn a_refresh_for_a_jwt_costs_one_statement(world: &World) {
    let app = jwt_app(world).await;
    let mut tokens = app.sign_in(&world.browser(), world.alice()).await;
    let mut costs = Vec::new();
    // At first the client is read, and again when a second has passed.
    for _ in 0..5 {
        let answer = app.refresh(&tokens.refresh).await;
        tokens = Tokens::of(&answer);
        costs.push(statements(world, &answer));
    }
    if world.engine() == Engine::Postgres {
        assert_eq!(costs.iter().min(), Some(&1), "{costs:?}");
    }
}
