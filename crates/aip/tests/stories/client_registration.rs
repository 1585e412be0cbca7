//! Clients that register themselves (RFC 7591): who may, and as what.

use std::time::Duration;

use aip_base::Clock as _;
use aip_oauth::client_registration::RegistrationMode;
use aip_storage::audit::AuditKind;
use bytes::Bytes;
use futures_util::future::join_all;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{Method, Request};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::app::{App, REDIRECT, SCOPE, Tokens};
use crate::on_both_engines;
use crate::world::{BASE, World};

on_both_engines!(
    an_app_registers_itself_and_signs_a_person_in,
    nobody_registers_where_that_is_switched_off,
    nobody_registers_without_a_token_of_the_operators,
    metadata_that_is_not_right_is_refused_and_nothing_is_spent,
    what_an_app_does_not_say_is_as_the_specification_has_it,
    of_fifty_registrations_with_one_token_as_many_succeed_as_it_says,
    where_anybody_may_register_there_are_limits,
    a_client_that_proves_itself_may_do_without_pkce_unless_the_server_demands_it,
);

const REGISTER: &str = "/oauth/clients/register";

/// What a proxy in front of AIP says of the caller.
const FORWARDED: &str = "x-forwarded-for";

pub(crate) async fn send(
    world: &World,
    method: Method,
    url: &str,
    token: Option<&str>,
    body: Option<&Value>,
) -> Answer {
    let mut request = Request::builder().method(method).uri(url);
    if let Some(token) = token {
        request = request.header(AUTHORIZATION, format!("Bearer {token}"));
    }
    let body = body.map(Value::to_string);
    if body.is_some() {
        request = request.header(CONTENT_TYPE, "application/json");
    }
    let body = Bytes::from(body.unwrap_or_default());
    let answer = world.send(request.body(body).unwrap()).await;
    if answer.status.is_success() && !answer.text().is_empty() {
        learn(world, &answer.json());
    }
    answer
}

/// What the story must not find in the database or in the log.
fn learn(world: &World, told: &Value) {
    for name in ["client_secret", "registration_access_token"] {
        if let Some(secret) = told[name].as_str() {
            world.secrets.learn("what a registration told", secret);
        }
    }
}

pub(crate) async fn register(world: &World, token: Option<&str>, metadata: &Value) -> Answer {
    let url = format!("{BASE}{REGISTER}");
    send(world, Method::POST, &url, token, Some(metadata)).await
}

/// What a registration told.
#[track_caller]
pub(crate) fn told(answer: &Answer) -> Value {
    assert_eq!(answer.status, 201, "{}", answer.text());
    assert_eq!(answer.header("cache-control"), "no-store");
    answer.json()
}

/// Starts AIP anew, where apps may register themselves in that way.
pub(crate) async fn may_register(world: &World, mode: RegistrationMode) {
    let change = move |config: &mut aip::app::AppConfig| config.registration.mode = mode;
    world.restart_configured(change).await;
}

/// A token for so many registrations.
pub(crate) async fn initial_token(world: &World, uses: u32) -> String {
    let server = world.aip().app.server.clone();
    let lives = Duration::from_hours(24);
    let (_, token) = server.create_initial_token(uses, lives).await.unwrap();
    let token = token.expose_secret().to_owned();
    world.secrets.learn("an initial access token", &token);
    token
}

/// An app that may do what apps of stories do.
pub(crate) fn metadata() -> Value {
    json!({
        "client_name": "Registered App",
        "redirect_uris": [REDIRECT],
        "grant_types": ["authorization_code", "refresh_token"],
        "scope": SCOPE,
    })
}

pub(crate) fn app<'w>(world: &'w World, told: &Value) -> App<'w> {
    let id = told["client_id"].as_str().unwrap();
    App::known(world, id, told["client_secret"].as_str())
}

pub(crate) fn text<'a>(told: &'a Value, name: &str) -> &'a str {
    told[name].as_str().unwrap_or_else(|| panic!("no {name}"))
}

