//! The demo app against a provider of a few lines.

use std::sync::{Arc, Mutex};

use aip_base::{Fetched, Http as _, Limits, SystemClock, SystemRng};
use aip_sandbox::PlainHttp;
use aip_sandbox::demo::{self, DemoOptions, SCOPE};
use axum::extract::State;
use axum::routing::{get, post};
use axum::{Form, Json, Router};
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, COOKIE, LOCATION, SET_COOKIE};
use http::{HeaderMap, Request, StatusCode};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use url::Url;

use crate::client::query;

const DID: &str = "did:plc:abcdefghijklmnopqrstuvwx";

/// What the provider was asked: token requests with their credentials, and written records.
#[derive(Default)]
struct Provider {
    issuer: String,
    tokens: Mutex<Vec<TokenRequest>>,
    records: Mutex<Vec<Value>>,
}

struct TokenRequest {
    credentials: String,
    form: Vec<(String, String)>,
}

type Shared = State<Arc<Provider>>;

fn provider(issuer: String) -> (Arc<Provider>, Router) {
    let shared = Arc::new(Provider {
        issuer,
        ..Provider::default()
    });
    let router = Router::new()
        .route("/.well-known/openid-configuration", get(discovery))
        .route("/register", post(register))
        .route("/token", post(token))
        .route("/revoke", post(async || Json(json!({}))))
        .route("/userinfo", get(userinfo))
        .route("/xrpc/com.atproto.repo.createRecord", post(create_record))
        .route("/xrpc/com.atproto.repo.listRecords", get(list_records))
        .with_state(shared.clone());
    (shared, router)
}

async fn discovery(State(provider): Shared) -> Json<Value> {
    let issuer = &provider.issuer;
    Json(json!({
        "issuer": issuer,
        "authorization_endpoint": format!("{issuer}/authorize"),
        "token_endpoint": format!("{issuer}/token"),
        "userinfo_endpoint": format!("{issuer}/userinfo"),
        "revocation_endpoint": format!("{issuer}/revoke"),
        "registration_endpoint": format!("{issuer}/register"),
    }))
}

async fn register(Json(metadata): Json<Value>) -> (StatusCode, Json<Value>) {
    assert_eq!(metadata["scope"], SCOPE);
    (
        StatusCode::CREATED,
        Json(json!({ "client_id": "demo:1", "client_secret": "s/1" })),
    )
}

async fn token(
    State(provider): Shared,
    headers: HeaderMap,
    Form(form): Form<Vec<(String, String)>>,
) -> Json<Value> {
    let credentials = headers[AUTHORIZATION].to_str().unwrap().to_owned();
    let request = TokenRequest { credentials, form };
    provider.tokens.lock().unwrap().push(request);
    // The token has expired when it arrives, so each page needs a refresh.
    Json(json!({
        "access_token": "at", "refresh_token": "rt", "token_type": "Bearer", "expires_in": 0,
    }))
}

async fn userinfo(headers: HeaderMap) -> Json<Value> {
    assert_eq!(headers[AUTHORIZATION], "Bearer at");
    Json(json!({ "sub": DID, "preferred_username": "alice.test" }))
}

async fn create_record(State(provider): Shared, Json(input): Json<Value>) -> Json<Value> {
    provider.records.lock().unwrap().push(input);
    Json(json!({ "uri": "at://x/y/z", "cid": "b" }))
}

async fn list_records(State(provider): Shared) -> Json<Value> {
    let records = provider.records.lock().unwrap();
    let records = records
        .iter()
        .map(|input| json!({ "uri": "at://x", "value": input["record"] }));
    Json(json!({ "records": records.collect::<Vec<_>>() }))
}

/// A browser at the demo.
struct Browser {
    base: String,
    cookie: String,
}

impl Browser {
    async fn get(&self, path: &str) -> Fetched {
        let request = Request::get(format!("{}{path}", self.base)).header(COOKIE, &self.cookie);
        PlainHttp::default()
            .fetch(request.body(Bytes::new()).unwrap(), Limits::DOCUMENT)
            .await
            .unwrap()
    }

