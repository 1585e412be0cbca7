//! AIP as a service of the AT Protocol: its DID document, and administrators who change clients with
//! service tokens (<https://atproto.com/specs/xrpc#inter-service-authentication-jwt>).

use std::time::Duration;

use aip_atproto::{Did, DidDocument};
use aip_base::{Clock as _, SystemRng, random_token};
use aip_jose::{Alg, PublicJwk, SigningKey, UnverifiedJws, sign_jwt};
use aip_keys::Purpose;
use aip_storage::audit::AuditKind;
use aip_storage::client::{Client, ClientAuthMethod};
use bytes::Bytes;
use futures_util::future::join_all;
use http::Request;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::app::App;
use crate::on_both_engines;
use crate::world::{BASE, KEYS, World};

on_both_engines!(
    an_administrator_changes_a_client_with_a_token_of_their_pds,
    what_a_client_may_not_be_is_refused_to_administrators_too,
    a_token_for_something_else_is_refused_and_nothing_is_stored,
    of_fifty_calls_with_one_token_one_is_taken,
    a_key_that_an_administrator_changed_is_read_once,
    nobody_else_may_and_strangers_make_nobody_read_anything,
    the_did_document_has_the_key_that_signs,
);

const METHOD: &str = "tools.graze.aip.clients.Update";
const DID: &str = "did:web:aip.example.com";
const ADMIN: &str = "did:web:admin.example.org";
const DOCUMENT: &str = "https://admin.example.org/.well-known/did.json";

/// Starts AIP anew with administrators: one whose DID document the story hosts, and Alice.
async fn administrators(world: &World) -> SigningKey {
    let alice = world.alice().did.clone();
    let admin = Did::parse(ADMIN).unwrap();
    world
        .restart_configured(move |config| config.admin_dids = vec![admin.clone(), alice.clone()])
        .await;
    new_key(world, Alg::Es256k)
}

/// Another key of the administrator, which is in the document from now on.
fn new_key(world: &World, alg: Alg) -> SigningKey {
    let key = SigningKey::generate(alg, None).unwrap();
    let document = json!({
        "id": ADMIN,
        "verificationMethod": [{
            "id": format!("{ADMIN}#atproto"),
            "type": "Multikey",
            "controller": ADMIN,
            "publicKeyMultibase": key.public().to_multikey(),
        }],
    });
    world.hosted.put(DOCUMENT, 200, document.to_string());
    key
}

fn claims(world: &World) -> Value {
    let now = world.clock.now().as_secs();
    json!({
        "iss": ADMIN, "aud": DID, "lxm": METHOD, "iat": now, "exp": now + 60,
        "jti": random_token::<16>(&SystemRng),
    })
}

/// A token with the low `s` that the AT Protocol asks for.
fn token(world: &World, key: &SigningKey, typ: &str, claims: &Value) -> String {
    let mut tokens = std::iter::repeat_with(|| sign_jwt(key, typ, claims).unwrap());
    let low = |token: &String| UnverifiedJws::parse(token).unwrap().has_low_s();
    let token = tokens.find(low).unwrap();
    world.secrets.learn("a service token", &token);
    token
}

async fn update(world: &World, authorization: &str, change: &Value) -> Answer {
    let request = Request::post(format!("{BASE}/xrpc/{METHOD}"))
        .header("authorization", authorization)
        .header("content-type", "application/json")
        .body(Bytes::from(change.to_string()));
    world.send(request.unwrap()).await
}

/// A change by the administrator, with a token of its own.
async fn change(world: &World, key: &SigningKey, change: &Value) -> Answer {
    let token = token(world, key, "JWT", &claims(world));
    update(world, &format!("Bearer {token}"), change).await
}

async fn stored(world: &World, app: &App<'_>) -> Client {
    let storage = world.aip().app.server.storage.clone();
    storage.client(&app.id).await.unwrap().unwrap()
}

