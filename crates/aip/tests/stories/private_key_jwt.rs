//! Apps that prove themselves with a key (RFC 7523 §3, OpenID Connect Core §9).

use std::time::Duration;

use aip_base::Clock as _;
use aip_jose::client_assertion::ASSERTION_TYPE;
use aip_jose::{Alg, JwkSet, SigningKey, sign_jwt};
use aip_storage::client::{ClientAuthMethod, ClientKeys, SecurityProfile};
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::app::{App, AssertionClaims, Tokens, basic_credential, sign};
use crate::on_both_engines;
use crate::request_line::statements;
use crate::world::{BASE, Engine, World};

on_both_engines!(
    an_app_with_a_key_does_everything_that_one_with_a_secret_does,
    assertions_of_every_advertised_algorithm_are_accepted,
    an_rsa_key_is_for_the_one_algorithm_that_it_names,
    of_keys_that_share_a_kid_the_one_that_signed_is_found,
    assertions_that_are_not_right_are_refused_and_cost_nothing,
    more_than_one_proof_or_half_an_assertion_is_refused,
    the_clock_of_an_app_may_be_a_little_ahead,
    an_assertion_counts_once_on_all_replicas,
    of_fifty_uses_of_an_assertion_one_is_accepted,
    a_refresh_with_an_assertion_costs_one_statement_more,
    a_key_that_an_app_changed_is_read_once_and_not_again_before_a_pause,
    a_key_set_that_cannot_be_read_is_used_for_an_hour,
    a_key_set_where_the_guard_forbids_is_never_asked_for,
);

const KEYS_URI: &str = "https://app.example.org/keys.json";

async fn introspect_with(app: &App<'_>, assertion: &str) -> Answer {
    let form = [
        ("token", "any"),
        ("client_assertion_type", ASSERTION_TYPE),
        ("client_assertion", assertion),
    ];
    app.post_as("/oauth/introspect", None, &form).await
}

async fn an_app_with_a_key_does_everything_that_one_with_a_secret_does(world: &World) {
    let app = App::register_with_key(world, |_| {}).await;
    assert_eq!(app.secret, None);
    let tokens = app.sign_in(&world.browser(), world.alice()).await;
    let renewed = Tokens::of(&app.refresh(&tokens.refresh).await);
    let told = app.introspect(&renewed.access).await.ok();
    assert_eq!(told["active"], true);
    assert_eq!(app.revoke(&renewed.refresh).await.status, 200);
    assert_eq!(app.introspect(&renewed.access).await.ok()["active"], false);
    let pending = app.begin_authorization(&[]);
    let query = url::Url::parse(&pending.url).unwrap();
    let form: Vec<_> = query.query_pairs().into_owned().collect();
    let form: Vec<_> = form.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    let pushed = app.post("/oauth/par", &form).await;
    assert_eq!(pushed.status, 201, "{}", pushed.text());

    // OpenID Connect Core §9 asked for the URL of the token endpoint; and an audience alone in an
    // array is one, too.
    let token_endpoint = format!("{BASE}/oauth/token");
    for audience in [json!(token_endpoint), json!([BASE])] {
        let claims = AssertionClaims::of(&app).with("aud", audience);
        let assertion = sign(&app, app.assertion_key(), &claims);
        introspect_with(&app, &assertion).await.ok();
    }
    // Bound tokens, with a nonce to be learned at first.
    let bound = app.with_dpop();
    let tokens = bound.sign_in(&world.browser(), world.alice()).await;
    assert_eq!(tokens.answer["token_type"], "DPoP");
}

