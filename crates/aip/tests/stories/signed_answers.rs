//! Answers that are signed: introspection as a JWT for whoever asks for it (RFC 9701), and userinfo for
//! apps that are registered for it (OpenID Connect Core §5.3.2).

use aip_jose::UnverifiedJws;
use aip_storage::client::{GrantType, IdTokenAlg};
use bytes::Bytes;
use http::Request;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use serde_json::json;

use crate::answer::Answer;
use crate::app::{App, basic_credential};
use crate::main_story::verified_claims;
use crate::on_both_engines;
use crate::world::{BASE, World};

on_both_engines!(
    a_resource_server_may_have_what_it_is_told_signed,
    userinfo_is_signed_for_apps_that_are_registered_for_it,
);

const SIGNED: &str = "application/token-introspection+jwt";
const API: &str = "https://api.example.org";

async fn introspect_as(app: &App<'_>, token: &str, accept: &str, secret: &str) -> Answer {
    let form = serde_urlencoded::to_string([("token", token)]).unwrap();
    let request = Request::post(format!("{BASE}/oauth/introspect"))
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        .header(AUTHORIZATION, basic_credential(app.id.as_str(), secret))
        .header(ACCEPT, accept)
        .body(Bytes::from(form));
    app.world.send(request.unwrap()).await
}

async fn a_resource_server_may_have_what_it_is_told_signed(world: &World) {
    let metadata = world.get("/.well-known/openid-configuration").await.ok();
    let algs = &metadata["introspection_signing_alg_values_supported"];
    assert_eq!(*algs, json!(["RS256", "ES256"]));
    let app = App::register(world, |settings| settings.resources = API.parse().unwrap()).await;
    let pending = app.begin_authorization(&[("resource", API)]);
    let browser = world.browser();
    let login = browser.open(&pending.url).await;
    let consent = browser.sign_in(&login, world.alice()).await;
    let code = pending.code(&browser.allow(&consent).await);
    let tokens = crate::app::Tokens::of(&app.redeem(&pending, &code).await);
    for (alg, name) in [(IdTokenAlg::Es256, "ES256"), (IdTokenAlg::Rs256, "RS256")] {
        let api = App::register(world, |settings| {
            settings.grant_types = vec![GrantType::ClientCredentials].try_into().unwrap();
            settings.redirect_uris.clear();
            settings.resource_server = Some(API.parse().unwrap());
            settings.id_token_alg = alg;
        });
        let api = api.await;
        let secret = api.secret.clone().unwrap();
        let plain = api.introspect(&tokens.access).await.ok();
        for (token, told) in [
            (&*tokens.access, plain.clone()),
            ("unknown", json!({ "active": false })),
            (&*tokens.refresh, json!({ "active": false })),
        ] {
            let answer = introspect_as(&api, token, SIGNED, &secret).await;
            assert_eq!(answer.status, 200);
            assert_eq!(answer.header("content-type"), SIGNED);
            assert_eq!(answer.header("cache-control"), "no-store");
            let jwt = answer.text();
            let header = UnverifiedJws::parse(jwt).unwrap();
            let header = header.header();
            assert_eq!(header.typ.as_deref(), Some("token-introspection+jwt"));
            assert_eq!(header.alg.as_str(), name);
            let claims = verified_claims(world, jwt).await;
            assert!(claims["iat"].is_i64());
            let expected = json!({
                "iss": BASE, "aud": api.id.as_str(), "iat": claims["iat"],
                "token_introspection": told,
            });
            assert_eq!(claims, expected);
            // It is no token, though AIP signed it.
            app.userinfo(jwt).await.expect(401, "invalid_token");
            let nothing = api.introspect(jwt).await.ok();
            assert_eq!(nothing, json!({ "active": false }));
        }
        for accept in ["*/*", "application/json", "application/jwt"] {
            let answer = introspect_as(&api, &tokens.access, accept, &secret).await;
            assert_eq!(answer.ok(), plain, "{accept}");
        }
        let refused = introspect_as(&api, &tokens.access, SIGNED, "wrong").await;
        refused.expect(401, "invalid_client");
    }
}

async fn userinfo_is_signed_for_apps_that_are_registered_for_it(world: &World) {
    let metadata = world.get("/.well-known/openid-configuration").await.ok();
    let algs = &metadata["userinfo_signing_alg_values_supported"];
    assert_eq!(*algs, json!(["RS256", "ES256"]));
    for (alg, name) in [(IdTokenAlg::Es256, "ES256"), (IdTokenAlg::Rs256, "RS256")] {
        let app = App::register(world, |settings| settings.userinfo_alg = Some(alg)).await;
        let tokens = app.sign_in(&world.browser(), world.alice()).await;
        let answer = app.userinfo(&tokens.access).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("content-type"), "application/jwt");
        let jwt = answer.text();
        let parsed = UnverifiedJws::parse(jwt).unwrap();
        assert_eq!(parsed.header().alg.as_str(), name);
        let claims = verified_claims(world, jwt).await;
        let expected = json!({
            "iss": BASE, "aud": app.id.as_str(), "sub": world.alice().did.as_str(),
            "preferred_username": "alice.test", "name": "alice.test",
            "did": world.alice().did.as_str(), "pds_endpoint": world.pds().origin(),
        });
        assert_eq!(claims, expected);
        app.userinfo(jwt).await.expect(401, "invalid_token");
        app.userinfo("unknown").await.expect(401, "invalid_token");
        // Nor is it an id_token, although it has the same issuer, audience, key and type.
        for not_an_id_token in [jwt, &tokens.access] {
            let pending =
                app.begin_authorization(&[("prompt", "none"), ("id_token_hint", not_an_id_token)]);
            let back = world.browser().open(&pending.url).await.away();
            let told = pending.refused(&back, "invalid_request");
            assert!(told.contains("id_token_hint"), "{told}");
        }
    }
    let usual = world.app().await;
    let tokens = usual.sign_in(&world.browser(), world.alice()).await;
    let answer = usual.userinfo(&tokens.access).await;
    assert_eq!(answer.header("content-type"), "application/json");
    answer.ok();
}
