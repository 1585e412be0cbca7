//! An app as a customer would write it, with any OAuth library: PKCE, code, tokens, calls.

use std::sync::Mutex;
use std::time::Duration;

use aip_base::{Clock as _, SystemRng, random_token};
use aip_jose::dpop::Proof;
use aip_jose::{Alg, SigningKey};
use aip_oauth::registration::ClientSettings;
use aip_sandbox::Person;
use aip_storage::client::{ApplicationType, ClientAuthMethod, ClientId, IdTokenAlg};
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{Method, Request, request};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use url::Url;

use crate::answer::Answer;
use crate::browser::{Browser, parameter};
use crate::world::{BASE, World};

/// Where apps of stories are sent back to, unless they say otherwise.
pub(crate) const REDIRECT: &str = "https://app.example.org/callback";

/// What apps of stories ask for, unless they say otherwise.
pub(crate) const SCOPE: &str = "atproto openid profile repo:app.bsky.feed.post";

/// A registered app.
pub(crate) struct App<'w> {
    pub(crate) world: &'w World,
    pub(crate) id: ClientId,
    pub(crate) secret: Option<String>,
    pub(crate) method: ClientAuthMethod,
    dpop: Option<Dpop>,
}

/// The key that an app binds its tokens to, and the nonce that AIP gave it last.
struct Dpop {
    key: SigningKey,
    nonce: Mutex<Option<String>>,
}

/// What an app remembers between sending the person away and getting them back.
pub(crate) struct Errand {
    pub(crate) url: String,
    pub(crate) state: String,
    pub(crate) nonce: String,
    pub(crate) verifier: String,
}

/// The tokens of one person.
#[derive(Clone)]
pub(crate) struct Tokens {
    pub(crate) access: String,
    pub(crate) refresh: String,
    /// The whole answer.
    pub(crate) answer: Value,
}

impl<'w> App<'w> {
    /// Registers an app as the operator does; `change` makes it special.
    pub(crate) async fn register(
        world: &'w World,
        change: impl FnOnce(&mut ClientSettings),
    ) -> Self {
        let mut settings = ClientSettings {
            name: "Example App".to_owned(),
            application_type: ApplicationType::Web,
            auth_method: ClientAuthMethod::SecretBasic,
            redirect_uris: vec![REDIRECT.to_owned()],
            post_logout_redirect_uris: Vec::new(),
            scope: format!("{SCOPE} email repo:app.bsky.feed.like blob:*/* transition:generic")
                .parse()
                .unwrap(),
            require_pkce: true,
            first_party: false,
            id_token_alg: IdTokenAlg::Es256,
            access_token_ttl: Duration::from_hours(1),
            refresh_token_ttl: Duration::from_hours(24 * 30),
            refresh_grace: Duration::from_secs(30),
        };
        change(&mut settings);
        let method = settings.auth_method;
        let server = world.aip().app.server.clone();
        let (client, secret) = server.register_client(None, settings).await.unwrap();
        let secret = secret.map(|it: SecretString| it.expose_secret().to_owned());
        if let Some(secret) = &secret {
            world.secrets.learn("a client secret", secret);
        }
        Self {
            world,
            id: client.id,
            secret,
            method,
            dpop: None,
        }
    }

    /// The same app with its tokens bound to a new key.
    pub(crate) fn with_dpop(self) -> Self {
        let key = SigningKey::generate(Alg::Es256, None).unwrap();
        let json = key.to_private_jwk_json().unwrap();
        self.world
            .secrets
            .learn_keys("an app's DPoP key", json.expose_secret());
        let nonce = Mutex::default();
        Self {
            dpop: Some(Dpop { key, nonce }),
            ..self
        }
    }

    /// The same app with another key than its tokens are bound to.
    pub(crate) fn with_another_key(&self) -> Self {
        self.without_key().with_dpop()
    }

    /// The same app as if it knew nothing of DPoP.
    pub(crate) fn without_key(&self) -> Self {
        Self {
            world: self.world,
            id: self.id.clone(),
            secret: self.secret.clone(),
            method: self.method,
            dpop: None,
        }
    }

    /// A request to be authorized, with `changes` to what is usual; an empty value leaves a
    /// parameter out.
    pub(crate) fn errand(&self, changes: &[(&str, &str)]) -> Errand {
        let [state, nonce, verifier] = [(); 3].map(|()| random_token::<32>(&SystemRng));
        self.world.secrets.learn("a verifier", &verifier);
        let challenge = s256(&verifier);
        let mut query = vec![
            ("response_type", "code"),
            ("client_id", self.id.as_str()),
            ("redirect_uri", REDIRECT),
            ("scope", SCOPE),
            ("state", &state),
            ("nonce", &nonce),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ];
        query.retain(|(name, _)| changes.iter().all(|(changed, _)| changed != name));
        query.extend(changes.iter().filter(|(_, value)| !value.is_empty()));
        let query = serde_urlencoded::to_string(query).unwrap();
        Errand {
            url: format!("{BASE}/oauth/authorize?{query}"),
            state,
            nonce,
            verifier,
        }
    }

