//! Client assertions for an app that talks to PDSs itself (AT Protocol proposal 0010): AIP signs them, bound
//! to the key of a device, and the PDS takes them with that key alone.

use std::collections::BTreeSet;

use aip_base::{Clock as _, Http as _, Limits, SystemRng, random_token};
use aip_jose::SigningKey;
use aip_jose::client_assertion::ASSERTION_TYPE;
use aip_jose::dpop::Proof;
use aip_oauth::registration::{ClientSettings, RegistrationError};
use aip_sandbox::{Decision, Visit, Visitor};
use aip_storage::audit::AuditKind;
use aip_storage::client::{ApplicationType, ClientAuthMethod};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::Request;
use serde_json::Value;
use url::Url;

use crate::answer::Answer;
use crate::app::{App, REDIRECT, s256};
use crate::browser::parameter;
use crate::on_both_engines;
use crate::world::{BASE, World};

on_both_engines!(
    an_app_talks_to_the_pds_with_assertions_that_aip_signs,
    who_may_not_ask_gets_no_assertion,
    a_page_of_the_app_asks_and_no_other,
    assertions_are_limited_by_network,
);

const PATH: &str = "/oauth/client-assertion";
const SCOPE: &str = "atproto repo:app.bsky.feed.post";

async fn switch_on(world: &World) {
    world
        .restart_configured(|config| config.client_assertions = true)
        .await;
}

fn may_ask(settings: &mut ClientSettings) {
    settings.scope = SCOPE.parse().unwrap();
    settings.own_upstream_document = true;
    settings.client_assertions = true;
}

fn document_of(app: &App<'_>) -> String {
    format!("{BASE}/oauth/upstream/clients/{}.json", app.id)
}

/// An assertion for the PDS of the sandbox.
async fn ask(app: &App<'_>) -> Answer {
    app.post(PATH, &[("aud", app.world.pds().issuer())]).await
}

async fn assertion(app: &App<'_>) -> String {
    let answer = ask(app).await;
    assert_eq!(answer.header("cache-control"), "no-store");
    let answer = answer.ok();
    assert_eq!(answer["client_id"], document_of(app));
    let assertion = answer["client_assertion"].as_str().unwrap();
    app.world.secrets.learn("a client assertion", assertion);
    assertion.to_owned()
}

/// A part of a JWT.
fn part(jwt: &str, n: usize) -> Value {
    let part = jwt.split('.').nth(n).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

/// What devices have bound.
async fn bound(world: &World) -> Vec<String> {
    world.texts("SELECT jkt FROM assertion_keys").await
}

/// A request of the app to its PDS, which asks for a nonce at first.
async fn at_pds(
    app: &App<'_>,
    key: &SigningKey,
    path: &str,
    form: &[(&str, &str)],
) -> (u16, Value) {
    let world = app.world;
    let url = format!("{}{path}", world.pds().issuer());
    let mut nonce: Option<String> = None;
    for _ in 0..2 {
        let assertion = assertion(app).await;
        let client_id = document_of(app);
        let mut form = form.to_vec();
        form.push(("client_id", &client_id));
        form.push(("client_assertion_type", ASSERTION_TYPE));
        form.push(("client_assertion", &assertion));
        let proof = Proof {
            htm: "POST",
            htu: &url,
            nonce: nonce.as_deref(),
            access_token: None,
        };
        let proof = proof.make(key, &SystemRng, world.clock.now()).unwrap();
        let request = Request::post(&url)
            .header("content-type", "application/x-www-form-urlencoded")
            .header("dpop", proof)
            .body(Bytes::from(serde_urlencoded::to_string(&form).unwrap()))
            .unwrap();
        let http = &world.sandbox.http;
        let answer = http.fetch(request, Limits::DOCUMENT).await.unwrap();
        let body: Value = serde_json::from_slice(&answer.body).unwrap();
        if body["error"] != "use_dpop_nonce" {
            return (answer.status.as_u16(), body);
        }
        let given = answer.headers.get("dpop-nonce").unwrap();
        nonce = Some(given.to_str().unwrap().to_owned());
    }
    panic!("the PDS asks for a nonce again and again");
}

/// The parameters of a pushed request for the app's own callback.
fn par<'a>(verifier: &str, challenge: &'a mut String) -> Vec<(&'static str, &'a str)> {
    *challenge = s256(verifier);
    vec![
        ("response_type", "code"),
        ("redirect_uri", REDIRECT),
        ("scope", SCOPE),
        ("state", "of-the-app"),
        ("code_challenge", challenge),
        ("code_challenge_method", "S256"),
    ]
}

