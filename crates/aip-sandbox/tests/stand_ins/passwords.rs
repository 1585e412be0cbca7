//! App passwords and the sessions made with passwords, as the reference PDS has them.

use std::sync::Arc;
use std::time::Duration;

use aip_sandbox::{Pds, Sandbox};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{Method, Request, StatusCode};
use serde_json::{Value, json};

use crate::client::{Answer, Client, HandClock, sandbox};

/// Calls `com.atproto.server.*` with Bearer tokens.
struct Caller(Client);

impl Caller {
    fn new(pds: &Pds, clock: &Arc<HandClock>) -> Self {
        Self(Client::loopback(pds, clock, "atproto"))
    }

    async fn call(&self, method: Method, name: &str, token: Option<&str>, input: &Value) -> Answer {
        let url = format!("{}/xrpc/com.atproto.server.{name}", self.0.resource);
        let mut request = Request::builder().method(method).uri(url);
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let body = if input.is_null() {
            String::new()
        } else {
            request = request.header("content-type", "application/json");
            input.to_string()
        };
        let request = request.body(body.into()).unwrap();
        self.0.send(request).await.unwrap()
    }

    async fn login(&self, identifier: &str, password: &str) -> Answer {
        let input = json!({ "identifier": identifier, "password": password });
        self.call(Method::POST, "createSession", None, &input).await
    }

    async fn post(&self, name: &str, token: &str, input: Value) -> Answer {
        self.call(Method::POST, name, Some(token), &input).await
    }

    async fn refresh(&self, token: &str) -> Answer {
        self.post("refreshSession", token, Value::Null).await
    }

    async fn get_session(&self, token: &str) -> Answer {
        self.call(Method::GET, "getSession", Some(token), &Value::Null)
            .await
    }
}

/// A sandbox, and an app password of Alice's with the session that made it.
async fn app_password() -> (Sandbox, Arc<HandClock>, Caller, Answer, String) {
    let (sandbox, clock) = sandbox().await;
    let caller = Caller::new(&sandbox.pds, &clock);
    let main = caller.login("alice.test", "alice-pass").await;
    let name = json!({ "name": "my app" });
    let made = caller
        .post("createAppPassword", main.text("accessJwt"), name)
        .await;
    let password = made.text("password").to_owned();
    (sandbox, clock, caller, main, password)
}

#[tokio::test]
async fn people_sign_in_by_handle_did_or_e_mail_and_not_with_a_wrong_password() {
    let (sandbox, clock) = sandbox().await;
    let caller = Caller::new(&sandbox.pds, &clock);
    let did = sandbox.accounts.alice.did.as_str();
    for identifier in ["alice.test", did, "alice-test@mail.test"] {
        let session = caller.login(identifier, "alice-pass").await;
        assert_eq!(session.text("did"), did);
    }
    let wrong = caller.login("alice.test", "nope").await;
    let why = "Invalid identifier or password";
    assert_eq!(wrong.error(), (401, "AuthenticationRequired", why));
}

#[tokio::test]
async fn app_passwords_have_a_name_of_their_own_and_lesser_rights() {
    let (sandbox, _, caller, main, password) = app_password().await;
    assert_eq!(
        password.split('-').map(str::len).collect::<Vec<_>>(),
        [4, 4, 4, 4]
    );
    let name = json!({ "name": "my app" });
    let again = caller
        .post("createAppPassword", main.text("accessJwt"), name)
        .await;
    assert_eq!(again.status, StatusCode::INTERNAL_SERVER_ERROR);

    let session = caller
        .login(sandbox.accounts.alice.did.as_str(), &password)
        .await;
    let access = session.text("accessJwt");
    let claims = URL_SAFE_NO_PAD
        .decode(access.split('.').nth(1).unwrap())
        .unwrap();
    let claims: Value = serde_json::from_slice(&claims).unwrap();
    assert_eq!(claims["scope"], "com.atproto.appPass");
    let answer = caller
        .post("createAppPassword", access, json!({ "name": "z" }))
        .await;
    assert_eq!(answer.error(), (400, "InvalidToken", "Bad token scope"));
}