async fn an_app_registers_itself_and_signs_a_person_in(world: &World) {
    may_register(world, RegistrationMode::Token).await;
    let discovery = world.get("/.well-known/openid-configuration").await.json();
    assert_eq!(
        discovery["registration_endpoint"],
        format!("{BASE}{REGISTER}")
    );
    let token = initial_token(world, 1).await;
    let told = told(&register(world, Some(&token), &metadata()).await);
    let id = text(&told, "client_id");
    assert_eq!(told["client_name"], "Registered App");
    assert_eq!(told["client_secret_expires_at"], 0);
    assert_eq!(told["client_id_issued_at"], world.clock.now().as_secs());
    assert_eq!(
        told["registration_client_uri"],
        format!("{BASE}/oauth/clients/{id}")
    );
    let events = world.audit(AuditKind::ClientRegistered).await;
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].client_id.as_ref().unwrap().as_str(), id);

    // RS256 is what an app gets that asks for nothing (OpenID Connect Registration §2).
    let tokens = app(world, &told)
        .sign_in(&world.browser(), world.alice())
        .await;
    let header = tokens.id_token().split('.').next().unwrap();
    let header = base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, header);
    let header: Value = serde_json::from_slice(&header.unwrap()).unwrap();
    assert_eq!(header["alg"], "RS256");
}

async fn nobody_registers_where_that_is_switched_off(world: &World) {
    let token = initial_token(world, 1).await;
    let before = world.state().await;
    for token in [None, Some(token.as_str())] {
        let answer = register(world, token, &metadata()).await;
        answer.expect(404, "not_found");
    }
    let discovery = world.get("/.well-known/openid-configuration").await.json();
    assert_eq!(discovery["registration_endpoint"], Value::Null);
    assert_eq!(world.state().await, before);
}

async fn nobody_registers_without_a_token_of_the_operators(world: &World) {
    may_register(world, RegistrationMode::Token).await;
    let used = initial_token(world, 1).await;
    let told = told(&register(world, Some(&used), &metadata()).await);
    let own = text(&told, "registration_access_token").to_owned();
    let expires = initial_token(world, 1).await;
    let (start, last) = expires.split_at(expires.len() - 1);
    let mistyped = format!("{start}{}", if last == "x" { "y" } else { "x" });
    let before = world.state().await;
    let answer = register(world, None, &metadata()).await;
    answer.expect(401, "invalid_token");
    assert_eq!(answer.header("www-authenticate"), "Bearer realm=\"aip\"");
    // Neither is said what is right with the rest.
    for token in [used.as_str(), own.as_str(), "nonsense", &mistyped] {
        for metadata in [metadata(), json!({}), json!("nonsense")] {
            let answer = register(world, Some(token), &metadata).await;
            answer.expect(401, "invalid_token");
            let challenge = answer.header("www-authenticate");
            assert!(challenge.contains("error=\"invalid_token\""), "{challenge}");
        }
    }
    world.pass(Duration::from_hours(25));
    let answer = register(world, Some(&expires), &metadata()).await;
    answer.expect(401, "invalid_token");
    assert_eq!(world.state().await, before);
}

async fn metadata_that_is_not_right_is_refused_and_nothing_is_spent(world: &World) {
    may_register(world, RegistrationMode::Token).await;
    let token = initial_token(world, 1).await;
    let before = world.state().await;
    for (changes, error) in wrong_members() {
        let mut changed = metadata();
        let members = changes.as_object().unwrap().clone();
        changed.as_object_mut().unwrap().extend(members);
        let answer = register(world, Some(&token), &changed).await;
        assert_eq!(
            answer.json()["error"],
            error,
            "{changes}: {}",
            answer.text()
        );
        assert_eq!(answer.status, 400, "{changes}");
    }
    let url = format!("{BASE}{REGISTER}");
    let post = |body: Vec<u8>, media_type: &str| {
        Request::post(&url)
            .header(AUTHORIZATION, format!("Bearer {token}"))
            .header(CONTENT_TYPE, media_type)
            .body(Bytes::from(body))
            .unwrap()
    };
    let json = "application/json";
    let deep = [b"[".repeat(20_000), b"]".repeat(20_000)].concat();
    for body in [
        &b""[..],
        b"{",
        b"[]",
        b"null",
        b"{\"scope\":\"\xff\"}",
        &deep,
    ] {
        let answer = world.send(post(body.to_vec(), json)).await;
        answer.expect(400, "invalid_client_metadata");
    }
    let twice = br#"{"scope": "atproto", "scope": "transition:generic"}"#;
    let answer = world.send(post(twice.to_vec(), json)).await;
    answer.expect(400, "invalid_client_metadata");
    let form = world.send(post(b"a=b".to_vec(), "text/plain")).await;
    form.expect(400, "invalid_request");
    let large = world.send(post(vec![b' '; 5 * 1024 * 1024], json)).await;
    large.expect(413, "invalid_request");
    assert_eq!(world.state().await, before, "nothing was stored or spent");
    told(&register(world, Some(&token), &metadata()).await);
}