async fn an_app_talks_to_the_pds_with_assertions_that_aip_signs(world: &World) {
    switch_on(world).await;
    let app = App::register(world, may_ask).await.with_dpop();
    let document = world.get(&document_of(&app)[BASE.len()..]).await.ok();
    let callback = format!("{BASE}/oauth/atp/callback");
    assert_eq!(
        document["redirect_uris"],
        serde_json::json!([callback, REDIRECT])
    );

    let first = assertion(&app).await;
    let claims = part(&first, 1);
    assert_eq!(claims["iss"], document_of(&app));
    assert_eq!(claims["sub"], document_of(&app));
    assert_eq!(claims["aud"], world.pds().issuer());
    assert_eq!(
        claims["cnf"]["jkt"],
        app.key().public().thumbprint().as_str()
    );
    let kid = part(&first, 0)["kid"].clone();

    // The app signs a person in itself.
    let verifier = random_token::<32>(&SystemRng);
    world.secrets.learn("a verifier", &verifier);
    let mut challenge = String::new();
    let form = par(&verifier, &mut challenge);
    let (status, pushed) = at_pds(&app, app.key(), "/oauth/par", &form).await;
    assert_eq!(status, 201, "{pushed}");
    let mut page = Url::parse(&format!("{}/oauth/authorize", world.pds().issuer())).unwrap();
    page.query_pairs_mut()
        .append_pair("client_id", &document_of(&app))
        .append_pair("request_uri", pushed["request_uri"].as_str().unwrap());
    let visit = Visit {
        person: world.alice(),
        remember: false,
        decision: Decision::Authorize,
    };
    let back = Visitor::default()
        .visit(page.as_str(), &visit)
        .await
        .unwrap();
    assert!(back.as_str().starts_with(REDIRECT), "{back}");
    let code = parameter(&back, "code").unwrap();
    let redeem = [
        ("grant_type", "authorization_code"),
        ("redirect_uri", REDIRECT),
        ("code", &code),
        ("code_verifier", &verifier),
    ];
    let (status, tokens) = at_pds(&app, app.key(), "/oauth/token", &redeem).await;
    assert_eq!(status, 200, "{tokens}");
    assert_eq!(tokens["sub"], world.alice().did.as_str());

    // Its session is bound to the key that signed: that one signs for this device after a rotation, too,
    // and the new one for new devices.
    let rotated = world.rotate_upstream_key().await;
    let refresh = tokens["refresh_token"].as_str().unwrap();
    let refresh = [("grant_type", "refresh_token"), ("refresh_token", refresh)];
    let (status, renewed) = at_pds(&app, app.key(), "/oauth/token", &refresh).await;
    assert_eq!(status, 200, "{renewed}");
    assert_eq!(part(&assertion(&app).await, 0)["kid"], kid);
    let other = app.with_another_key();
    assert_eq!(part(&assertion(&other).await, 0)["kid"], rotated);
    assert_eq!(bound(world).await.len(), 2);

    // Who has the assertion of a device has nothing without its key.
    let (_, refused) = at_pds(&app, other.key(), "/oauth/par", &form).await;
    assert_eq!(refused["error"], "invalid_client", "{refused}");

    // Once for each device. Both are of one instant, so in any order.
    let events = world.audit(AuditKind::AssertionKeyBound).await;
    assert!(
        events
            .iter()
            .all(|it| it.client_id.as_ref() == Some(&app.id))
    );
    assert_eq!(events.len(), 2);
    let noted: BTreeSet<_> = events.into_iter().map(|it| it.detail).collect();
    let expected = [&app, &other].map(|device| {
        let jkt = device.key().public().thumbprint();
        format!("for {}: {}", world.pds().issuer(), jkt.as_str())
    });
    assert_eq!(noted, BTreeSet::from(expected));
}

async fn who_may_not_ask_gets_no_assertion(world: &World) {
    let app = App::register(world, may_ask).await.with_dpop();
    ask(&app).await.expect(404, "not_found");
    let document = world.get(&document_of(&app)[BASE.len()..]).await.ok();
    assert_eq!(document["redirect_uris"].as_array().unwrap().len(), 1);
    switch_on(world).await;

    let own_document_only = App::register(world, |settings| {
        settings.own_upstream_document = true;
    });
    let own_document_only = own_document_only.await.with_dpop();
    for other in [own_document_only, world.app().await.with_dpop()] {
        ask(&other).await.expect(400, "unauthorized_client");
    }
    let impostor = App::known(world, app.id.as_str(), Some("wrong")).with_dpop();
    ask(&impostor).await.expect(401, "invalid_client");
    ask(&app.without_key()).await.expect(400, "invalid_request");
    for (aud, words) in [
        ("", "missing"),
        ("https://pds.example/", "must be an issuer"),
        ("https://pds.example/oauth/token", "must be an issuer"),
        ("HTTPS://PDS.EXAMPLE", "must be an issuer"),
        ("pds", "must be an issuer"),
    ] {
        let form: &[_] = if aud.is_empty() { &[] } else { &[("aud", aud)] };
        let refused = app.post(PATH, form).await;
        refused.expect(400, "invalid_request");
        assert!(refused.text().contains(words), "{aud}: {}", refused.text());
    }
    // A proof for another endpoint, and one that was used.
    let nonce = app.nonce().unwrap();
    let send = async |proof: &str| {
        let credential =
            crate::app::basic_credential(app.id.as_str(), app.secret.as_deref().unwrap());
        let form = [("aud", world.pds().issuer())];
        let request = Request::post(format!("{BASE}{PATH}"))
            .header("authorization", credential)
            .header("content-type", "application/x-www-form-urlencoded")
            .header("dpop", proof)
            .body(Bytes::from(serde_urlencoded::to_string(form).unwrap()));
        world.send(request.unwrap()).await
    };
    let proof = |path: &str| {
        let proof = Proof {
            htm: "POST",
            htu: &format!("{BASE}{path}"),
            nonce: Some(&nonce),
            access_token: None,
        };
        proof
            .make(app.key(), &SystemRng, world.clock.now())
            .unwrap()
    };
    send(&proof("/oauth/token"))
        .await
        .expect(400, "invalid_dpop_proof");
    assert_eq!(bound(world).await, [""; 0], "nothing is kept of a refusal");
    let used = proof(PATH);
    let given = send(&used).await.ok();
    let given = given["client_assertion"].as_str().unwrap();
    world.secrets.learn("a client assertion", given);
    send(&used).await.expect(400, "invalid_dpop_proof");

    let server = world.aip().app.server.clone();
    let without_document = ClientSettings {
        client_assertions: true,
        ..App::settings()
    };
    let refused = server.register_client(None, without_document).await;
    assert!(matches!(refused, Err(RegistrationError::ClientAssertions)));
}

