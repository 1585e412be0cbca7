//! A person with as much of a browser as AIP's pages need, and the app that signs the person in.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use aip_base::{Fetched, Http as _, Limits};
use aip_sandbox::{Person, PlainHttp, approve};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::Request;
use http::header::{AUTHORIZATION, CONTENT_TYPE, COOKIE, LOCATION, SET_COOKIE};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Mutex;
use url::Url;

/// What the app asks for: who it is, and to write in the person's name.
pub(crate) const SCOPE: &str = "openid atproto transition:generic";
/// Where the app wants people back. Nobody goes there: the code is read from the URL.
pub(crate) const REDIRECT_URI: &str = "https://app.example/callback";
const FORM: &str = "application/x-www-form-urlencoded";
/// RFC 7636 Appendix B.
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

/// An app as `aip clients create` registers it.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Credentials {
    client_id: String,
    client_secret: String,
}

/// What the app has after the sign-in.
#[derive(Debug, Clone, Deserialize)]
struct Tokens {
    access_token: String,
    refresh_token: String,
}

/// An app in which somebody is signed in. Clones share the session.
#[derive(Clone)]
pub(crate) struct SignedIn {
    origin: String,
    credentials: Credentials,
    person: Person,
    tokens: Arc<Mutex<Tokens>>,
}

/// A browser that knows nobody yet.
struct Browser {
    origin: String,
    cookies: BTreeMap<String, String>,
}

impl SignedIn {
    /// The whole way: authorization request, sign-in page, the pages of the PDS, consent, code,
    /// tokens.
    pub(crate) async fn through(
        address: SocketAddr,
        credentials: Credentials,
        person: &Person,
    ) -> Self {
        let origin = format!("http://{address}");
        let code = consent(&origin, &credentials.client_id, person).await;
        let form = [
            ("grant_type", "authorization_code"),
            ("code", &code),
            ("redirect_uri", REDIRECT_URI),
            ("code_verifier", VERIFIER),
        ];
        let tokens = token(&origin, &credentials, &form).await.unwrap();
        Self {
            origin,
            credentials,
            person: person.clone(),
            tokens: Arc::new(Mutex::new(tokens)),
        }
    }

    /// Refreshes, one at a time.
    pub(crate) async fn refresh(&self) -> Result<(), String> {
        let mut tokens = self.tokens.lock().await;
        let form = [
            ("grant_type", "refresh_token"),
            ("refresh_token", &tokens.refresh_token),
        ];
        *tokens = token(&self.origin, &self.credentials, &form).await?;
        Ok(())
    }

    /// Asks AIP who is signed in (OpenID Connect Core §5.3).
    pub(crate) async fn userinfo(&self) -> Result<(), String> {
        let answer = self.call(Request::get(self.url("/oauth/userinfo"))).await?;
        self.is_about_the_person("sub", &answer)
    }

    /// Asks the PDS, through AIP, whose session it is: only a living session is answered.
    pub(crate) async fn session(&self) -> Result<(), String> {
        let url = self.url("/xrpc/com.atproto.server.getSession");
        let answer = self.call(Request::get(url)).await?;
        self.is_about_the_person("did", &answer)
    }

    /// Writes a record through AIP. Its AT URI.
    pub(crate) async fn write(&self, text: &str) -> Result<String, String> {
        let record = json!({
            "repo": self.person.did.as_str(),
            "collection": "app.bsky.feed.post",
            "record": {"$type": "app.bsky.feed.post", "text": text, "createdAt": "2026-01-01T00:00:00Z"},
        });
        let url = self.url("/xrpc/com.atproto.repo.createRecord");
        let request = Request::post(url).header(CONTENT_TYPE, "application/json");
        let answer = self.call_with(request, record.to_string()).await?;
        let uri = answer["uri"].as_str().map(str::to_owned);
        uri.ok_or_else(|| format!("no AT URI: {answer}"))
    }

    /// The text of a record, read through AIP.
    pub(crate) async fn read(&self, uri: &str) -> Result<String, String> {
        let key = uri.rsplit('/').next().unwrap_or_default();
        let path = format!(
            "/xrpc/com.atproto.repo.getRecord?repo={}&collection=app.bsky.feed.post&rkey={key}",
            self.person.did
        );
        let answer = self.call(Request::get(self.url(&path))).await?;
        let text = answer["value"]["text"].as_str().map(str::to_owned);
        text.ok_or_else(|| format!("no record: {answer}"))
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.origin)
    }

    fn is_about_the_person(&self, member: &str, answer: &Value) -> Result<(), String> {
        if answer[member] == self.person.did.as_str() {
            Ok(())
        } else {
            Err(format!("about somebody else: {answer}"))
        }
    }

    async fn call(&self, request: http::request::Builder) -> Result<Value, String> {
        self.call_with(request, String::new()).await
    }

    async fn call_with(
        &self,
        request: http::request::Builder,
        body: String,
    ) -> Result<Value, String> {
        let token = self.tokens.lock().await.access_token.clone();
        json_of(
            request.header(AUTHORIZATION, format!("Bearer {token}")),
            body,
        )
        .await
    }
}

