//! Apps that are held to the FAPI 2.0 Security Profile (`--security-profile fapi2`).

use std::time::Duration;

use aip_jose::client_assertion::ASSERTION_TYPE;
use aip_jose::{Alg, JwkSet, SigningKey};
use aip_oauth::registration::{ClientSettings, RegistrationError};
use aip_storage::client::{
    ApplicationType, ClientAuthMethod, ClientKeys, GrantType, IdTokenAlg, SecurityProfile,
};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use url::Url;

use crate::answer::Answer;
use crate::app::{App, AssertionClaims, PendingAuthorization, Tokens, sign};
use crate::on_both_engines;
use crate::world::{BASE, World};

on_both_engines!(
    an_app_of_the_profile_signs_in_with_everything_it_demands,
    a_refresh_token_of_the_profile_stays_the_same,
    a_request_that_was_not_pushed_is_refused_under_the_profile,
    a_pushed_request_weaker_than_the_profile_is_refused,
    a_token_request_without_a_proof_is_refused_under_the_profile,
    a_proof_that_is_signed_otherwise_is_refused_under_the_profile,
    an_assertion_names_the_issuer_alone_under_the_profile,
    an_assertion_with_rs256_is_refused_under_the_profile,
    assertions_with_ps256_and_eddsa_are_accepted_under_the_profile,
    a_code_of_the_profile_expires_after_a_minute,
    clients_weaker_than_the_profile_are_not_registered,
);

async fn fapi2_app(world: &World) -> App<'_> {
    let app = App::register_with_key(world, |settings| {
        settings.security_profile = SecurityProfile::Fapi2;
    });
    app.await.with_dpop()
}

async fn push(app: &App<'_>, pending: &PendingAuthorization) -> Answer {
    let url = Url::parse(&pending.url).unwrap();
    let form: Vec<_> = url.query_pairs().into_owned().collect();
    let form: Vec<_> = form.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    let answer = app.post("/oauth/par", &form).await;
    if answer.status.is_success() {
        let uri = answer.json()["request_uri"].as_str().unwrap().to_owned();
        app.world.secrets.learn("a request_uri", &uri);
    }
    answer
}

/// The code that alice's browser brings back.
async fn code(app: &App<'_>, pending: &PendingAuthorization) -> String {
    let pushed = push(app, pending).await;
    assert_eq!(pushed.status, 201, "{}", pushed.text());
    let uri = pushed.json()["request_uri"].as_str().unwrap().to_owned();
    let query = [("client_id", app.id.as_str()), ("request_uri", &*uri)];
    let query = serde_urlencoded::to_string(query).unwrap();
    let browser = app.world.browser();
    let login = browser
        .open(&format!("{BASE}/oauth/authorize?{query}"))
        .await;
    let consent = browser.sign_in(&login, app.world.alice()).await;
    pending.code(&browser.allow(&consent).await)
}

async fn an_app_of_the_profile_signs_in_with_everything_it_demands(world: &World) {
    let app = fapi2_app(world).await;
    let pending = app.begin_authorization(&[]);
    let code = code(&app, &pending).await;
    let tokens = Tokens::of(&app.redeem(&pending, &code).await);
    assert_eq!(tokens.answer["token_type"], "DPoP");
    app.userinfo(&tokens.access).await.ok();
    let refused = app.without_key().userinfo(&tokens.access).await;
    refused.expect(401, "invalid_token");
}

async fn a_refresh_token_of_the_profile_stays_the_same(world: &World) {
    let app = fapi2_app(world).await;
    let pending = app.begin_authorization(&[]);
    let code = code(&app, &pending).await;
    let tokens = Tokens::of(&app.redeem(&pending, &code).await);
    // Its life begins anew with each use, as that of a successor would.
    for days in [0, 29, 29] {
        world.pass(Duration::from_hours(24 * days));
        for _ in 0..2 {
            let renewed = Tokens::of(&app.refresh(&tokens.refresh).await);
            assert_eq!(renewed.refresh, tokens.refresh);
            app.userinfo(&renewed.access).await.ok();
        }
    }
    let kept = world.dump().await.count("refresh_tokens");
    assert_eq!(kept, 1);
    // Not without the key, not for another client, and not after it was given back.
    let refused = app.without_key().refresh(&tokens.refresh).await;
    refused.expect(400, "invalid_request");
    let other = fapi2_app(world).await;
    let refused = other.refresh(&tokens.refresh).await;
    refused.expect(400, "invalid_grant");
    assert_eq!(app.revoke(&tokens.refresh).await.status, 200);
    let refused = app.refresh(&tokens.refresh).await;
    refused.expect(400, "invalid_grant");
}

