//! Confidential clients: silent sign-in, key pinning, client assertions, fetched metadata.

use std::sync::Arc;
use std::time::Duration;

use aip_base::{Clock as _, SystemRng, random_token};
use aip_jose::client_assertion::ASSERTION_TYPE;
use aip_jose::{Alg, NumericDate, SigningKey, sign_jwt};
use aip_sandbox::{Decision, Visit, Visitor};
use axum::routing::get;
use axum::{Json, Router};
use http::StatusCode;
use serde_json::{Value, json};

use crate::client::{Client, confidential_metadata, new_key, query, sandbox};

fn client_key(kid: &str) -> Arc<SigningKey> {
    Arc::new(SigningKey::generate(Alg::Es256, Some(kid.to_owned())).unwrap())
}

#[tokio::test]
async fn a_confidential_client_gets_silent_sign_in_once_it_was_authorized() {
    let (sandbox, clock) = sandbox().await;
    let client = Client::confidential(&sandbox.pds, &clock, &[&client_key("k1")]);
    let alice = &sandbox.accounts.alice;
    let (browser, visit) = (
        Visitor::default(),
        Visit {
            person: alice,
            remember: true,
            decision: Decision::Authorize,
        },
    );
    let begun = client.begin(&[]).await;
    browser.visit(&begun.authorize_url, &visit).await.unwrap();

    // From here on the password is wrong, so a form in the way would show.
    let nobody = aip_sandbox::Person {
        password: "wrong".to_owned(),
        ..alice.clone()
    };
    let silent = Visit {
        person: &nobody,
        ..visit
    };
    let hint = ("login_hint", "alice.test");
    for changes in [vec![hint], vec![hint, ("prompt", "none")]] {
        let session = client.begin(&changes).await;
        let callback = browser
            .visit(&session.authorize_url, &silent)
            .await
            .unwrap();
        let tokens = client
            .exchange(&session, &query(&callback, "code").unwrap())
            .await;
        assert_eq!(tokens.text("sub"), alice.did.as_str());
    }

    let table = [
        (&browser, "bob.test", &client.scope[..], "login_required"),
        (
            &browser,
            "alice.test",
            "atproto transition:email",
            "consent_required",
        ),
        (
            &Visitor::default(),
            "alice.test",
            &client.scope[..],
            "login_required",
        ),
    ];
    for (browser, hint, scope, error) in table {
        let changes = [("login_hint", hint), ("prompt", "none"), ("scope", scope)];
        let session = client.begin(&changes).await;
        let callback = browser
            .visit(&session.authorize_url, &silent)
            .await
            .unwrap();
        assert_eq!(query(&callback, "error").unwrap(), error);
        assert_eq!(query(&callback, "iss").unwrap(), client.issuer);
    }
}

#[tokio::test]
async fn a_person_may_untick_scopes() {
    let (sandbox, clock) = sandbox().await;
    let client = Client::confidential(&sandbox.pds, &clock, &[&client_key("k1")]);
    let session = client
        .begin(&[("scope", "atproto transition:generic transition:email")])
        .await;
    let visit = Visit {
        person: &sandbox.accounts.alice,
        remember: false,
        decision: Decision::AuthorizeOnly(&["transition:email"]),
    };
    let callback = Visitor::default()
        .visit(&session.authorize_url, &visit)
        .await
        .unwrap();
    let tokens = client
        .exchange(&session, &query(&callback, "code").unwrap())
        .await;
    assert_eq!(tokens.text("scope"), "atproto transition:email");
}

#[tokio::test]
async fn a_session_is_bound_to_its_assertion_key_for_life() {
    let (sandbox, clock) = sandbox().await;
    let (old, new) = (client_key("old"), client_key("new"));
    let client = Client::confidential(&sandbox.pds, &clock, &[&old, &new]);
    let (session, tokens) = client.sign_in(&sandbox.accounts.alice).await;
    let tokens = client
        .refresh(&session.key, tokens.text("refresh_token"))
        .await;
    assert_eq!(tokens.status, StatusCode::OK);

    // Taking the key out of the document is not fatal.
    sandbox
        .pds
        .trust_client(confidential_metadata(&[&new]))
        .unwrap();
    let answer = client
        .refresh(&session.key, tokens.text("refresh_token"))
        .await;
    assert_eq!(
        (answer.status.as_u16(), answer.error().1),
        (400, "invalid_client")
    );
    sandbox
        .pds
        .trust_client(confidential_metadata(&[&old, &new]))
        .unwrap();
    let tokens = client
        .refresh(&session.key, tokens.text("refresh_token"))
        .await;
    assert_eq!(tokens.status, StatusCode::OK);

    // Signing with the other key is.
    let rotated = Client {
        assertion_key: Some(new),
        ..client
    };
    let answer = rotated
        .refresh(&session.key, tokens.text("refresh_token"))
        .await;
    let why =
        "The session was initiated with a different key than the client assertion currently used";
    assert_eq!(answer.error(), (400, "invalid_grant", why));
    let back = Client {
        assertion_key: Some(old),
        ..rotated
    };
    let answer = back
        .refresh(&session.key, tokens.text("refresh_token"))
        .await;
    assert_eq!(
        answer.error(),
        (400, "invalid_grant", "Invalid refresh token")
    );
}