async fn assertions_of_every_advertised_algorithm_are_accepted(world: &World) {
    let metadata = world.get("/.well-known/openid-configuration").await.ok();
    for endpoint in ["token", "introspection", "revocation"] {
        let name = format!("{endpoint}_endpoint_auth_signing_alg_values_supported");
        assert_eq!(metadata[name], json!(["ES256", "RS256", "PS256", "EdDSA"]));
    }
    for alg in [Alg::Es256, Alg::Rs256, Alg::Ps256, Alg::EdDsa] {
        let key = SigningKey::generate(alg, Some("key-1".to_owned())).unwrap();
        let app = App::register(world, |settings| {
            let keys = JwkSet::new(vec![key.public().clone()]);
            settings.auth_method = ClientAuthMethod::PrivateKeyJwt;
            settings.keys = Some(ClientKeys::Registered(keys));
        });
        let app = app.await.with_assertion_key(key);
        let tokens = app.sign_in(&world.browser(), world.alice()).await;
        assert_eq!(app.introspect(&tokens.access).await.ok()["active"], true);
        assert_eq!(app.revoke(&tokens.refresh).await.status, 200);
        // Another key of that algorithm, and under the same id.
        let other = SigningKey::generate(alg, Some("key-1".to_owned())).unwrap();
        let forged = sign(&app, &other, &AssertionClaims::of(&app));
        let refused = introspect_with(&app, &forged).await;
        refused
            .expect(401, "invalid_client")
            .logged("does not verify");
        // The keys of an app may be at an address of its own, too.
        let key = SigningKey::generate(alg, Some("key-2".to_owned())).unwrap();
        let address = format!("https://app.example.org/{alg}.json");
        world.hosted.put(&address, 200, published(&[&key]));
        let app = app_with_keys_at(world, &address, key).await;
        introspect_with(&app, &app.assertion()).await.ok();
    }
}

/// RFC 8725 §3.1: PS256 and RS256 have the same keys, and a key is for one of them.
async fn an_rsa_key_is_for_the_one_algorithm_that_it_names(world: &World) {
    let key = SigningKey::generate(Alg::Ps256, Some("key-1".to_owned())).unwrap();
    let private = key.to_private_jwk_json().unwrap();
    let private = secrecy::ExposeSecret::expose_secret(&private).replace("PS256", "RS256");
    let rs256 = SigningKey::from_jwk_json(&private).unwrap();
    for (registered, signs, alg) in [(&key, &rs256, "RS256"), (&rs256, &key, "PS256")] {
        let keys = JwkSet::new(vec![registered.public().clone()]);
        let app = App::register(world, |settings| {
            settings.auth_method = ClientAuthMethod::PrivateKeyJwt;
            settings.keys = Some(ClientKeys::Registered(keys));
        });
        let app = app.await;
        let right = sign(&app, registered, &AssertionClaims::of(&app));
        introspect_with(&app, &right).await.ok();
        let wrong = sign(&app, signs, &AssertionClaims::of(&app));
        let refused = introspect_with(&app, &wrong).await;
        let logged = format!("no single key for {alg}");
        refused.expect(401, "invalid_client").logged(&logged);
    }
}

/// FAPI 2.0 Security Profile §5.4.3: algorithm and kind of key tell keys of one `kid` apart, and what they
/// do not tell apart is tried.
async fn of_keys_that_share_a_kid_the_one_that_signed_is_found(world: &World) {
    let new = |alg| SigningKey::generate(alg, Some("shared".to_owned())).unwrap();
    let keys = [Alg::Es256, Alg::Ps256, Alg::Es256, Alg::EdDsa].map(new);
    let listed: Vec<&SigningKey> = keys.iter().collect();
    world.hosted.put(KEYS_URI, 200, published(&listed));
    let public: Vec<_> = keys.iter().map(|key| key.public().clone()).collect();
    for profile in [SecurityProfile::OAuth21, SecurityProfile::Fapi2] {
        for at_address in [false, true] {
            let app = App::register(world, |settings| {
                settings.auth_method = ClientAuthMethod::PrivateKeyJwt;
                settings.security_profile = profile;
                settings.keys = Some(if at_address {
                    ClientKeys::At(KEYS_URI.parse().unwrap())
                } else {
                    ClientKeys::Registered(JwkSet::new(public.clone()))
                });
            });
            let app = app.await;
            let by = |key: &SigningKey| sign(&app, key, &AssertionClaims::of(&app));
            for key in &keys {
                introspect_with(&app, &by(key)).await.ok();
            }
            let stranger = introspect_with(&app, &by(&new(Alg::Es256))).await;
            let stranger = stranger.expect(401, "invalid_client");
            stranger.logged("does not verify");
            let unnamed = sign_as_unnamed(&app, &keys[0]);
            let unnamed = introspect_with(&app, &unnamed).await;
            let unnamed = unnamed.expect(401, "invalid_client");
            unnamed.logged("no single key");
        }
    }
    assert_eq!(world.hosted.reads(KEYS_URI), 1);

    // Four of them are tried, and no more.
    let keys: Vec<_> = (0..5).map(|_| new(Alg::Es256)).collect();
    let public = keys.iter().map(|key| key.public().clone()).collect();
    let app = App::register(world, |settings| {
        settings.auth_method = ClientAuthMethod::PrivateKeyJwt;
        settings.keys = Some(ClientKeys::Registered(JwkSet::new(public)));
    });
    let app = app.await;
    let by = |key: &SigningKey| sign(&app, key, &AssertionClaims::of(&app));
    introspect_with(&app, &by(&keys[3])).await.ok();
    let fifth = introspect_with(&app, &by(&keys[4])).await;
    fifth.expect(401, "invalid_client");
}

