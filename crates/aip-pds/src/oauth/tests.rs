//! Stories of sign-ins and refreshes against an authorization server with a script.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use aip_atproto::{Did, Issuer, Origin, ScopeSet};
use aip_base::HttpError;
use aip_jose::{Alg, SigningKey, UnverifiedJws};
use bytes::Bytes;
use http::Request;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use url::form_urlencoded;

use super::*;
use crate::ProvenIdentity;
use crate::metadata::AuthServer;
use crate::testing::{ALICE, AUTH, Respond, World, answer, json};
use crate::trace::Trace;

mod forms;
mod timing;

const PAR: &str = "https://auth.org/oauth/par";
const TOKEN: &str = "https://auth.org/oauth/token";
const REVOKE: &str = "https://auth.org/oauth/revoke";
const EMAIL: &str = "https://pds.org/xrpc/com.atproto.server.getSession";
const CLIENT_ID: &str = "https://aip.org/oauth-client-metadata.json";
const CALLBACK: &str = "https://aip.org/oauth/atp/callback";

fn keys() -> SessionKeys {
    let key = |kid: Option<&str>| {
        Arc::new(SigningKey::generate(Alg::Es256, kid.map(str::to_owned)).unwrap())
    };
    let client = ClientIdentity::Confidential {
        client_id: CLIENT_ID.to_owned(),
        key: key(Some("k1")),
    };
    SessionKeys {
        session: "0192f3a4-7b1c-7def-8abc-0123456789ab".parse().unwrap(),
        client,
        dpop: key(None),
    }
}

async fn server(world: &World) -> Arc<AuthServer> {
    let issuer = Issuer::parse(AUTH).unwrap();
    world
        .client
        .server(&issuer, &mut Trace::default())
        .await
        .unwrap()
}

fn tokens() -> Value {
    json!({
        "access_token": "at-1", "refresh_token": "rt-2", "token_type": "DPoP",
        "expires_in": 900, "scope": "atproto repo:app.bsky.feed.post", "sub": ALICE,
    })
}