    async fn post(&mut self, path: &str, form: &[(&str, &str)]) -> Fetched {
        let request = Request::post(format!("{}{path}", self.base))
            .header(COOKIE, &self.cookie)
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        let body = serde_urlencoded::to_string(form).unwrap().into();
        let answer = PlainHttp::default()
            .fetch(request.body(body).unwrap(), Limits::DOCUMENT)
            .await
            .unwrap();
        if let Some(cookie) = answer.headers.get(SET_COOKIE) {
            let cookie = cookie.to_str().unwrap();
            cookie
                .split(';')
                .next()
                .unwrap()
                .clone_into(&mut self.cookie);
        }
        answer
    }
}

fn page(answer: &Fetched) -> &str {
    std::str::from_utf8(&answer.body).unwrap()
}

async fn start() -> (Arc<Provider>, Browser) {
    let (at_provider, at_demo) = (
        TcpListener::bind("127.0.0.1:0").await.unwrap(),
        TcpListener::bind("127.0.0.1:0").await.unwrap(),
    );
    let issuer = format!("http://{}", at_provider.local_addr().unwrap());
    let base = format!("http://{}", at_demo.local_addr().unwrap());
    let (shared, router) = provider(issuer.clone());
    let app = demo::router(DemoOptions {
        issuer,
        base: base.clone(),
        client: None,
        clock: Arc::new(SystemClock),
        rng: Arc::new(SystemRng),
        http: Arc::new(PlainHttp::default()),
    });
    tokio::spawn(async move { axum::serve(at_provider, router).await });
    tokio::spawn(async move { axum::serve(at_demo, app).await });
    (
        shared,
        Browser {
            base,
            cookie: String::new(),
        },
    )
}

#[tokio::test]
async fn a_person_signs_in_posts_and_signs_out() {
    let (provider, mut browser) = start().await;
    assert!(page(&browser.get("/").await).contains("id=\"sign-in\""));

    let answer = browser.post("/sign-in", &[("handle", "alice.test")]).await;
    let url = Url::parse(answer.headers[LOCATION].to_str().unwrap()).unwrap();
    assert_eq!(query(&url, "client_id").unwrap(), "demo:1");
    assert_eq!(query(&url, "code_challenge_method").unwrap(), "S256");
    assert_eq!(query(&url, "login_hint").unwrap(), "alice.test");

    let state = query(&url, "state").unwrap();
    let answer = browser
        .get(&format!("/callback?code=c1&state={state}"))
        .await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", page(&answer));
    {
        let sent = provider.tokens.lock().unwrap();
        // RFC 6749 §2.3.1: form-encoded, then base64 of "demo%3A1:s%2F1".
        assert_eq!(sent[0].credentials, "Basic ZGVtbyUzQTE6cyUyRjE=");
        assert!(sent[0].form.contains(&("code".to_owned(), "c1".to_owned())));
    }

    browser.post("/post", &[("text", "hello <world>")]).await;
    assert_eq!(provider.records.lock().unwrap()[0]["repo"], DID);
    let home = browser.get("/").await;
    assert!(page(&home).contains("@alice.test"));
    assert!(
        page(&home).contains("hello &#60;world&#62;"),
        "{}",
        page(&home)
    );
    let refreshed = ("grant_type".to_owned(), "refresh_token".to_owned());
    assert!(provider.tokens.lock().unwrap()[1].form.contains(&refreshed));

    browser.post("/sign-out", &[]).await;
    assert!(page(&browser.get("/").await).contains("id=\"sign-in\""));
}

#[tokio::test]
async fn a_callback_needs_the_state_of_this_browser() {
    let (provider, mut browser) = start().await;
    let answer = browser.get("/callback?code=c1&state=made-up").await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    browser.post("/sign-in", &[]).await;
    let answer = browser.get("/callback?code=c1&state=made-up").await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert!(
        provider.tokens.lock().unwrap().is_empty(),
        "the code went nowhere"
    );
}

#[tokio::test]
async fn a_refusal_is_shown_to_the_person() {
    let (_, mut browser) = start().await;
    let answer = browser.post("/sign-in", &[]).await;
    let url = Url::parse(answer.headers[LOCATION].to_str().unwrap()).unwrap();
    let state = query(&url, "state").unwrap();
    let answer = browser
        .get(&format!("/callback?error=access_denied&state={state}"))
        .await;
    assert!(page(&answer).contains("Nobody was signed in: access_denied"));
}