/// What happens in the browser; the code that the app gets.
async fn consent(origin: &str, client_id: &str, person: &Person) -> String {
    let query = form(&[
        ("client_id", client_id),
        ("redirect_uri", REDIRECT_URI),
        ("response_type", "code"),
        ("scope", SCOPE),
        ("state", "af0ifjsldkj"),
        ("nonce", "n-0S6_WzA2Mj"),
        ("code_challenge", CHALLENGE),
        ("code_challenge_method", "S256"),
    ]);
    let mut browser = Browser {
        origin: origin.to_owned(),
        cookies: BTreeMap::new(),
    };
    let sent = browser.get(&format!("/oauth/authorize?{query}")).await;
    let page = browser.get(&location(&sent)).await;
    let fields = [
        ("csrf", field(&page, "csrf")),
        ("request", field(&page, "request")),
        ("subject", person.handle.to_string()),
    ];
    let sent = browser.post("/login", &fields).await;

    let callback = approve(&location(&sent), person).await.unwrap();
    let sent = browser.get(&callback[url::Position::BeforePath..]).await;
    let page = browser.get(&location(&sent)).await;
    let fields = [
        ("csrf", field(&page, "csrf")),
        ("request", field(&page, "request")),
        ("decision", "allow".to_owned()),
    ];
    let sent = browser.post("/consent", &fields).await;
    let callback = Url::parse(&location(&sent)).unwrap();
    let code = callback.query_pairs().find(|(name, _)| name == "code");
    let (_, code) = code.unwrap_or_else(|| panic!("no code in {callback}"));
    code.into_owned()
}

impl Browser {
    async fn get(&mut self, target: &str) -> Fetched {
        let request = Request::get(format!("{}{target}", self.origin));
        self.send(request, String::new()).await
    }

    async fn post(&mut self, target: &str, fields: &[(&str, String)]) -> Fetched {
        let request = Request::post(format!("{}{target}", self.origin)).header(CONTENT_TYPE, FORM);
        self.send(request, form(fields)).await
    }

    async fn send(&mut self, request: http::request::Builder, body: String) -> Fetched {
        let pairs = self.cookies.iter();
        let pairs: Vec<_> = pairs
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let answer = send(request.header(COOKIE, pairs.join("; ")), body).await;
        let answer = answer.unwrap();
        for cookie in answer.headers.get_all(SET_COOKIE) {
            let pair = cookie.to_str().unwrap().split(';').next();
            if let Some((name, value)) = pair.and_then(|pair| pair.split_once('=')) {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
        answer
    }
}

async fn token(
    origin: &str,
    credentials: &Credentials,
    fields: &[(&str, &str)],
) -> Result<Tokens, String> {
    let basic = format!("{}:{}", credentials.client_id, credentials.client_secret);
    let request = Request::post(format!("{origin}/oauth/token"))
        .header(CONTENT_TYPE, FORM)
        .header(AUTHORIZATION, format!("Basic {}", STANDARD.encode(basic)));
    let answer = json_of(request, form(fields)).await?;
    serde_json::from_value(answer).map_err(|error| error.to_string())
}

async fn json_of(request: http::request::Builder, body: String) -> Result<Value, String> {
    let answer = send(request, body).await?;
    if answer.status != http::StatusCode::OK {
        return Err(format!("{}: {}", answer.status, text(&answer)));
    }
    serde_json::from_slice(&answer.body).map_err(|error| error.to_string())
}

/// One request on a connection of its own, so that each is led to a Pod anew.
async fn send(request: http::request::Builder, body: String) -> Result<Fetched, String> {
    let request = request.body(Bytes::from(body)).unwrap();
    let answer = PlainHttp::default().fetch(request, Limits::DOCUMENT).await;
    answer.map_err(|error| error.to_string())
}

fn form<V: AsRef<str>>(fields: &[(&str, V)]) -> String {
    let fields: Vec<_> = fields
        .iter()
        .map(|(name, value)| (name, value.as_ref()))
        .collect();
    serde_urlencoded::to_string(fields).unwrap()
}

/// Where the browser is sent.
fn location(answer: &Fetched) -> String {
    let location = answer.headers.get(LOCATION).and_then(|it| it.to_str().ok());
    location
        .unwrap_or_else(|| panic!("{} and no redirect: {}", answer.status, text(answer)))
        .to_owned()
}

/// The value of a hidden field. AIP's need no unescaping.
fn field(page: &Fetched, name: &str) -> String {
    let page = text(page);
    let value = page
        .split_once(&format!("name=\"{name}\" value=\""))
        .and_then(|(_, rest)| rest.split('"').next());
    value
        .unwrap_or_else(|| panic!("no field {name}: {page}"))
        .to_owned()
}

fn text(answer: &Fetched) -> String {
    String::from_utf8_lossy(&answer.body).into_owned()
}