/// What a client may not say, and the error that it is told (RFC 7591 §3.2.2).
#[allow(
    clippy::too_many_lines,
    reason = "it is a table, and a table is read in one piece"
)]
fn wrong_members() -> Vec<(Value, &'static str)> {
    let many: Vec<_> = (0..1000)
        .map(|n| format!("https://a.example/{n}"))
        .collect();
    let private_key = json!({"keys": [{"kty": "EC", "crv": "P-256", "alg": "ES256",
        "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
        "d": "jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI"}]});
    let mut public_key = private_key.clone();
    public_key["keys"][0].as_object_mut().unwrap().remove("d");
    let redirect = "invalid_redirect_uri";
    let metadata_error = "invalid_client_metadata";
    vec![
        (json!({"redirect_uris": null}), redirect),
        (json!({"redirect_uris": []}), redirect),
        (json!({"redirect_uris": many}), redirect),
        (json!({"redirect_uris": ["javascript:alert(1)"]}), redirect),
        (json!({"redirect_uris": ["data:text/html,x"]}), redirect),
        (
            json!({"redirect_uris": ["http://app.example/cb"]}),
            redirect,
        ),
        (
            json!({"redirect_uris": ["https://app.example/cb#x"]}),
            redirect,
        ),
        (
            json!({"redirect_uris": ["https://*.app.example/cb"]}),
            redirect,
        ),
        (json!({"redirect_uris": ["com.example.app:/cb"]}), redirect),
        (
            json!({"redirect_uris": "https://app.example/cb"}),
            metadata_error,
        ),
        (json!({"redirect_uris": [7]}), metadata_error),
        (
            json!({"post_logout_redirect_uris": ["javascript:alert(1)"]}),
            metadata_error,
        ),
        (
            json!({"post_logout_redirect_uris": ["http://app.example/"]}),
            metadata_error,
        ),
        (
            json!({"token_endpoint_auth_method": "client_secret_jwt"}),
            metadata_error,
        ),
        (
            json!({"token_endpoint_auth_method": "tls_client_auth"}),
            metadata_error,
        ),
        (
            json!({"token_endpoint_auth_method": "private_key_jwt"}),
            metadata_error,
        ),
        (
            json!({"token_endpoint_auth_signing_alg": "HS256"}),
            metadata_error,
        ),
        (
            json!({"token_endpoint_auth_signing_alg": "ES256"}),
            metadata_error,
        ),
        (
            json!({"token_endpoint_auth_signing_alg": "ES256",
                "jwks_uri": "https://app.example/keys"}),
            metadata_error,
        ),
        (
            json!({"token_endpoint_auth_signing_alg": "RS256", "jwks": public_key}),
            metadata_error,
        ),
        (json!({"grant_types": ["password"]}), metadata_error),
        (json!({"grant_types": ["implicit"]}), metadata_error),
        (json!({"grant_types": []}), metadata_error),
        (
            json!({"grant_types": ["client_credentials"]}),
            metadata_error,
        ),
        (json!({"grant_types": ["refresh_token"]}), metadata_error),
        (json!({"response_types": ["token"]}), metadata_error),
        (json!({"response_types": ["id_token"]}), metadata_error),
        (json!({"response_types": ["code id_token"]}), metadata_error),
        (
            json!({"response_types": ["code", "code token"]}),
            metadata_error,
        ),
        (json!({"response_types": []}), metadata_error),
        (json!({"application_type": "desktop"}), metadata_error),
        (json!({"scope": "atproto nonsense"}), metadata_error),
        (json!({"scope": "atproto \"x\""}), metadata_error),
        (json!({"client_name": "x".repeat(101)}), metadata_error),
        (json!({"client_name": "Bank\u{202e}knaB"}), metadata_error),
        (json!({"client_name": 7}), metadata_error),
        (
            json!({"id_token_signed_response_alg": "none"}),
            metadata_error,
        ),
        (
            json!({"id_token_signed_response_alg": "HS256"}),
            metadata_error,
        ),
        (
            json!({"id_token_encrypted_response_alg": "RSA-OAEP"}),
            metadata_error,
        ),
        (
            json!({"userinfo_encrypted_response_alg": "RSA-OAEP"}),
            metadata_error,
        ),
        (
            json!({"userinfo_signed_response_alg": "none"}),
            metadata_error,
        ),
        (
            json!({"userinfo_signed_response_alg": "HS256"}),
            metadata_error,
        ),
        (
            json!({"introspection_encrypted_response_alg": "RSA-OAEP"}),
            metadata_error,
        ),
        (
            json!({"authorization_signed_response_alg": "RS256"}),
            metadata_error,
        ),
        (
            json!({"authorization_encrypted_response_alg": "RSA-OAEP"}),
            metadata_error,
        ),
        (
            json!({"require_signed_request_object": true}),
            metadata_error,
        ),
        (
            json!({"request_uris": ["https://app.example/request"]}),
            metadata_error,
        ),
        (json!({"subject_type": "nonsense"}), metadata_error),
        (json!({"jwks": private_key}), metadata_error),
        (
            json!({"jwks": {"keys": []}, "jwks_uri": "https://app.example/k"}),
            metadata_error,
        ),
        (
            json!({"jwks_uri": "http://app.example/keys"}),
            metadata_error,
        ),
        (
            json!({"jwks_uri": "https://127.0.0.1/keys"}),
            metadata_error,
        ),
        (
            json!({"jwks_uri": "https://169.254.169.254/keys"}),
            metadata_error,
        ),
        (json!({"jwks_uri": "https://[::1]/keys"}), metadata_error),
        (
            json!({"jwks_uri": "https://2130706433/keys"}),
            metadata_error,
        ),
        (
            json!({"jwks_uri": "https://localhost/keys"}),
            metadata_error,
        ),
        (
            json!({"jwks_uri": "https://metadata.internal/keys"}),
            metadata_error,
        ),
        (json!({"logo_uri": "javascript:alert(1)"}), metadata_error),
        (json!({"client_uri": "data:text/html,x"}), metadata_error),
        (json!({"policy_uri": "file:///etc/passwd"}), metadata_error),
        (json!({"tos_uri": "tos.html"}), metadata_error),
        (
            json!({"initiate_login_uri": "javascript:alert(1)"}),
            metadata_error,
        ),
        (
            json!({"software_statement": "e30.e30."}),
            "unapproved_software_statement",
        ),
        (
            json!({"tls_client_certificate_bound_access_tokens": true}),
            metadata_error,
        ),
    ]
}