async fn an_administrator_changes_a_client_with_a_token_of_their_pds(world: &World) {
    administrators(world).await;
    let app = world.app().await;
    let scope = "atproto transition:generic";
    let browser = world.browser();
    let tokens = app.sign_in_for(&browser, world.alice(), scope).await;
    let before = stored(world, &app).await;
    for (audience, name) in [(DID, "First"), (&format!("{DID}%23aip"), "Second")] {
        let call = format!("com.atproto.server.getServiceAuth?aud={audience}&lxm={METHOD}");
        let answer = app.query(&tokens.access, &call).await.ok();
        let token = answer["token"].as_str().unwrap();
        world.secrets.learn("a service token", token);
        let change = json!({"client_id": app.id.as_str(), "client_name": name});
        let answer = update(world, &format!("Bearer {token}"), &change).await;
        assert_eq!(answer.header("cache-control"), "no-store");
        let answer = answer.ok();
        assert_eq!(answer["client_id"], app.id.as_str());
        assert_eq!(answer["client_name"], name);
        // What is not made anew is not there.
        for member in ["client_secret", "registration_access_token"] {
            assert_eq!(answer.get(member), None);
        }
    }
    // The rest is as it was, and so are its tokens.
    let after = stored(world, &app).await;
    assert_eq!(after.settings.name, "Second");
    let mut settings = after.settings.clone();
    settings.name.clone_from(&before.settings.name);
    assert_eq!(settings, before.settings);
    app.refresh(&tokens.refresh).await.ok();
    let changes = world.audit(AuditKind::ClientChangedByAdmin).await;
    assert_eq!(changes.len(), 2);
    for event in changes {
        let did = event.did.map(|did| did.to_string());
        assert_eq!(did.as_deref(), Some(world.alice().did.as_str()));
        assert_eq!(event.client_id, Some(app.id.clone()));
        assert_eq!(event.detail, METHOD);
    }
}

async fn what_a_client_may_not_be_is_refused_to_administrators_too(world: &World) {
    let key = administrators(world).await;
    let app = world.app().await;
    let id = app.id.as_str();
    let before = stored(world, &app).await.settings;
    for (name, value, error) in [
        ("redirect_uris", json!([]), "invalid_redirect_uri"),
        (
            "redirect_uris",
            json!(["http://app.example.org/"]),
            "invalid_redirect_uri",
        ),
        (
            "client_name",
            json!("a\u{202e}b"),
            "invalid_client_metadata",
        ),
        (
            "scope",
            json!("atproto nonsense"),
            "invalid_client_metadata",
        ),
        (
            "scope",
            json!("atproto aip:credentials"),
            "invalid_client_metadata",
        ),
        ("scope", Value::Null, "invalid_client_metadata"),
        (
            "grant_types",
            json!(["implicit"]),
            "invalid_client_metadata",
        ),
        (
            "jwks_uri",
            json!("https://db.internal/keys"),
            "invalid_client_metadata",
        ),
        (
            "client_secret",
            json!("of my own choice"),
            "invalid_client_metadata",
        ),
        ("subject_type", json!("pairwise"), "invalid_client_metadata"),
        (
            "request_uris",
            json!(["https://a.example"]),
            "invalid_client_metadata",
        ),
    ] {
        let wanted = json!({"client_id": id, name: value});
        change(world, &key, &wanted).await.expect(400, error);
        assert_eq!(stored(world, &app).await.settings, before, "{name}");
    }
    for wanted in [json!({}), json!({"client_id": 7}), json!([])] {
        change(world, &key, &wanted)
            .await
            .expect(400, "InvalidRequest");
    }
    for unknown in ["unknown", "with a space"] {
        let wanted = json!({"client_id": unknown, "client_name": "x"});
        change(world, &key, &wanted)
            .await
            .expect(404, "ClientNotFound");
    }
    assert!(
        world
            .audit(AuditKind::ClientChangedByAdmin)
            .await
            .is_empty()
    );

    // Members are taken away by `null`, and demands can be taken back.
    let demand = json!({
        "client_id": id, "require_pushed_authorization_requests": true,
        "post_logout_redirect_uris": ["https://app.example.org/out"],
    });
    change(world, &key, &demand).await.ok();
    assert!(stored(world, &app).await.settings.require_par);
    let relax = json!({
        "client_id": id, "require_pushed_authorization_requests": false,
        "post_logout_redirect_uris": null,
    });
    change(world, &key, &relax).await.ok();
    assert_eq!(stored(world, &app).await.settings, before);
    // A secret is told when it is made, and then works.
    let method = |method: &str| json!({"client_id": id, "token_endpoint_auth_method": method});
    let public = change(world, &key, &method("none")).await.ok();
    assert_eq!(public.get("client_secret"), None);
    let secret = change(world, &key, &method("client_secret_basic")).await;
    let secret = secret.ok();
    let secret = secret["client_secret"].as_str().unwrap();
    world.secrets.learn("a client secret", secret);
    let known = App::known(world, id, Some(secret));
    assert_eq!(known.revoke("unknown").await.status, 200);
    let settings = stored(world, &app).await.settings;
    assert_eq!(settings.auth_method, ClientAuthMethod::SecretBasic);
}