/// An assertion whose header names no key.
fn sign_as_unnamed(app: &App<'_>, key: &SigningKey) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let header = json!({ "alg": "ES256", "typ": "JWT" });
    let input = format!("{}.{}", part(&header), part(&AssertionClaims::of(app).0));
    let signature = key.sign(input.as_bytes()).unwrap();
    format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// A token that is signed with a secret, or not at all.
fn without_a_key(alg: &str, secret: Option<&[u8]>, claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let input = format!("{}.{}", part(&json!({ "alg": alg })), part(claims));
    let signature = secret.map(|secret| {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        URL_SAFE_NO_PAD.encode(hmac::sign(&key, input.as_bytes()))
    });
    format!("{input}.{}", signature.unwrap_or_default())
}

async fn assertions_that_are_not_right_are_refused_and_cost_nothing(world: &World) {
    let app = App::register_with_key(world, |_| {}).await;
    let other = App::register_with_key(world, |_| {}).await;
    let tokens = app.sign_in(&world.browser(), world.alice()).await;
    let before = world.state().await;

    let key = app.assertion_key();
    let public = serde_json::to_string(key.public()).unwrap();
    let rsa = SigningKey::generate(Alg::Rs256, Some("key-1".to_owned())).unwrap();
    let another = SigningKey::generate(Alg::Es256, Some("key-1".to_owned())).unwrap();
    let unknown = SigningKey::generate(Alg::Es256, Some("key-2".to_owned())).unwrap();
    let claims = || AssertionClaims::of(&app);
    let now = world.clock.now().as_secs();
    let with = |name: &str, value: Value| sign(&app, key, &claims().with(name, value));
    let both = json!([BASE, "https://other.example.org"]);
    let refused = [
        (without_a_key("none", None, &claims().0), "not supported"),
        (
            without_a_key("HS256", Some(public.as_bytes()), &claims().0),
            "not supported",
        ),
        (sign(&app, &rsa, &claims()), "no single key"),
        (sign(&app, &another, &claims()), "does not verify"),
        (sign(&app, &unknown, &claims()), "no single key"),
        (sign_jwt(key, "at+jwt", &claims().0).unwrap(), "type"),
        (with("exp", json!(now - 31)), "expired"),
        (with("exp", Value::Null), "malformed"),
        (with("exp", json!(now + 3601)), "longer than an hour"),
        (with("nbf", json!(now + 70)), "not valid yet"),
        (with("iat", json!(now + 70)), "not valid yet"),
        (with("aud", both), "not this server alone"),
        (with("aud", json!(format!("{BASE}/"))), "not this server"),
        (
            with("aud", json!(format!("{BASE}/oauth/par"))),
            "not this server",
        ),
        (
            with("aud", json!("https://other.example.org")),
            "not this server",
        ),
        (
            with("iss", json!(other.id.as_str())),
            "not both the client_id",
        ),
        (with("sub", json!(other.id.as_str())), "does not verify"),
        (with("sub", json!("nobody")), "no such client"),
        (with("jti", Value::Null), "malformed"),
        (with("jti", json!("")), "`jti`"),
        ("e30.e30.e30".to_owned(), "cannot be read"),
    ];
    let refresh = [
        ("grant_type", "refresh_token"),
        ("refresh_token", &*tokens.refresh),
    ];
    for (assertion, logged) in refused {
        let presented = [
            ("client_assertion_type", ASSERTION_TYPE),
            ("client_assertion", &*assertion),
        ];
        let form = [refresh.as_slice(), &presented].concat();
        let answer = app.post_as("/oauth/token", None, &form).await;
        answer.expect(401, "invalid_client").logged(logged);
        let told = &answer.json()["error_description"];
        assert_eq!(told, "client authentication failed", "{logged}");
    }
    assert_eq!(world.state().await, before);
}

async fn more_than_one_proof_or_half_an_assertion_is_refused(world: &World) {
    let app = App::register_with_key(world, |_| {}).await;
    let tokens = app.sign_in(&world.browser(), world.alice()).await;
    let before = world.state().await;
    let refresh = [
        ("grant_type", "refresh_token"),
        ("refresh_token", &*tokens.refresh),
    ];
    let fresh = app.assertion();
    let assertion = ("client_assertion", &*fresh);
    let typed = ("client_assertion_type", ASSERTION_TYPE);
    let of_saml = "urn:ietf:params:oauth:client-assertion-type:saml2-bearer";
    let saml = ("client_assertion_type", of_saml);
    let id = app.id.as_str();
    let none_used = "registered private_key_jwt and used none";
    let (secret, other) = (("client_secret", "x"), ("client_id", "another"));
    for (extra, logged) in [
        (&[typed, assertion, other][..], "more than one"),
        (&[assertion], "come together"),
        (&[saml, assertion], "come together"),
        (&[("client_id", id)], none_used),
    ] {
        let form = [refresh.as_slice(), extra].concat();
        let answer = app.post_as("/oauth/token", None, &form).await;
        answer.expect(401, "invalid_client").logged(logged);
    }
    let basic = basic_credential(id, "secret");
    for (authorization, extra) in [
        (None, &[typed, assertion, secret][..]),
        (Some(&*basic), &[typed, assertion]),
    ] {
        let form = [refresh.as_slice(), extra].concat();
        let answer = app.post_as("/oauth/token", authorization, &form).await;
        answer.expect(400, "invalid_request");
    }
    assert_eq!(world.state().await, before);

    // None of that spent the assertion, nor the token.
    let form = [refresh.as_slice(), &[typed, assertion, ("client_id", id)]].concat();
    let answer = app.post_as("/oauth/token", None, &form).await;
    world.secrets.learn_tokens(&answer.ok());
}

async fn the_clock_of_an_app_may_be_a_little_ahead(world: &World) {
    let app = App::register_with_key(world, |_| {}).await;
    let soon = json!(world.clock.now().as_secs() + 8);
    for name in ["nbf", "iat"] {
        let claims = AssertionClaims::of(&app).with(name, soon.clone());
        let assertion = sign(&app, app.assertion_key(), &claims);
        introspect_with(&app, &assertion).await.ok();
    }
}

async fn an_assertion_counts_once_on_all_replicas(world: &World) {
    let app = App::register_with_key(world, |_| {}).await;
    let other = App::register_with_key(world, |_| {}).await;
    let claims = AssertionClaims::of(&app);
    let jti = claims.0["jti"].clone();
    let assertion = sign(&app, app.assertion_key(), &claims);
    introspect_with(&app, &assertion).await.ok();
    let first = world.replica().await;
    for _ in 0..2 {
        let answer = introspect_with(&app, &assertion).await;
        answer.expect(401, "invalid_client").logged("used before");
    }
    drop(first);
    // The same `jti` in another assertion is the same; of another app it is another.
    let again = AssertionClaims::of(&app).with("jti", jti.clone());
    let again = sign(&app, app.assertion_key(), &again);
    let answer = introspect_with(&app, &again).await;
    answer.expect(401, "invalid_client").logged("used before");
    let others = AssertionClaims::of(&other).with("jti", jti);
    let others = sign(&other, other.assertion_key(), &others);
    introspect_with(&other, &others).await.ok();
}

async fn of_fifty_uses_of_an_assertion_one_is_accepted(world: &World) {
    let app = App::register_with_key(world, |_| {}).await;
    let assertion = app.assertion();
    let answers = join_all((0..50).map(|_| introspect_with(&app, &assertion))).await;
    let (accepted, refused): (Vec<_>, Vec<_>) =
        answers.iter().partition(|it| it.status.is_success());
    assert_eq!((accepted.len(), refused.len()), (1, 49));
    for answer in refused {
        answer.expect(401, "invalid_client");
    }
}

async fn a_refresh_with_an_assertion_costs_one_statement_more(world: &World) {
    let (app, usual) = (
        App::register_with_key(world, |_| {}).await,
        world.app().await,
    );
    let mut costs = Vec::new();
    for app in [&usual, &app] {
        let mut tokens = app.sign_in(&world.browser(), world.alice()).await;
        let mut of_refreshes = Vec::new();
        // At first the client is read, and again when a second has passed.
        for _ in 0..5 {
            let answer = app.refresh(&tokens.refresh).await;
            tokens = Tokens::of(&answer);
            of_refreshes.push(statements(world, &answer));
        }
        costs.push(of_refreshes.into_iter().min().unwrap());
    }
    let [usual, with_assertion] = costs[..] else {
        panic!("{costs:?}")
    };
    assert_eq!(with_assertion, usual + 1, "{costs:?}");
    if world.engine() == Engine::Postgres {
        assert_eq!(with_assertion, 2);
    }
}

/// An app whose keys are at an address of its own.
async fn app_with_keys_at<'w>(world: &'w World, address: &str, key: SigningKey) -> App<'w> {
    let app = App::register(world, |settings| {
        settings.auth_method = ClientAuthMethod::PrivateKeyJwt;
        settings.keys = Some(ClientKeys::At(address.parse().unwrap()));
    });
    app.await.with_assertion_key(key)
}