fn challenge(nonce: &'static str) -> impl Fn() -> crate::testing::Answer + Send + 'static {
    move || {
        answer(
            400,
            r#"{"error":"use_dpop_nonce"}"#,
            &[("dpop-nonce", nonce)],
        )
    }
}

fn form(request: &Request<Bytes>) -> Vec<(String, String)> {
    form_urlencoded::parse(request.body())
        .into_owned()
        .collect()
}

fn param(request: &Request<Bytes>, name: &str) -> String {
    form(request)
        .into_iter()
        .find(|(key, _)| key == name)
        .map(|(_, value)| value)
        .unwrap()
}

fn proof_claims(request: &Request<Bytes>) -> Value {
    let proof = request.headers()["dpop"].to_str().unwrap();
    UnverifiedJws::parse(proof)
        .unwrap()
        .unverified_claims()
        .unwrap()
}

async fn complete(world: &World, expected: Option<&Did>) -> Result<SignedIn, SignInError> {
    let (code, verifier) = (
        SecretString::from("code-1"),
        SecretString::from("verifier-1"),
    );
    let server = server(world).await;
    world
        .client
        .complete_sign_in(&keys(), &server, CALLBACK, &code, &verifier, expected)
        .await
}

async fn refresh(world: &World) -> Result<TokenSet, RefreshError> {
    refresh_proven(world, &proven(world).await).await
}

async fn proven(world: &World) -> ProvenIdentity {
    let did = Did::parse(ALICE).unwrap();
    let issuer = Issuer::parse(AUTH).unwrap();
    world.client.prove(&did, &issuer, None).await.unwrap()
}

async fn refresh_proven(world: &World, proven: &ProvenIdentity) -> Result<TokenSet, RefreshError> {
    let session = UpstreamCredentials {
        keys: keys(),
        refresh_token: "rt-1".into(),
        scope: ScopeSet::parse("atproto transition:generic").unwrap(),
    };
    world.client.refresh(&session, proven).await
}

#[tokio::test]
async fn a_sign_in_starts_with_a_pushed_request_and_an_encoded_url() {
    let world = World::with_alice();
    let pushed =
        json!({ "request_uri": "urn:ietf:params:oauth:request_uri:a b&c", "expires_in": 300 });
    world
        .network
        .on(PAR, move || answer(201, &pushed.to_string(), &[]));
    let (server, keys) = (server(&world).await, keys());
    let scope = ScopeSet::parse("atproto").unwrap();
    let request = PushedRequest {
        server: &server,
        keys: &keys,
        redirect_uri: CALLBACK,
        scope: &scope,
        state: "state-1",
        login_hint: Some("alice.org"),
        prompt: None,
    };
    let started = world.client.start_sign_in(request).await.unwrap();
    assert_eq!(
        started.authorization_url.as_str(),
        "https://auth.org/oauth/authorize\
         ?client_id=https%3A%2F%2Faip.org%2Foauth-client-metadata.json\
         &request_uri=urn%3Aietf%3Aparams%3Aoauth%3Arequest_uri%3Aa+b%26c"
    );
    let sent = &world.network.to(PAR)[0];
    for (name, value) in [
        ("response_type", "code"),
        ("client_id", CLIENT_ID),
        ("redirect_uri", CALLBACK),
        ("scope", "atproto"),
        ("state", "state-1"),
        ("code_challenge_method", "S256"),
        ("login_hint", "alice.org"),
        (
            "client_assertion_type",
            "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        ),
    ] {
        assert_eq!(param(sent, name), value);
    }
    let verifier = started.verifier.expose_secret();
    assert_eq!(
        param(sent, "code_challenge"),
        super::pkce::challenge(verifier)
    );
    assert!(verifier.len() >= 43);
    let claims = proof_claims(sent);
    assert_eq!(
        (&claims["htm"], &claims["htu"]),
        (&json!("POST"), &json!(PAR))
    );
    let assertion = UnverifiedJws::parse(&param(sent, "client_assertion")).unwrap();
    let claims: Value = assertion.unverified_claims().unwrap();
    assert_eq!(
        (&claims["aud"], &claims["sub"]),
        (&json!(AUTH), &json!(CLIENT_ID))
    );
    assert!(claims["exp"].as_i64() > claims["iat"].as_i64());
}

#[tokio::test]
async fn a_loopback_client_is_public_and_names_itself_in_its_id() {
    let world = World::with_alice();
    world.network.on(TOKEN, json(&tokens()));
    let scope = ScopeSet::parse("atproto").unwrap();
    let client = ClientIdentity::loopback("http://127.0.0.1:8080/oauth/atp/callback", &scope);
    let id = "http://localhost?redirect_uri=http%3A%2F%2F127.0.0.1%3A8080%2Foauth%2Fatp%2Fcallback&scope=atproto";
    assert_eq!(client.client_id(), id);
    let keys = SessionKeys { client, ..keys() };
    let server = server(&world).await;
    let code = "c".into();
    world
        .client
        .complete_sign_in(&keys, &server, "x", &code, &code, None)
        .await
        .unwrap();
    let sent = &world.network.to(TOKEN)[0];
    assert_eq!(param(sent, "client_id"), id);
    assert!(
        form(sent)
            .iter()
            .all(|(name, _)| name != "client_assertion")
    );
}

#[tokio::test]
async fn one_nonce_challenge_is_answered_with_a_new_proof_and_a_new_assertion() {
    let world = World::with_alice();
    world
        .network
        .on(TOKEN, challenge("n-1"))
        .on(TOKEN, json(&tokens()));
    complete(&world, None).await.unwrap();
    let sent = world.network.to(TOKEN);
    assert_eq!(sent.len(), 2);
    let nonces: Vec<Value> = sent
        .iter()
        .map(|r| proof_claims(r)["nonce"].clone())
        .collect();
    assert_eq!(nonces, [Value::Null, json!("n-1")]);
    let jtis: HashSet<String> = sent
        .iter()
        .map(|r| proof_claims(r)["jti"].to_string())
        .collect();
    let assertions: HashSet<String> = sent.iter().map(|r| param(r, "client_assertion")).collect();
    assert_eq!((jtis.len(), assertions.len()), (2, 2));
}

#[tokio::test]
async fn a_server_that_is_never_content_with_its_nonces_is_given_up() {
    let world = World::with_alice();
    world
        .network
        .on(TOKEN, challenge("n-1"))
        .on(TOKEN, challenge("n-2"));
    let error = complete(&world, None).await.unwrap_err();
    assert!(
        matches!(error, SignInError::Exchange(ExchangeError::NonceLoop)),
        "{error}"
    );
    let sent = world.network.to(TOKEN);
    assert_eq!(sent.len(), 8);
    let nonces = |index: usize| proof_claims(&sent[index])["nonce"].clone();
    assert_eq!((nonces(1), nonces(2)), (json!("n-1"), json!("n-2")));
}

#[tokio::test]
async fn a_challenge_without_a_nonce_is_not_answered() {
    let world = World::with_alice();
    world
        .network
        .on(TOKEN, || answer(400, r#"{"error":"use_dpop_nonce"}"#, &[]));
    let error = complete(&world, None).await.unwrap_err();
    assert!(
        matches!(error, SignInError::Exchange(ExchangeError::Malformed(_))),
        "{error}"
    );
    assert_eq!(world.network.to(TOKEN).len(), 1);
}

#[tokio::test]
async fn nonces_of_authorization_and_resource_server_do_not_mix() {
    let world = World::with_alice();
    // One origin in both roles, as with most self-hosted PDSs.
    let pds = Origin::parse(AUTH).unwrap();
    let at_pds = "https://auth.org/xrpc/com.atproto.server.getSession";
    world.network.on(TOKEN, || {
        answer(200, &tokens().to_string(), &[("dpop-nonce", "as-nonce")])
    });
    let email = json!({ "email": "a@alice.org", "emailConfirmed": true }).to_string();
    world.network.on(at_pds, move || {
        answer(200, &email, &[("dpop-nonce", "rs-nonce")])
    });
    for _ in 0..2 {
        complete(&world, None).await.unwrap();
        world
            .client
            .session_email(&keys(), &"at-1".into(), &pds)
            .await
            .unwrap();
    }
    let nonces = |url: &str| -> Vec<Value> {
        world
            .network
            .to(url)
            .iter()
            .map(|r| proof_claims(r)["nonce"].clone())
            .collect()
    };
    assert_eq!(nonces(TOKEN), [Value::Null, json!("as-nonce")]);
    assert_eq!(nonces(at_pds), [Value::Null, json!("rs-nonce")]);
}

#[tokio::test]
async fn tokens_of_a_server_that_lies_about_the_account_are_revoked() {
    let world = World::with_alice();
    let victim = "did:plc:bbbbbbbbbbbbbbbbbbbbbbbb";
    let mut response = tokens();
    response["sub"] = victim.into();
    let document = crate::testing::did_document(victim, "bob.org", "https://bob.org");
    world
        .network
        .on(&format!("https://plc.org/{victim}"), json(&document));
    world.network.on(
        "https://bob.org/.well-known/oauth-protected-resource",
        json(&crate::testing::resource_metadata(
            "https://bob.org",
            "https://bob.org",
        )),
    );
    world.network.on(
        "https://bob.org/.well-known/oauth-authorization-server",
        json(&crate::testing::server_metadata("https://bob.org")),
    );
    world
        .network
        .on(TOKEN, json(&response))
        .on(REVOKE, || answer(200, "", &[]));
    let error = complete(&world, None).await.unwrap_err();
    assert!(
        matches!(error, SignInError::Proof(crate::ProofError::Moved { .. })),
        "{error}"
    );
    assert_eq!(param(&world.network.to(REVOKE)[0], "token"), "rt-2");
}

#[tokio::test]
async fn the_granted_scopes_and_the_expiry_are_kept() {
    let world = World::with_alice();
    world.network.on(TOKEN, json(&tokens()));
    let did = Did::parse(ALICE).unwrap();
    let signed_in = complete(&world, Some(&did)).await.unwrap();
    assert_eq!(signed_in.identity.did(), &did);
    assert_eq!(
        signed_in.tokens.scope,
        ScopeSet::parse("repo:app.bsky.feed.post atproto").unwrap()
    );
    let left = signed_in
        .tokens
        .expires_at
        .since(aip_base::Clock::now(&*world.clock));
    assert_eq!(left, Duration::from_mins(15));
    assert!(world.network.to(REVOKE).is_empty());
}

/// A refresh runs in a task of its own, which neither a disconnect nor a shutdown aborts.
#[tokio::test]
async fn a_refresh_can_be_spawned() {
    let world = World::with_alice();
    world.network.on(TOKEN, json(&tokens()));
    let task = tokio::spawn(async move { refresh(&world).await });
    assert!(task.await.unwrap().is_ok());
}

#[tokio::test]
async fn a_sign_in_can_be_spawned() {
    let world = World::with_alice();
    world.network.on(TOKEN, json(&tokens()));
    let task = tokio::spawn(async move {
        let input = crate::SubjectInput::parse("alice.org").unwrap();
        let destination = world
            .client
            .discover(&input, &mut Trace::default())
            .await
            .unwrap();
        assert_eq!(destination.login_hint.as_deref(), Some("alice.org"));
        complete(
            &world,
            destination.expected.as_ref().map(|account| &account.did),
        )
        .await
    });
    assert!(task.await.unwrap().is_ok());
}

#[tokio::test]
async fn a_refresh_gives_new_tokens_for_the_same_account() {
    let world = World::with_alice();
    world.network.on(TOKEN, json(&tokens()));
    let new = refresh(&world).await.unwrap();
    assert_eq!(new.refresh.unwrap().expose_secret(), "rt-2");
    let sent = &world.network.to(TOKEN)[0];
    assert_eq!(param(sent, "refresh_token"), "rt-1");

    let mut other = tokens();
    other["sub"] = "did:plc:bbbbbbbbbbbbbbbbbbbbbbbb".into();
    world
        .network
        .now(TOKEN, json(&other))
        .on(REVOKE, || answer(200, "", &[]));
    let error = refresh(&world).await.unwrap_err();
    assert!(
        matches!(&error, RefreshError::OtherAccount(other) if other.as_str().contains("bbbb")),
        "{error}"
    );
    assert_eq!(param(&world.network.to(REVOKE)[0], "token"), "rt-2");
}

#[tokio::test]
async fn failures_of_a_refresh_are_distinguished_by_what_they_mean() {
    type Meaning = fn(&RefreshError) -> bool;
    let oauth = |status, error: &str| {
        let body = json!({ "error": error, "error_description": "why" }).to_string();
        Box::new(move || answer(status, &body, &[])) as Respond
    };
    let failing = |error: fn() -> HttpError| Box::new(move || Err(error())) as Respond;
    let transient: Meaning = |e| matches!(e, RefreshError::Transient { .. });
    let cases: Vec<(Respond, Meaning)> = vec![
        (
            oauth(400, "invalid_grant"),
            |e| matches!(e, RefreshError::InvalidGrant { description } if description == "why"),
        ),
        (oauth(401, "invalid_client"), |e| {
            matches!(e, RefreshError::InvalidClient { .. })
        }),
        (oauth(400, "invalid_dpop_proof"), |e| {
            matches!(e, RefreshError::Rejected { .. })
        }),
        (oauth(400, "temporarily_unavailable"), transient),
        (oauth(500, "server_error"), transient),
        // A proxy that answers for a dead server must not end a session.
        (oauth(503, "invalid_grant"), transient),
        (
            Box::new(|| answer(502, "<html>bad gateway</html>", &[])),
            transient,
        ),
        (Box::new(|| answer(400, "<html>", &[])), transient),
        (failing(|| HttpError::Connect("refused".into())), |e| {
            matches!(e, RefreshError::NotSent(_))
        }),
        (failing(|| HttpError::Broken("reset".into())), |e| {
            matches!(e, RefreshError::MayHaveArrived(_))
        }),
        (
            failing(|| HttpError::Deadline(Duration::from_secs(15))),
            |e| matches!(e, RefreshError::MayHaveArrived(_)),
        ),
        (Box::new(|| answer(200, "{}", &[])), |e| {
            matches!(e, RefreshError::Unusable { refresh: None, .. })
        }),
        (Box::new(|| answer(200, "<html>", &[])), |e| {
            matches!(e, RefreshError::Unusable { refresh: None, .. })
        }),
        // Without a status of its own, the error is what counts.
        (oauth(200, "invalid_grant"), |e| {
            matches!(e, RefreshError::InvalidGrant { .. })
        }),
    ];
    for (number, (respond, means)) in cases.into_iter().enumerate() {
        let world = World::with_alice();
        world.network.on(TOKEN, respond);
        let error = refresh(&world).await.unwrap_err();
        assert!(means(&error), "case {number}: {error}");
    }
}

#[tokio::test]
async fn retry_after_is_passed_on() {
    let world = World::with_alice();
    let body = r#"{"error":"rate_limited"}"#;
    world
        .network
        .on(TOKEN, move || answer(429, body, &[("retry-after", "17")]));
    let error = refresh(&world).await.unwrap_err();
    let RefreshError::Transient {
        status,
        retry_after,
    } = error
    else {
        panic!("{error}")
    };
    assert_eq!(
        (status, retry_after),
        (Some(429), Some(Duration::from_secs(17)))
    );
}

#[tokio::test]
async fn the_email_is_asked_with_the_access_token_and_one_nonce_retry() {
    let world = World::with_alice();
    let refusal = [
        ("dpop-nonce", "rs-1"),
        (
            "www-authenticate",
            r#"DPoP error="use_dpop_nonce", error_description="x""#,
        ),
    ];
    let session = json!({ "did": ALICE, "email": "a@alice.org" }).to_string();
    world.network.on(EMAIL, move || answer(401, "{}", &refusal));
    world.network.on(EMAIL, move || answer(200, &session, &[]));
    let pds = Origin::parse("https://pds.org").unwrap();
    let email = world
        .client
        .session_email(&keys(), &"at-1".into(), &pds)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (email.address.as_str(), email.confirmed),
        ("a@alice.org", false)
    );
    let sent = world.network.to(EMAIL);
    assert_eq!(sent.len(), 2);
    let claims = proof_claims(&sent[1]);
    assert_eq!(claims["nonce"], "rs-1");
    assert!(claims["ath"].is_string());
    let authorization = &sent[1].headers()["authorization"];
    assert_eq!(authorization, "DPoP at-1");
    assert!(authorization.is_sensitive());
}