async fn a_token_for_something_else_is_refused_and_nothing_is_stored(world: &World) {
    let key = administrators(world).await;
    let app = world.app().await;
    let wanted = json!({"client_id": app.id.as_str(), "client_name": "Changed"});
    let before = world.state().await;
    let now = world.clock.now().as_secs();
    for (name, value, error) in [
        ("aud", json!("did:web:other.example.com"), "BadJwtAudience"),
        ("aud", json!(format!("{DID}#atproto_pds")), "BadJwtAudience"),
        ("aud", json!([DID]), "BadJwtAudience"),
        ("aud", json!(BASE), "BadJwtAudience"),
        ("aud", Value::Null, "BadJwt"),
        ("lxm", Value::Null, "BadJwtLexiconMethod"),
        (
            "lxm",
            json!("com.atproto.repo.createRecord"),
            "BadJwtLexiconMethod",
        ),
        ("exp", json!(now - 31), "JwtExpired"),
        ("exp", json!(now + 3700), "BadJwt"),
        ("exp", Value::Null, "BadJwt"),
        ("iat", json!(now + 3600), "BadJwt"),
        ("nbf", json!(now + 3600), "BadJwt"),
        ("jti", Value::Null, "BadJwt"),
        ("jti", json!(""), "BadJwt"),
        (
            "iss",
            json!(format!("{ADMIN}#atproto_labeler")),
            "UntrustedIss",
        ),
        ("iss", json!(world.bob().did.as_str()), "UntrustedIss"),
        // Another administrator, with the key of this one.
        ("iss", json!(world.alice().did.as_str()), "BadJwtSignature"),
    ] {
        let mut claims = claims(world);
        claims[name] = value;
        let members = claims.as_object_mut().unwrap();
        members.retain(|_, value| !value.is_null());
        let token = token(world, &key, "JWT", &claims);
        let answer = update(world, &format!("Bearer {token}"), &wanted).await;
        assert_eq!(answer.json()["error"], error, "{name} {claims}");
        answer.expect(401, error);
        assert_eq!(answer.header("www-authenticate"), "Bearer realm=\"aip\"");
    }
    for typ in ["at+jwt", "refresh+jwt", "dpop+jwt"] {
        let token = token(world, &key, typ, &claims(world));
        let answer = update(world, &format!("Bearer {token}"), &wanted).await;
        answer.expect(401, "BadJwtType");
    }
    for alg in [Alg::Es256k, Alg::Es256, Alg::EdDsa] {
        let other = SigningKey::generate(alg, None).unwrap();
        let answer = change(world, &other, &wanted).await;
        answer.expect(401, "BadJwtSignature");
    }
    let good = token(world, &key, "JWT", &claims(world));
    for (authorization, error) in [
        (format!("DPoP {good}"), "AuthMissing"),
        (good.clone(), "AuthMissing"),
        ("Basic YTpi".to_owned(), "AuthMissing"),
        (format!("Bearer {good}x"), "BadJwt"),
        ("Bearer x".to_owned(), "BadJwt"),
    ] {
        let answer = update(world, &authorization, &wanted).await;
        answer.expect(401, error);
    }
    assert_eq!(world.state().await, before);
    update(world, &format!("Bearer {good}"), &wanted).await.ok();
}

async fn of_fifty_calls_with_one_token_one_is_taken(world: &World) {
    let key = administrators(world).await;
    let app = world.app().await;
    let wanted = json!({"client_id": app.id.as_str(), "client_name": "Changed"});
    let before = world.replica().await;
    let token = token(world, &key, "JWT", &claims(world));
    let authorization = format!("Bearer {token}");
    let calls = (0..50).map(|_| update(world, &authorization, &wanted));
    let answers = join_all(calls).await;
    let (accepted, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|it| it.status == 200);
    assert_eq!((accepted.len(), refused.len()), (1, 49));
    for answer in refused {
        answer.expect(401, "BadJwt").logged("used before");
    }
    // Nor does the replica that did not see it take it.
    world.lead_to(&before);
    let again = update(world, &authorization, &wanted).await;
    again.expect(401, "BadJwt").logged("used before");
    assert_eq!(world.audit(AuditKind::ClientChangedByAdmin).await.len(), 1);
    // It is remembered as long as it is valid.
    world.pass(Duration::from_secs(80));
    let storage = world.aip().app.server.storage.clone();
    let now = world.clock.now();
    while storage.purge_expired(now, 100).await.unwrap().more {}
    let late = update(world, &authorization, &wanted).await;
    late.expect(401, "BadJwt");
    world.pass(Duration::from_secs(20));
    let late = update(world, &authorization, &wanted).await;
    late.expect(401, "JwtExpired");
}