async fn a_request_that_was_not_pushed_is_refused_under_the_profile(world: &World) {
    let app = fapi2_app(world).await;
    let pending = app.begin_authorization(&[]);
    let page = world.browser().open(&pending.url).await;
    pending.refused(&page.away(), "invalid_request");
}

async fn a_pushed_request_weaker_than_the_profile_is_refused(world: &World) {
    let app = fapi2_app(world).await;
    for (name, value) in [
        ("code_challenge", ""),
        ("code_challenge_method", "plain"),
        ("redirect_uri", "https://app.example.org/callback/"),
        ("redirect_uri", ""),
    ] {
        let refused = push(&app, &app.begin_authorization(&[(name, value)])).await;
        refused.expect(400, "invalid_request");
    }
    let refused = push(
        &app,
        &app.begin_authorization(&[("response_type", "code token")]),
    )
    .await;
    refused.expect(400, "unsupported_response_type");
    assert_eq!(world.dump().await.count("authorization_requests"), 0);
}

async fn a_token_request_without_a_proof_is_refused_under_the_profile(world: &World) {
    let app = fapi2_app(world).await;
    let pending = app.begin_authorization(&[]);
    let code = code(&app, &pending).await;
    let refused = app.without_key().redeem(&pending, &code).await;
    refused.expect(400, "invalid_request");
    Tokens::of(&app.redeem(&pending, &code).await);
}

/// The same RSA key, which signs with RS256 from now on.
fn with_rs256(key: &SigningKey) -> SigningKey {
    let json = key.to_private_jwk_json().unwrap();
    let mut jwk: Value = serde_json::from_str(json.expose_secret()).unwrap();
    jwk["alg"] = json!("RS256");
    SigningKey::from_jwk_json(&jwk.to_string()).unwrap()
}

async fn a_proof_that_is_signed_otherwise_is_refused_under_the_profile(world: &World) {
    let refuse = |answer: &Answer, status, alg: Alg| {
        answer
            .expect(status, "invalid_dpop_proof")
            .logged(&format!("{alg}, which this client may not use"));
    };
    let app = fapi2_app(world).await;
    let pending = app.begin_authorization(&[]);
    let code = code(&app.without_key(), &pending).await;
    let before = world.state().await.without(&["replays"]);
    for alg in [Alg::Rs256, Alg::Es256k] {
        let other = app.without_key().with_dpop_of(alg);
        refuse(
            &push(&other, &other.begin_authorization(&[])).await,
            400,
            alg,
        );
        refuse(&other.redeem(&pending, &code).await, 400, alg);
    }
    assert_eq!(world.state().await.without(&["replays"]), before);

    let app = app.without_key().with_dpop_of(Alg::Ps256);
    let tokens = Tokens::of(&app.redeem(&pending, &code).await);
    app.userinfo(&tokens.access).await.ok();
    // The key is that of the token, and the thumbprint of an RSA key does not depend on the algorithm.
    let weaker = app.without_key().with_dpop_key(with_rs256(app.key()));
    let jkt = |app: &App<'_>| app.key().public().thumbprint().as_str().to_owned();
    assert_eq!(jkt(&weaker), jkt(&app));
    refuse(&weaker.userinfo(&tokens.access).await, 401, Alg::Rs256);
    let call = "com.atproto.server.getSession";
    refuse(&weaker.query(&tokens.access, call).await, 401, Alg::Rs256);
    refuse(&weaker.refresh(&tokens.refresh).await, 400, Alg::Rs256);
    app.refresh(&tokens.refresh).await.ok();
}

async fn introspect_with(app: &App<'_>, assertion: &str) -> Answer {
    let form = [
        ("token", "any"),
        ("client_assertion_type", ASSERTION_TYPE),
        ("client_assertion", assertion),
    ];
    app.without_key()
        .post_as("/oauth/introspect", None, &form)
        .await
}

async fn an_assertion_names_the_issuer_alone_under_the_profile(world: &World) {
    let app = fapi2_app(world).await;
    let by = |audience: Value| {
        let claims = AssertionClaims::of(&app).with("aud", audience);
        sign(&app, app.assertion_key(), &claims)
    };
    introspect_with(&app, &by(json!(BASE))).await.ok();
    for audience in [
        json!([BASE]),
        json!(format!("{BASE}/oauth/token")),
        json!(format!("{BASE}/oauth/par")),
        json!(format!("{BASE}/")),
    ] {
        let refused = introspect_with(&app, &by(audience)).await;
        refused
            .expect(401, "invalid_client")
            .logged("not this server alone");
    }
}