    /// The code that the browser brings back, with `state` and `iss` checked as every app must.
    #[track_caller]
    pub(crate) fn code(&self, errand: &Errand, back: &Url) -> String {
        self.check_answer(errand, back);
        parameter(back, "code").unwrap_or_else(|| panic!("no code: {:?}", parameter(back, "error")))
    }

    /// The app is told that it gets nothing, with this error.
    #[track_caller]
    pub(crate) fn refused(&self, errand: &Errand, back: &Url, error: &str) -> String {
        self.check_answer(errand, back);
        assert_eq!(parameter(back, "code"), None);
        assert_eq!(parameter(back, "error").as_deref(), Some(error), "{back}");
        parameter(back, "error_description").unwrap_or_default()
    }

    #[track_caller]
    fn check_answer(&self, errand: &Errand, back: &Url) {
        assert!(back.as_str().starts_with(REDIRECT), "{back}");
        assert_eq!(parameter(back, "state").as_ref(), Some(&errand.state));
        assert_eq!(parameter(back, "iss").as_deref(), Some(BASE));
    }

    /// Exchanges a code.
    pub(crate) async fn redeem(&self, errand: &Errand, code: &str) -> Answer {
        self.redeem_with(errand, code, &[]).await
    }

    /// Exchanges a code with `changes` to what is right; an empty value leaves a parameter out.
    pub(crate) async fn redeem_with(
        &self,
        errand: &Errand,
        code: &str,
        changes: &[(&str, &str)],
    ) -> Answer {
        let mut form = vec![
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", REDIRECT),
            ("code_verifier", &errand.verifier),
        ];
        form.retain(|(name, _)| changes.iter().all(|(changed, _)| changed != name));
        form.extend(changes.iter().filter(|(_, value)| !value.is_empty()));
        self.token(&form).await
    }

    /// Refreshes.
    pub(crate) async fn refresh(&self, refresh: &str) -> Answer {
        self.token(&[("grant_type", "refresh_token"), ("refresh_token", refresh)])
            .await
    }

    /// Refreshes, asking for that scope.
    pub(crate) async fn narrow(&self, refresh: &str, scope: &str) -> Answer {
        let form = [
            ("grant_type", "refresh_token"),
            ("refresh_token", refresh),
            ("scope", scope),
        ];
        self.token(&form).await
    }

    /// A token request, the app's authentication added.
    pub(crate) async fn token(&self, form: &[(&str, &str)]) -> Answer {
        let answer = self.post("/oauth/token", form).await;
        if answer.status.is_success() {
            self.world.secrets.learn_tokens(&answer.json());
        }
        answer
    }

    /// Gives a token back (RFC 7009).
    pub(crate) async fn revoke(&self, token: &str) -> Answer {
        self.post("/oauth/revoke", &[("token", token)]).await
    }

    /// Asks what a token is (RFC 7662).
    pub(crate) async fn introspect(&self, token: &str) -> Answer {
        self.post("/oauth/introspect", &[("token", token)]).await
    }

    /// Posts a form with the app's authentication.
    pub(crate) async fn post(&self, path: &str, form: &[(&str, &str)]) -> Answer {
        let mut form = form.to_vec();
        let mut basic = None;
        match (&self.method, &self.secret) {
            (ClientAuthMethod::SecretBasic, Some(secret)) => {
                basic = Some(basic_credential(self.id.as_str(), secret));
            }
            (_, secret) => {
                form.push(("client_id", self.id.as_str()));
                form.extend(secret.as_deref().map(|it| ("client_secret", it)));
            }
        }
        self.post_as(path, basic.as_deref(), &form).await
    }

    /// Posts a form with exactly this authentication.
    pub(crate) async fn post_as(
        &self,
        path: &str,
        authorization: Option<&str>,
        form: &[(&str, &str)],
    ) -> Answer {
        let body = Bytes::from(serde_urlencoded::to_string(form).unwrap());
        let request = || {
            let request = Request::post(format!("{BASE}{path}"))
                .header(CONTENT_TYPE, "application/x-www-form-urlencoded");
            match authorization {
                Some(value) => request.header(AUTHORIZATION, value),
                None => request,
            }
        };
        self.send(path, None, &request, &body).await
    }

    /// Who signed in.
    pub(crate) async fn userinfo(&self, access: &str) -> Answer {
        self.call(&Method::GET, "/oauth/userinfo", access, &[], Bytes::new())
            .await
    }