#[tokio::test]
async fn a_used_refresh_token_leads_to_the_same_next_one_for_a_while() {
    let (_sandbox, clock, caller, _, password) = app_password().await;
    let session = caller.login("alice.test", &password).await;
    let one = caller.refresh(session.text("refreshJwt")).await;
    let two = caller.refresh(session.text("refreshJwt")).await;
    assert_eq!(one.text("refreshJwt"), two.text("refreshJwt"));
    let view = caller.get_session(session.text("accessJwt")).await;
    assert_eq!(
        (view.status, view.text("handle")),
        (StatusCode::OK, "alice.test")
    );

    clock.advance(Duration::from_hours(2));
    let answer = caller.refresh(session.text("refreshJwt")).await;
    assert_eq!(
        answer.error(),
        (400, "ExpiredToken", "Token has been revoked")
    );
    let answer = caller.get_session(session.text("accessJwt")).await;
    assert_eq!(answer.error(), (400, "ExpiredToken", "Token has expired"));
    assert_eq!(
        caller.refresh(one.text("refreshJwt")).await.status,
        StatusCode::OK
    );
}

#[tokio::test]
async fn revoking_an_app_password_ends_refreshing_but_not_the_access_token() {
    let (_sandbox, _, caller, main, password) = app_password().await;
    let session = caller.login("alice.test", &password).await;
    let name = json!({ "name": "my app" });
    caller
        .post("revokeAppPassword", main.text("accessJwt"), name)
        .await;
    let answer = caller.refresh(session.text("refreshJwt")).await;
    assert_eq!(
        answer.error(),
        (400, "ExpiredToken", "Token has been revoked")
    );
    let view = caller.get_session(session.text("accessJwt")).await;
    assert_eq!(view.status, StatusCode::OK);
    assert_eq!(
        caller.login("alice.test", &password).await.status,
        StatusCode::UNAUTHORIZED
    );
}

#[tokio::test]
async fn a_deleted_session_cannot_be_refreshed() {
    let (_sandbox, _, caller, main, _) = app_password().await;
    let answer = caller
        .post("deleteSession", main.text("refreshJwt"), json!({}))
        .await;
    assert_eq!(answer.status, StatusCode::OK);
    let answer = caller.refresh(main.text("refreshJwt")).await;
    assert_eq!(
        answer.error(),
        (400, "ExpiredToken", "Token has been revoked")
    );
    let answer = caller.refresh(main.text("accessJwt")).await;
    assert_eq!(answer.error(), (400, "InvalidToken", "Invalid token type"));
}

#[tokio::test]
async fn chat_is_for_privileged_app_passwords() {
    let (_sandbox, _, caller, main, ordinary) = app_password().await;
    let what = json!({ "name": "chat", "privileged": true });
    let made = caller
        .post("createAppPassword", main.text("accessJwt"), what)
        .await;
    let call = async |password: &str, method: &str| {
        let session = caller.login("alice.test", password).await;
        let url = format!("{}/xrpc/{method}", caller.0.resource);
        let authorization = format!("Bearer {}", session.text("accessJwt"));
        let request = Request::get(url)
            .header("authorization", authorization)
            .header("atproto-proxy", "did:web:chat.example#bsky_chat")
            .body(String::new().into());
        caller.0.send(request.unwrap()).await.unwrap()
    };
    let chat = "chat.bsky.convo.listConvos";
    let refused = call(&ordinary, chat).await;
    assert_eq!(refused.error(), (400, "InvalidToken", "Bad token method"));
    for (password, method) in [
        (&*ordinary, "app.bsky.feed.getTimeline"),
        (made.text("password"), chat),
    ] {
        assert_eq!(call(password, method).await.text("lxm"), method);
    }
}