fn published(keys: &[&SigningKey]) -> String {
    JwkSet::new(keys.iter().map(|key| key.public().clone()).collect()).to_json()
}

fn new_key(kid: &str) -> SigningKey {
    SigningKey::generate(Alg::Es256, Some(kid.to_owned())).unwrap()
}

async fn a_key_that_an_app_changed_is_read_once_and_not_again_before_a_pause(world: &World) {
    let [old, new, never] = ["old", "new", "never"].map(new_key);
    world.hosted.put(KEYS_URI, 200, published(&[&old]));
    let reads = || world.hosted.reads(KEYS_URI);
    let app = app_with_keys_at(world, KEYS_URI, old).await;
    // Whoever comes while the keys are read waits for them.
    let assertions: Vec<_> = (0..20).map(|_| app.assertion()).collect();
    let answers = join_all(assertions.iter().map(|it| introspect_with(&app, it))).await;
    assert!(answers.iter().all(|answer| answer.status == 200));
    assert_eq!(reads(), 1);

    world.hosted.put(KEYS_URI, 200, published(&[&new]));
    let by = |key: &SigningKey| sign(&app, key, &AssertionClaims::of(&app));
    introspect_with(&app, &by(&new))
        .await
        .expect(401, "invalid_client")
        .logged("no single key");
    assert_eq!(reads(), 1, "they were read a moment ago");
    world.pass(Duration::from_secs(31));
    let assertions: Vec<_> = (0..20).map(|_| by(&new)).collect();
    let answers = join_all(assertions.iter().map(|it| introspect_with(&app, it))).await;
    assert!(answers.iter().all(|answer| answer.status == 200));
    assert_eq!(reads(), 2);
    // The key that is gone is no good any more, and asking for others costs nothing.
    world.pass(Duration::from_secs(10));
    for key in [app.assertion_key(), &never] {
        for _ in 0..5 {
            let answer = introspect_with(&app, &by(key)).await;
            answer.expect(401, "invalid_client");
        }
    }
    assert_eq!(reads(), 2);
}