    /// An XRPC query; `call` is the method's name and its parameters.
    pub(crate) async fn query(&self, access: &str, call: &str) -> Answer {
        let path = format!("/xrpc/{call}");
        self.call(&Method::GET, &path, access, &[], Bytes::new())
            .await
    }

    /// An XRPC procedure.
    pub(crate) async fn procedure(&self, access: &str, method: &str, input: &Value) -> Answer {
        let path = format!("/xrpc/{method}");
        let json = [("content-type", "application/json")];
        let body = input.to_string().into();
        self.call(&Method::POST, &path, access, &json, body).await
    }

    /// A call with an access token.
    pub(crate) async fn call(
        &self,
        method: &Method,
        path: &str,
        access: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> Answer {
        let scheme = if self.dpop.is_some() {
            "DPoP"
        } else {
            "Bearer"
        };
        let request = || {
            let request = Request::builder()
                .method(method)
                .uri(format!("{BASE}{path}"))
                .header(AUTHORIZATION, format!("{scheme} {access}"));
            headers.iter().fold(request, |request, (name, value)| {
                request.header(*name, *value)
            })
        };
        self.send(path, Some(access), &request, &body).await
    }

    /// Sends a request, with a proof if the app has a key, and once more with the nonce that AIP
    /// asks for.
    async fn send(
        &self,
        path: &str,
        access: Option<&str>,
        request: &dyn Fn() -> request::Builder,
        body: &Bytes,
    ) -> Answer {
        let Some(dpop) = &self.dpop else {
            return self.world.send(request().body(body.clone()).unwrap()).await;
        };
        for _ in 0..2 {
            let request = request();
            let method = request.method_ref().unwrap().clone();
            let proof = self.proof(method.as_str(), path, access).unwrap();
            let request = request.header("dpop", proof).body(body.clone()).unwrap();
            let answer = self.world.send(request).await;
            if let Some(nonce) = answer.headers.get("dpop-nonce") {
                *dpop.nonce.lock().unwrap() = Some(nonce.to_str().unwrap().to_owned());
            }
            let challenged =
                answer.status.is_client_error() && answer.json()["error"] == "use_dpop_nonce";
            if !challenged {
                return answer;
            }
        }
        panic!("AIP asks for a nonce again and again");
    }

    /// The nonce that AIP gave last.
    pub(crate) fn nonce(&self) -> Option<String> {
        self.dpop.as_ref()?.nonce.lock().unwrap().clone()
    }

    /// The key that the tokens are bound to.
    pub(crate) fn key(&self) -> &SigningKey {
        &self.dpop.as_ref().unwrap().key
    }

    /// A fresh proof for a request, if the app has a key.
    fn proof(&self, htm: &str, path: &str, access: Option<&str>) -> Option<String> {
        let dpop = self.dpop.as_ref()?;
        let nonce = dpop.nonce.lock().unwrap().clone();
        let proof = Proof {
            htm,
            htu: &format!("{BASE}{path}"),
            nonce: nonce.as_deref(),
            access_token: access,
        };
        Some(
            proof
                .make(&dpop.key, &SystemRng, self.world.clock.now())
                .unwrap(),
        )
    }

    /// The whole way: to AIP, to the PDS and back, consent, tokens.
    pub(crate) async fn sign_in(&self, browser: &Browser<'_>, person: &Person) -> Tokens {
        self.sign_in_for(browser, person, SCOPE).await
    }

    /// The same, asking for other scopes.
    pub(crate) async fn sign_in_for(
        &self,
        browser: &Browser<'_>,
        person: &Person,
        scope: &str,
    ) -> Tokens {
        let errand = self.errand(&[("scope", scope)]);
        let login = browser.open(&errand.url).await;
        let consent = browser.sign_in(&login, person).await;
        let back = browser.allow(&consent).await;
        let answer = self.redeem(&errand, &self.code(&errand, &back)).await;
        Tokens::of(&answer)
    }
}

impl Tokens {
    /// The tokens of a successful answer.
    #[track_caller]
    pub(crate) fn of(answer: &Answer) -> Self {
        let answer = answer.ok();
        let text = |name: &str| answer[name].as_str().unwrap().to_owned();
        Self {
            access: text("access_token"),
            refresh: text("refresh_token"),
            answer,
        }
    }

    pub(crate) fn id_token(&self) -> &str {
        self.answer["id_token"].as_str().unwrap()
    }
}

/// The challenge of a verifier (RFC 7636 §4.2).
pub(crate) fn s256(verifier: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest(&SHA256, verifier.as_bytes()))
}

/// RFC 6749 §2.3.1: both halves are form-encoded before they are joined.
pub(crate) fn basic_credential(id: &str, secret: &str) -> String {
    let pair = serde_urlencoded::to_string([(id, secret)]).unwrap();
    format!("Basic {}", STANDARD.encode(pair.replacen('=', ":", 1)))
}