/// A request of a page, or of a program that names none.
async fn from_page(app: &App<'_>, origin: Option<&str>, from: &str) -> Answer {
    let world = app.world;
    let nonce = world.aip().app.server.dpop_nonce();
    let form = [
        ("client_id", app.id.as_str()),
        ("aud", world.pds().issuer()),
    ];
    let form = Bytes::from(serde_urlencoded::to_string(form).unwrap());
    let proof = Proof {
        htm: "POST",
        htu: &format!("{BASE}{PATH}"),
        nonce: Some(&nonce),
        access_token: None,
    };
    let proof = proof
        .make(app.key(), &SystemRng, world.clock.now())
        .unwrap();
    let mut request = Request::post(format!("{BASE}{PATH}"))
        .header("content-type", "application/x-www-form-urlencoded")
        .header("x-forwarded-for", from)
        .header("dpop", proof);
    if let Some(origin) = origin {
        request = request.header("origin", origin);
    }
    let answer = world.send(request.body(form).unwrap()).await;
    if let Some(given) = answer.json()["client_assertion"].as_str() {
        world.secrets.learn("a client assertion", given);
    }
    answer
}

fn is_public(settings: &mut ClientSettings) {
    may_ask(settings);
    settings.auth_method = ClientAuthMethod::None;
}

async fn a_page_of_the_app_asks_and_no_other(world: &World) {
    switch_on(world).await;
    let app = App::register(world, is_public).await.with_dpop();
    let here = Some("https://app.example.org");
    let answer = from_page(&app, here, "203.0.113.9").await;
    assert_eq!(answer.header("access-control-allow-origin"), "*");
    answer.ok();
    for origin in [
        None,
        Some("https://evil.example.org"),
        Some("https://app.example.org:8443"),
        Some("http://app.example.org"),
        Some("null"),
    ] {
        let refused = from_page(&app, origin, "203.0.113.9").await;
        refused.expect(400, "unauthorized_client");
    }
    let native = App::register(world, |settings| {
        is_public(settings);
        settings.application_type = ApplicationType::Native;
    });
    let native = native.await.with_dpop();
    for origin in [None, here] {
        let refused = from_page(&native, origin, "203.0.113.9").await;
        refused.expect(400, "unauthorized_client");
        let words = "a native client without authentication";
        assert!(refused.text().contains(words), "{}", refused.text());
    }
    // One that proves itself needs no page, but is not asked for by those of others.
    let confidential = App::register(world, may_ask).await.with_dpop();
    ask(&confidential).await.ok();
    assert_eq!(bound(world).await.len(), 2);
    // Whoever has no secret writes nothing to the audit log.
    let events = world.audit(AuditKind::AssertionKeyBound).await;
    let clients: Vec<_> = events.iter().map(|it| it.client_id.as_ref()).collect();
    assert_eq!(clients, [Some(&confidential.id)]);
}

async fn assertions_are_limited_by_network(world: &World) {
    switch_on(world).await;
    let app = App::register(world, is_public).await.with_dpop();
    let here = Some("https://app.example.org");
    for _ in 0..60 {
        from_page(&app, here, "203.0.113.9").await.ok();
    }
    let refused = from_page(&app, here, "203.0.113.9").await;
    refused
        .expect(429, "temporarily_unavailable")
        .logged("over the limit `assertions`");
    from_page(&app, here, "203.0.113.10").await.ok();
    assert_eq!(bound(world).await.len(), 1);
}