async fn a_key_that_an_administrator_changed_is_read_once(world: &World) {
    let first = administrators(world).await;
    let app = world.app().await;
    let wanted = json!({"client_id": app.id.as_str(), "client_name": "Changed"});
    change(world, &first, &wanted).await.ok();
    change(world, &first, &wanted).await.ok();
    assert_eq!(world.hosted.reads(DOCUMENT), 1);

    // A document of just now is not read again, and later once for all who come at once.
    let second = new_key(world, Alg::Es256);
    let too_soon = change(world, &second, &wanted).await;
    too_soon.expect(401, "BadJwtSignature");
    assert_eq!(world.hosted.reads(DOCUMENT), 1);
    world.pass(Duration::from_secs(11));
    let changes = join_all((0..5).map(|_| change(world, &second, &wanted))).await;
    // All were believed. Of changes to what another one had just changed, none is lost silently.
    let (made, others): (Vec<_>, Vec<_>) = changes.into_iter().partition(|it| it.status == 200);
    assert!(!made.is_empty());
    for answer in others {
        assert_eq!(answer.status, 503, "{}", answer.text());
    }
    assert_eq!(world.hosted.reads(DOCUMENT), 2);
    // The key before is worthless, and asking with it makes nobody read the document at once.
    for _ in 0..5 {
        change(world, &first, &wanted)
            .await
            .expect(401, "BadJwtSignature");
    }
    assert_eq!(world.hosted.reads(DOCUMENT), 2);

    // A document that cannot be read decides nothing.
    for status in [500, 404] {
        world.pass(Duration::from_secs(61));
        world.hosted.put(DOCUMENT, status, String::new());
        let answer = change(world, &second, &wanted).await;
        assert!(
            !answer.status.is_success() && answer.status != 401,
            "{answer:?}"
        );
    }
    world.pass(Duration::from_secs(61));
    for document in [
        json!({"id": ADMIN}),
        json!({"id": ADMIN, "verificationMethod": [{
            "id": "#atproto", "type": "EcdsaSecp256k1VerificationKey2019",
            "controller": ADMIN, "publicKeyMultibase": "zzz",
        }]}),
    ] {
        world.pass(Duration::from_secs(61));
        world.hosted.put(DOCUMENT, 200, document.to_string());
        let answer = change(world, &second, &wanted).await;
        answer
            .expect(401, "BadJwtSignature")
            .logged("has no signing key");
    }
}

async fn nobody_else_may_and_strangers_make_nobody_read_anything(world: &World) {
    let key = new_key(world, Alg::Es256k);
    let wanted = json!({"client_id": "any", "client_name": "Changed"});
    let answer = change(world, &key, &wanted).await;
    answer.expect(404, "MethodNotImplemented");
    let alice = world.alice().did.clone();
    world
        .restart_configured(move |config| config.admin_dids = vec![alice.clone()])
        .await;
    change(world, &key, &wanted)
        .await
        .expect(401, "UntrustedIss");
    assert_eq!(world.hosted.reads(DOCUMENT), 0);
    // Nor may an app with an access token for an administrator.
    let app = world.app().await;
    let tokens = app.sign_in(&world.browser(), world.alice()).await;
    let answer = update(world, &format!("Bearer {}", tokens.access), &wanted).await;
    answer.expect(401, "BadJwt");
    let read = world.get(&format!("/xrpc/{METHOD}")).await;
    assert_eq!(read.status, 405);
}

async fn the_did_document_has_the_key_that_signs(world: &World) {
    let answer = world.get("/.well-known/did.json").await;
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(answer.header("access-control-allow-origin"), "*");
    let text = answer.text().to_owned();
    let document = answer.ok();
    assert_eq!(document["id"], DID);
    assert_eq!(document["service"][0]["id"], "#aip");
    assert_eq!(document["service"][0]["serviceEndpoint"], BASE);
    // As a resolver of the AT Protocol reads it.
    let did = Did::parse(DID).unwrap();
    let read = |text: &str| {
        let document = DidDocument::parse_for(&did, text.as_bytes()).unwrap();
        let key = document.signing_key().unwrap().multibase.clone();
        PublicJwk::from_multikey(&key).unwrap().thumbprint()
    };
    let active = KEYS.public_service_auth_keys()[0].thumbprint();
    assert_eq!(read(&text), active);

    // The key that signs is `#atproto`; another one is there beside it.
    let mut keys = KEYS.clone();
    let added = keys.add(Purpose::ServiceAuth, Alg::Es256, &*world.clock, &SystemRng);
    let added = added.unwrap();
    let json = keys.to_json().unwrap();
    world
        .secrets
        .learn_keys("a signing key", json.expose_secret());
    world.restart_with(keys.clone()).await;
    let answer = world.get("/.well-known/did.json").await;
    assert_eq!(read(answer.text()), active);
    let document = answer.ok();
    assert_eq!(
        document["verificationMethod"][1]["id"],
        format!("{DID}#{added}")
    );
    keys.activate(&added, world.clock.now()).unwrap();
    world.restart_with(keys.clone()).await;
    let answer = world.get("/.well-known/did.json").await;
    assert_ne!(read(answer.text()), active);
    let methods = answer.ok()["verificationMethod"].as_array().unwrap().len();
    assert_eq!(methods, 2);
}