#[tokio::test]
async fn client_assertions_are_checked_as_the_reference_does() {
    let (sandbox, clock) = sandbox().await;
    let key = client_key("k1");
    let client = Client::confidential(&sandbox.pds, &clock, &[&key]);
    let public = Client {
        assertion_key: None,
        ..Client::confidential(&sandbox.pds, &clock, &[&key])
    };
    let now = NumericDate::from(clock.now()).timestamp().as_secs();
    let claims = json!({
        "iss": client.id, "sub": client.id, "aud": client.issuer, "iat": now, "exp": now + 60,
    });
    // A member to change, its value (null removes it), and the expected outcome.
    let table: [(&str, Value, &str); 9] = [
        ("aud", json!(client.issuer), "ok"),
        ("aud", json!([client.issuer, "https://other.test"]), "ok"),
        (
            "aud",
            json!(format!("{}/oauth/token", client.issuer)),
            "invalid_client",
        ),
        ("exp", Value::Null, "ok"),
        ("exp", json!(now + 600), "ok"),
        ("iat", json!(now - 120), "invalid_client"),
        ("iat", json!(now + 30), "invalid_client"),
        ("jti", Value::Null, "invalid_client"),
        ("jti", json!("always the same"), "ok"),
    ];
    let push = async |assertion: &str| {
        let extra = [
            ("client_assertion_type", ASSERTION_TYPE),
            ("client_assertion", assertion),
        ];
        let answer = public
            .par(&new_key(), &random_token::<32>(&SystemRng), &extra)
            .await;
        answer.body["error"].as_str().unwrap_or("ok").to_owned()
    };
    for (member, value, outcome) in table {
        let mut claims = claims.clone();
        claims["jti"] = json!(random_token::<16>(&SystemRng));
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(member);
        } else {
            claims[member] = value.clone();
        }
        let assertion = sign_jwt(&key, "JWT", &claims).unwrap();
        // The nonce is demanded before the assertion is used up, so it may be sent again.
        assert_eq!(push(&assertion).await, outcome, "{member} = {value}");
        if outcome == "ok" {
            assert_eq!(push(&assertion).await, "invalid_grant", "used twice");
        }
    }
    assert_eq!(push("").await, "invalid_client");
}

#[tokio::test]
async fn metadata_and_keys_are_fetched_once_in_ten_minutes() {
    let (sandbox, clock) = sandbox().await;
    let key = client_key("k1");
    let mut document = confidential_metadata(&[&key]);
    let keys = document.as_object_mut().unwrap().remove("jwks").unwrap();
    document["jwks_uri"] = json!("https://aip.internal/jwks.json");
    let fetched = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counter = fetched.clone();
    let app = Router::new()
        .route(
            "/oauth-client-metadata.json",
            get(move || {
                counter.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                std::future::ready(Json(document.clone()))
            }),
        )
        .route(
            "/jwks.json",
            get(move || std::future::ready(Json(keys.clone()))),
        );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    sandbox
        .http
        .map_host("aip.internal", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });

    let client = Client {
        id: "https://aip.internal/oauth-client-metadata.json".to_owned(),
        redirect_uri: "https://aip.internal/callback".to_owned(),
        assertion_key: Some(key),
        ..Client::loopback(&sandbox.pds, &clock, "atproto transition:generic")
    };
    client.sign_in(&sandbox.accounts.alice).await;
    client.sign_in(&sandbox.accounts.bob).await;
    assert_eq!(fetched.load(std::sync::atomic::Ordering::SeqCst), 1);
    clock.advance(Duration::from_mins(10));
    client.sign_in(&sandbox.accounts.bob).await;
    assert_eq!(fetched.load(std::sync::atomic::Ordering::SeqCst), 2);
}

#[tokio::test]
async fn metadata_that_breaks_a_rule_is_refused() {
    let (sandbox, _) = sandbox().await;
    let table = [
        (
            "client_id",
            json!("https://localhost:8443/client.json"),
            "loopback host",
        ),
        (
            "client_id",
            json!("https://127.0.0.1:8443/client.json"),
            "IP address",
        ),
        (
            "client_id",
            json!("https://client.test/client.json"),
            "TLD must not be",
        ),
        (
            "dpop_bound_access_tokens",
            json!(false),
            "dpop_bound_access_tokens",
        ),
        ("redirect_uris", json!([]), "redirect_uris"),
        (
            "redirect_uris",
            json!(["http://127.0.0.1/callback"]),
            "Loopback redirect",
        ),
        ("scope", json!("transition:generic"), "atproto"),
        ("scope", json!("atproto atproto"), "Duplicate"),
        (
            "jwks_uri",
            json!("https://aip.internal/jwks.json"),
            "exactly one",
        ),
        (
            "token_endpoint_auth_method",
            json!("client_secret_basic"),
            "must be none or",
        ),
    ];
    for (member, value, why) in table {
        let mut metadata = confidential_metadata(&[&client_key("k1")]);
        metadata[member] = value.clone();
        let refused = sandbox.pds.trust_client(metadata).unwrap_err().to_string();
        assert!(refused.contains(why), "{member} = {value}: {refused}");
    }
}
