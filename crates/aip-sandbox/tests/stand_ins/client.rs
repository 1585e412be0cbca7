//! A small OAuth client for the tests: it does what it is told, mistakes included.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use aip_base::{Clock, Http as _, HttpError, Limits, SystemRng, Timestamp, random_token};
use aip_jose::dpop::Proof;
use aip_jose::{Alg, SigningKey, client_assertion};
use aip_sandbox::{Pds, Person, PlainHttp, Sandbox, SandboxOptions, approve};
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use serde_json::{Value, json};
use std::sync::Arc;
use url::Url;

pub(crate) const REDIRECT: &str = "http://127.0.0.1:8765/callback";

/// A clock that only moves when told to.
pub(crate) struct HandClock(AtomicI64);

impl HandClock {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self(AtomicI64::new(1_790_000_000_000_000)))
    }

    pub(crate) fn advance(&self, by: Duration) {
        self.0
            .fetch_add(i64::try_from(by.as_micros()).unwrap(), Ordering::SeqCst);
    }
}

impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::SeqCst))
    }
}

pub(crate) async fn sandbox() -> (Sandbox, Arc<HandClock>) {
    let clock = HandClock::new();
    let options = SandboxOptions {
        clock: clock.clone(),
        ..SandboxOptions::default()
    };
    (Sandbox::start(options).await.unwrap(), clock)
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

impl Answer {
    /// Status, error code and text of an error in either dialect.
    pub(crate) fn error(&self) -> (u16, &str, &str) {
        let text = self.body["error_description"]
            .as_str()
            .or(self.body["message"].as_str());
        (
            self.status.as_u16(),
            self.body["error"].as_str().unwrap(),
            text.unwrap(),
        )
    }

    pub(crate) fn text(&self, member: &str) -> &str {
        self.body[member].as_str().unwrap()
    }
}

pub(crate) struct Client {
    pub(crate) http: PlainHttp,
    pub(crate) issuer: String,
    pub(crate) resource: String,
    pub(crate) id: String,
    pub(crate) redirect_uri: String,
    pub(crate) scope: String,
    pub(crate) assertion_key: Option<Arc<SigningKey>>,
    pub(crate) clock: Arc<HandClock>,
    pub(crate) nonces: Mutex<HashMap<String, String>>,
}

/// A session, or the beginning of one.
pub(crate) struct Session {
    pub(crate) key: SigningKey,
    pub(crate) verifier: String,
    pub(crate) authorize_url: String,
}

pub(crate) fn new_key() -> SigningKey {
    SigningKey::generate(Alg::Es256, None).unwrap()
}

impl Client {
    pub(crate) fn loopback(pds: &Pds, clock: &Arc<HandClock>, scope: &str) -> Self {
        let query = serde_urlencoded::to_string([("redirect_uri", REDIRECT), ("scope", scope)]);
        Self {
            http: PlainHttp::default(),
            issuer: pds.issuer().to_owned(),
            resource: pds.origin().to_owned(),
            id: format!("http://localhost?{}", query.unwrap()),
            redirect_uri: REDIRECT.to_owned(),
            scope: scope.to_owned(),
            assertion_key: None,
            clock: clock.clone(),
            nonces: Mutex::default(),
        }
    }

    /// A confidential client that `pds` trusts outright.
    pub(crate) fn confidential(
        pds: &Pds,
        clock: &Arc<HandClock>,
        keys: &[&Arc<SigningKey>],
    ) -> Self {
        let id = "https://aip.internal/oauth-client-metadata.json";
        pds.trust_client(confidential_metadata(keys)).unwrap();
        Self {
            id: id.to_owned(),
            redirect_uri: "https://aip.internal/callback".to_owned(),
            assertion_key: Some(keys[0].clone()),
            ..Self::loopback(pds, clock, "atproto transition:generic")
        }
    }

    /// A request with a `DPoP` proof; a demand for a nonce is met once.
    pub(crate) async fn dpop(
        &self,
        key: &SigningKey,
        method: Method,
        url: &str,
        token: Option<&str>,
        body: &Body<'_>,
    ) -> Result<Answer, HttpError> {
        let first = self
            .dpop_once(key, method.clone(), url, token, body)
            .await?;
        if first.body["error"] == "use_dpop_nonce" {
            return self.dpop_once(key, method, url, token, body).await;
        }
        Ok(first)
    }

    pub(crate) async fn dpop_once(
        &self,
        key: &SigningKey,
        method: Method,
        url: &str,
        token: Option<&str>,
        body: &Body<'_>,
    ) -> Result<Answer, HttpError> {
        let origin = Url::parse(url).unwrap().origin().ascii_serialization();
        let nonce = self.nonces.lock().unwrap().get(&origin).cloned();
        let proof = Proof {
            htm: method.as_str(),
            htu: url,
            nonce: nonce.as_deref(),
            access_token: token,
        };
        let proof = proof.make(key, &SystemRng, self.clock.now()).unwrap();
        let mut request = Request::builder()
            .method(method)
            .uri(url)
            .header("dpop", proof);
        if let Some(token) = token {
            request = request.header("authorization", format!("DPoP {token}"));
        }
        let (media_type, body) = body.encode(self);
        let request = request
            .header("content-type", media_type)
            .body(body)
            .unwrap();
        let answer = self.send(request).await?;
        if let Some(nonce) = answer.headers.get("dpop-nonce") {
            let nonce = nonce.to_str().unwrap().to_owned();
            self.nonces.lock().unwrap().insert(origin, nonce);
        }
        Ok(answer)
    }

    pub(crate) async fn send(&self, request: Request<Bytes>) -> Result<Answer, HttpError> {
        let fetched = self.http.fetch(request, Limits::DOCUMENT).await?;
        let body = serde_json::from_slice(&fetched.body).unwrap_or_default();
        Ok(Answer {
            status: fetched.status,
            headers: fetched.headers,
            body,
        })
    }

    pub(crate) fn forget_nonces(&self) {
        self.nonces.lock().unwrap().clear();
    }

    pub(crate) fn set_nonce(&self, origin: &str, nonce: &str) {
        self.nonces
            .lock()
            .unwrap()
            .insert(origin.to_owned(), nonce.to_owned());
    }

    pub(crate) fn assertion(&self) -> Option<String> {
        let key = self.assertion_key.as_ref()?;
        let now = self.clock.now();
        Some(client_assertion::make(key, &SystemRng, now, &self.id, &self.issuer).unwrap())
    }

    /// A pushed authorization request with `changes` to what is right.
    pub(crate) async fn par(
        &self,
        key: &SigningKey,
        verifier: &str,
        changes: &[(&str, &str)],
    ) -> Answer {
        let challenge = URL_SAFE_NO_PAD.encode(digest(&SHA256, verifier.as_bytes()));
        let mut form = vec![
            ("response_type", "code"),
            ("redirect_uri", &self.redirect_uri),
            ("scope", &self.scope),
            ("state", "some-state"),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ];
        form.retain(|(name, _)| changes.iter().all(|(changed, _)| changed != name));
        form.extend(changes);
        let url = format!("{}/oauth/par", self.issuer);
        self.dpop(key, Method::POST, &url, None, &Body::Form(&form))
            .await
            .unwrap()
    }

    pub(crate) async fn begin(&self, changes: &[(&str, &str)]) -> Session {
        let (key, verifier) = (new_key(), random_token::<32>(&SystemRng));
        let answer = self.par(&key, &verifier, changes).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{:?}", answer.body);
        let query = serde_urlencoded::to_string([
            ("client_id", self.id.as_str()),
            ("request_uri", answer.text("request_uri")),
        ]);
        let authorize_url = format!("{}/oauth/authorize?{}", self.issuer, query.unwrap());
        Session {
            key,
            verifier,
            authorize_url,
        }
    }

    pub(crate) async fn exchange(&self, session: &Session, code: &str) -> Answer {
        let form = [
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", &self.redirect_uri),
            ("code_verifier", &session.verifier),
        ];
        self.token(&session.key, &form).await.unwrap()
    }

    /// Signs in all the way.
    pub(crate) async fn sign_in(&self, person: &Person) -> (Session, Answer) {
        let session = self.begin(&[]).await;
        let callback = approve(&session.authorize_url, person).await.unwrap();
        let tokens = self
            .exchange(&session, &query(&callback, "code").unwrap())
            .await;
        assert_eq!(tokens.status, StatusCode::OK, "{:?}", tokens.body);
        (session, tokens)
    }

    pub(crate) async fn refresh(&self, key: &SigningKey, token: &str) -> Answer {
        self.try_refresh(key, token).await.unwrap()
    }

    pub(crate) async fn try_refresh(
        &self,
        key: &SigningKey,
        token: &str,
    ) -> Result<Answer, HttpError> {
        self.token(
            key,
            &[("grant_type", "refresh_token"), ("refresh_token", token)],
        )
        .await
    }

    async fn token(&self, key: &SigningKey, form: &[(&str, &str)]) -> Result<Answer, HttpError> {
        let url = format!("{}/oauth/token", self.issuer);
        self.dpop(key, Method::POST, &url, None, &Body::Form(form))
            .await
    }

    pub(crate) async fn revoke(&self, key: &SigningKey, token: &str) -> Answer {
        let url = format!("{}/oauth/revoke", self.issuer);
        let form = [("token", token)];
        self.dpop(key, Method::POST, &url, None, &Body::Form(&form))
            .await
            .unwrap()
    }

    pub(crate) async fn get_session(&self, key: &SigningKey, token: &str) -> Answer {
        let url = format!("{}/xrpc/com.atproto.server.getSession", self.resource);
        self.dpop(key, Method::GET, &url, Some(token), &Body::None)
            .await
            .unwrap()
    }

    pub(crate) async fn post_text(&self, key: &SigningKey, tokens: &Answer, text: &str) -> Answer {
        let url = format!("{}/xrpc/com.atproto.repo.createRecord", self.resource);
        let record = json!({
            "repo": tokens.text("sub"),
            "collection": "app.bsky.feed.post",
            "record": { "$type": "app.bsky.feed.post", "text": text, "createdAt": "2026-01-01T00:00:00Z" },
        });
        let token = Some(tokens.text("access_token"));
        self.dpop(key, Method::POST, &url, token, &Body::Json(&record))
            .await
            .unwrap()
    }
}

/// The body of a request.
pub(crate) enum Body<'a> {
    None,
    /// With client authentication, made anew for each attempt.
    Form(&'a [(&'a str, &'a str)]),
    Json(&'a Value),
    Bytes(&'a str, &'static [u8]),
}

impl Body<'_> {
    fn encode(&self, client: &Client) -> (String, Bytes) {
        match self {
            Self::None => ("application/json".to_owned(), Bytes::new()),
            Self::Json(value) => ("application/json".to_owned(), value.to_string().into()),
            Self::Bytes(media_type, bytes) => ((*media_type).to_owned(), Bytes::from_static(bytes)),
            Self::Form(pairs) => {
                let mut pairs = pairs.to_vec();
                let assertion = client.assertion();
                pairs.push(("client_id", &client.id));
                if let Some(assertion) = &assertion {
                    pairs.push(("client_assertion_type", client_assertion::ASSERTION_TYPE));
                    pairs.push(("client_assertion", assertion));
                }
                let form = serde_urlencoded::to_string(pairs).unwrap();
                ("application/x-www-form-urlencoded".to_owned(), form.into())
            }
        }
    }
}

pub(crate) fn confidential_metadata(keys: &[&Arc<SigningKey>]) -> Value {
    let keys: Vec<_> = keys.iter().map(|key| key.public()).collect();
    json!({
        "client_id": "https://aip.internal/oauth-client-metadata.json",
        "redirect_uris": ["https://aip.internal/callback"],
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "scope": "atproto transition:generic transition:email",
        "token_endpoint_auth_method": "private_key_jwt",
        "token_endpoint_auth_signing_alg": "ES256",
        "dpop_bound_access_tokens": true,
        "jwks": { "keys": keys },
    })
}

pub(crate) fn query(url: &Url, name: &str) -> Option<String> {
    url.query_pairs()
        .find(|(key, _)| key == name)
        .map(|(_, value)| value.into_owned())
}