async fn an_assertion_with_rs256_is_refused_under_the_profile(world: &World) {
    let rsa = SigningKey::generate(Alg::Rs256, Some("rsa".to_owned())).unwrap();
    let app = App::register_with_key(world, |settings| {
        let Some(ClientKeys::Registered(keys)) = &settings.keys else {
            panic!("{:?}", settings.keys)
        };
        let keys = [keys.keys(), &[rsa.public().clone()]].concat();
        settings.keys = Some(ClientKeys::Registered(JwkSet::new(keys)));
        settings.security_profile = SecurityProfile::Fapi2;
    });
    let app = app.await;
    introspect_with(&app, &app.assertion()).await.ok();
    let assertion = sign(&app, &rsa, &AssertionClaims::of(&app));
    let refused = introspect_with(&app, &assertion).await;
    refused
        .expect(401, "invalid_client")
        .logged("RS256, which this client may not use");
}

async fn assertions_with_ps256_and_eddsa_are_accepted_under_the_profile(world: &World) {
    // A JWK need not say its algorithm.
    for (alg, is_named) in [(Alg::Ps256, true), (Alg::Ps256, false), (Alg::EdDsa, true)] {
        let key = SigningKey::generate(alg, Some("key-1".to_owned())).unwrap();
        let mut jwk = serde_json::to_value(key.public()).unwrap();
        if !is_named {
            jwk.as_object_mut().unwrap().remove("alg");
        }
        let keys: JwkSet = serde_json::from_value(json!({ "keys": [jwk] })).unwrap();
        let app = App::register_with_key(world, |settings| {
            settings.keys = Some(ClientKeys::Registered(keys));
            settings.security_profile = SecurityProfile::Fapi2;
        });
        let app = app.await.with_assertion_key(key).with_dpop();
        let pending = app.begin_authorization(&[]);
        let code = code(&app, &pending).await;
        let tokens = Tokens::of(&app.redeem(&pending, &code).await);
        app.userinfo(&tokens.access).await.ok();
    }
}

async fn a_code_of_the_profile_expires_after_a_minute(world: &World) {
    let app = fapi2_app(world).await;
    let pending = app.begin_authorization(&[]);
    let code = code(&app, &pending).await;
    world.pass(Duration::from_mins(1));
    let refused = app.redeem(&pending, &code).await;
    refused.expect(400, "invalid_grant");
}

async fn clients_weaker_than_the_profile_are_not_registered(world: &World) {
    let server = world.aip().app.server.clone();
    let key = SigningKey::generate(Alg::Es256, None).unwrap();
    let rsa = SigningKey::generate(Alg::Rs256, None).unwrap();
    let of = |key: &SigningKey| {
        Some(ClientKeys::Registered(JwkSet::new(vec![
            key.public().clone(),
        ])))
    };
    let strong = || ClientSettings {
        auth_method: ClientAuthMethod::PrivateKeyJwt,
        keys: of(&key),
        security_profile: SecurityProfile::Fapi2,
        ..App::settings()
    };
    let refusal = async |change: &dyn Fn(&mut ClientSettings)| {
        let mut settings = strong();
        change(&mut settings);
        server.register_client(None, settings).await.err().unwrap()
    };
    for method in [
        ClientAuthMethod::None,
        ClientAuthMethod::SecretBasic,
        ClientAuthMethod::SecretPost,
    ] {
        let refused = refusal(&|it| it.auth_method = method).await;
        assert!(refused.to_string().contains("private_key_jwt"), "{refused}");
    }
    let refused = refusal(&|it| it.id_token_alg = IdTokenAlg::Rs256).await;
    assert!(refused.to_string().contains("ES256"), "{refused}");
    let refused = refusal(&|it| it.userinfo_alg = Some(IdTokenAlg::Rs256)).await;
    assert!(refused.to_string().contains("--userinfo-alg"), "{refused}");
    let refused = refusal(&|it| it.keys = of(&rsa)).await;
    assert!(matches!(refused, RegistrationError::NoUsableClientKey(_)));
    for redirect in ["http://127.0.0.1/callback", "com.example.app:/callback"] {
        let native = |it: &mut ClientSettings| {
            it.application_type = ApplicationType::Native;
            it.redirect_uris = vec![redirect.parse().unwrap()];
        };
        let refused = refusal(&native).await;
        assert!(matches!(refused, RegistrationError::Fapi2(_)), "{refused}");
    }
    let devices = |it: &mut ClientSettings| {
        let grants = vec![GrantType::AuthorizationCode, GrantType::DeviceCode];
        it.grant_types = grants.try_into().unwrap();
    };
    let refused = refusal(&devices).await;
    assert!(refused.to_string().contains("device codes"), "{refused}");
    assert_eq!(world.dump().await.count("clients"), 0);
    // What makes it safer need not be said.
    let (client, secret) = server.register_client(None, strong()).await.unwrap();
    assert!(secret.is_none());
    let settings = client.settings;
    assert!(settings.require_par && settings.require_pkce && settings.dpop_bound_access_tokens);
}