async fn what_an_app_does_not_say_is_as_the_specification_has_it(world: &World) {
    may_register(world, RegistrationMode::Token).await;
    let token = initial_token(world, 2).await;
    let least = json!({"redirect_uris": [REDIRECT], "example_extension": 7});
    let told_least = told(&register(world, Some(&token), &least).await);
    for (name, expected) in [
        ("client_name", json!("app.example.org")),
        ("application_type", json!("web")),
        ("token_endpoint_auth_method", json!("client_secret_basic")),
        ("grant_types", json!(["authorization_code"])),
        ("response_types", json!(["code"])),
        ("id_token_signed_response_alg", json!("RS256")),
        ("subject_type", json!("public")),
        ("redirect_uris", json!([REDIRECT])),
        ("userinfo_signed_response_alg", Value::Null),
        ("example_extension", Value::Null),
    ] {
        assert_eq!(told_least[name], expected, "{name}");
    }
    let native = json!({
        "client_name": "A program",
        "application_type": "native",
        "redirect_uris": ["http://127.0.0.1/cb", "com.example.app:/cb"],
        "token_endpoint_auth_method": "none",
        "id_token_signed_response_alg": "ES256",
        "userinfo_signed_response_alg": "RS256",
        "scope": "atproto openid",
        "require_pushed_authorization_requests": true,
        "dpop_bound_access_tokens": true,
        "post_logout_redirect_uris": ["com.example.app:/bye"],
        "logo_uri": "https://app.example.org/logo.png",
    });
    let told_native = told(&register(world, Some(&token), &native).await);
    for (name, expected) in native.as_object().unwrap() {
        let expected = if name == "logo_uri" {
            &Value::Null
        } else {
            expected
        };
        assert_eq!(&told_native[name], expected, "{name}");
    }
    for absent in ["client_secret", "client_secret_expires_at"] {
        assert_eq!(told_native[absent], Value::Null, "{absent}");
    }
}