async fn a_key_set_that_cannot_be_read_is_used_for_an_hour(world: &World) {
    world.hosted.put(KEYS_URI, 503, String::new());
    let app = app_with_keys_at(world, KEYS_URI, new_key("key-1")).await;
    let refused = async |logged: &str| {
        let answer = introspect_with(&app, &app.assertion()).await;
        answer.expect(401, "invalid_client").logged(logged);
    };
    refused("status 503").await;
    for (status, body, logged) in [
        (200, "<html>".to_owned(), "no JWK Set"),
        (200, "x".repeat(65 * 1024), "larger than"),
        (301, published(&[app.assertion_key()]), "status 301"),
    ] {
        world.pass(Duration::from_secs(31));
        world.hosted.put(KEYS_URI, status, body);
        refused(logged).await;
    }
    world.pass(Duration::from_secs(31));
    world
        .hosted
        .put(KEYS_URI, 200, published(&[app.assertion_key()]));
    introspect_with(&app, &app.assertion()).await.ok();

    world.hosted.put(KEYS_URI, 500, String::new());
    for minutes in [9, 20, 30] {
        world.pass(Duration::from_mins(minutes));
        introspect_with(&app, &app.assertion()).await.ok();
    }
    world.pass(Duration::from_mins(2));
    refused("status 500").await;
}

async fn a_key_set_where_the_guard_forbids_is_never_asked_for(world: &World) {
    for address in [
        "https://keys.internal/keys.json",
        "https://keys.example.org:8443/keys.json",
    ] {
        let app = app_with_keys_at(world, address, new_key("key-1")).await;
        let answer = introspect_with(&app, &app.assertion()).await;
        answer
            .expect(401, "invalid_client")
            .logged("refused by the outbound guard");
    }
}
