//! An app: begins authorizations, redeems codes, refreshes, calls.

use aip_storage::client::ClientAuthMethod;
use axum::body::Body;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Request;
use http::header::AUTHORIZATION;

use super::browser::Browser;
use super::{ALICE_HANDLE, Answer, World, encode, form_request};

/// The example of RFC 7636 appendix B.
pub(crate) const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
pub(crate) const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

/// A registered app.
pub(crate) struct TestApp<'w> {
    pub(crate) world: &'w World,
    pub(crate) id: String,
    pub(crate) redirect_uri: String,
    pub(crate) method: ClientAuthMethod,
    pub(crate) secret: Option<String>,
}

impl TestApp<'_> {
    /// The URL that the app sends people to. A parameter of `changes` replaces, or with `""`
    /// removes, the ordinary one.
    pub(crate) fn authorize_url(&self, changes: &[(&str, &str)]) -> String {
        format!("/oauth/authorize?{}", encode(&self.request(changes)))
    }

    /// The parameters of an authorization request.
    pub(crate) fn request<'a>(&'a self, changes: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
        let mut params = vec![
            ("response_type", "code"),
            ("client_id", self.id.as_str()),
            ("redirect_uri", self.redirect_uri.as_str()),
            ("scope", "openid profile atproto"),
            ("state", "the state"),
            ("nonce", "the nonce"),
            ("code_challenge", CHALLENGE),
            ("code_challenge_method", "S256"),
        ];
        for (name, value) in changes {
            params.retain(|(it, _)| it != name);
            if !value.is_empty() {
                params.push((name, value));
            }
        }
        params
    }

    /// Signs Alice in and has her allow the app: the code.
    pub(crate) async fn code(&self, browser: &mut Browser<'_>, changes: &[(&str, &str)]) -> String {
        let answer = self.allowed(browser, changes).await;
        answer
            .location_param("code")
            .unwrap_or_else(|| panic!("no code in {}", answer.location()))
    }

    /// Signs Alice in and has her allow the app: the redirect to the app.
    pub(crate) async fn allowed(
        &self,
        browser: &mut Browser<'_>,
        changes: &[(&str, &str)],
    ) -> Answer {
        let first = browser.get(&self.authorize_url(changes)).await;
        let mut page = browser.follow(first).await;
        if page.body.contains("<form id=\"login\"") {
            page = browser.sign_in(&page, ALICE_HANDLE).await;
        }
        if page.body.contains("<form id=\"consent\"") {
            page = browser.decide(&page, "allow").await;
        }
        page
    }

    /// Redeems a code. `changes` as in [`Self::authorize_url`].
    pub(crate) async fn redeem(&self, code: &str, changes: &[(&str, &str)]) -> Answer {
        let mut form = vec![
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", self.redirect_uri.as_str()),
            ("code_verifier", VERIFIER),
        ];
        for (name, value) in changes {
            form.retain(|(it, _)| it != name);
            if !value.is_empty() {
                form.push((name, value));
            }
        }
        self.token(&form).await
    }

    /// Refreshes.
    pub(crate) async fn refresh(&self, token: &str) -> Answer {
        self.token(&[("grant_type", "refresh_token"), ("refresh_token", token)])
            .await
    }

    /// A token request by this app, authenticated as it registered.
    pub(crate) async fn token(&self, form: &[(&str, &str)]) -> Answer {
        let mut form = form.to_vec();
        let mut headers = Vec::new();
        let secret = self.secret.as_deref().unwrap_or_default();
        match self.method {
            ClientAuthMethod::SecretBasic => {
                headers.push((AUTHORIZATION, basic(&self.id, secret)));
            }
            ClientAuthMethod::SecretPost => {
                form.extend([("client_id", self.id.as_str()), ("client_secret", secret)]);
            }
            ClientAuthMethod::None => form.push(("client_id", &self.id)),
        }
        let request = form_request("/oauth/token", &form, &headers);
        self.world.send(request).await
    }

    /// Tokens of a fresh sign-in of Alice.
    pub(crate) async fn tokens(&self, changes: &[(&str, &str)]) -> serde_json::Value {
        let code = self.code(&mut self.world.browser(), changes).await;
        let answer = self.redeem(&code, &[]).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.json()
    }
}

/// A Basic credential.
pub(crate) fn basic(id: &str, secret: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")))
}

/// A call of userinfo with an `Authorization` header.
pub(crate) async fn userinfo(world: &World, authorization: &str) -> Answer {
    let request = Request::get("/oauth/userinfo").header(AUTHORIZATION, authorization);
    world.send(request.body(Body::empty()).unwrap()).await
}