async fn of_fifty_registrations_with_one_token_as_many_succeed_as_it_says(world: &World) {
    may_register(world, RegistrationMode::Token).await;
    let token = initial_token(world, 3).await;
    let metadata = metadata();
    let all = (0..50).map(|_| register(world, Some(&token), &metadata));
    let answers = join_all(all).await;
    let registered: Vec<_> = answers.iter().filter(|it| it.status == 201).collect();
    assert_eq!(registered.len(), 3);
    for answer in answers.iter().filter(|it| it.status != 201) {
        answer.expect(401, "invalid_token");
    }
    assert_eq!(world.audit(AuditKind::ClientRegistered).await.len(), 3);
}

async fn where_anybody_may_register_there_are_limits(world: &World) {
    world
        .restart_configured(|config| {
            config.registration.mode = RegistrationMode::Open;
            config.registration.max_clients = 12;
        })
        .await;
    let from = async |network: &str, scope: &str| {
        let metadata = json!({"redirect_uris": [REDIRECT], "scope": scope}).to_string();
        let request = Request::post(format!("{BASE}{REGISTER}"))
            .header(CONTENT_TYPE, "application/json")
            .header(FORWARDED, network)
            .body(Bytes::from(metadata));
        let answer = world.send(request.unwrap()).await;
        if answer.status == 201 {
            learn(world, &answer.json());
        }
        answer
    };
    // PDSs have not heard of them, and each would make the document longer that they all read.
    let own = from("203.0.113.1", "atproto repo:com.example.my.own").await;
    own.expect(400, "invalid_client_metadata");
    let scope = "atproto transition:generic";
    for _ in 0..9 {
        assert_eq!(from("203.0.113.1", scope).await.status, 201);
    }
    let limited = from("203.0.113.1", scope).await;
    limited
        .expect(429, "temporarily_unavailable")
        .logged("over the limit `registrations`");
    assert!(limited.headers.contains_key("retry-after"));
    for network in 2..5 {
        let network = format!("203.0.113.{network}");
        assert_eq!(from(&network, scope).await.status, 201);
    }
    let full = from("203.0.113.9", scope).await;
    full.expect(429, "temporarily_unavailable")
        .logged("clients.max_registered");
    let clients = world
        .texts("SELECT client_id FROM client_registrations")
        .await;
    assert_eq!(clients.len(), 12);
}

async fn a_client_that_proves_itself_may_do_without_pkce_unless_the_server_demands_it(
    world: &World,
) {
    let without = [("code_challenge", ""), ("code_challenge_method", "")];
    for demanded in [false, true] {
        world
            .restart_configured(move |config| {
                config.registration.mode = RegistrationMode::Token;
                config.registration.require_pkce = demanded;
            })
            .await;
        let token = initial_token(world, 2).await;
        for method in ["client_secret_basic", "none"] {
            let mut metadata = metadata();
            metadata["token_endpoint_auth_method"] = json!(method);
            let told = told(&register(world, Some(&token), &metadata).await);
            let app = app(world, &told);
            let pending = app.begin_authorization(&without);
            let browser = world.browser();
            let page = browser.open(&pending.url).await;
            if demanded || method == "none" {
                pending.refused(&page.away(), "invalid_request");
                continue;
            }
            let consent = browser.sign_in(&page, world.alice()).await;
            let back = browser.allow(&consent).await;
            let code = pending.code(&back);
            let answer = app.redeem_with(&pending, &code, &[("code_verifier", "")]);
            Tokens::of(&answer.await);
        }
    }
}
