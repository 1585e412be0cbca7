//! The requests of an app: to the token endpoint and its neighbours, and with an access token.

use aip_jose::client_assertion::ASSERTION_TYPE;
use aip_storage::client::ClientAuthMethod;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{Method, Request, request};
use serde_json::Value;

use super::{App, PendingAuthorization, REDIRECT};
use crate::answer::Answer;
use crate::world::BASE;

impl App<'_> {
    /// Exchanges a code.
    pub(crate) async fn redeem(&self, pending: &PendingAuthorization, code: &str) -> Answer {
        self.redeem_with(pending, code, &[]).await
    }

    /// Exchanges a code with `changes` to what is right; an empty value leaves a parameter out.
    pub(crate) async fn redeem_with(
        &self,
        pending: &PendingAuthorization,
        code: &str,
        changes: &[(&str, &str)],
    ) -> Answer {
        let mut form = vec![
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", REDIRECT),
            ("code_verifier", &pending.verifier),
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
            (ClientAuthMethod::PrivateKeyJwt, _) => {
                return self.post_with_assertions(path, &form).await;
            }
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
        self.post_bodies(path, authorization, &|| body.clone())
            .await
    }

    /// Posts a form, each time that it is sent with an assertion of its own.
    async fn post_with_assertions(&self, path: &str, form: &[(&str, &str)]) -> Answer {
        let body = || {
            let assertion = self.assertion();
            let mut form = form.to_vec();
            form.push(("client_assertion_type", ASSERTION_TYPE));
            form.push(("client_assertion", &assertion));
            Bytes::from(serde_urlencoded::to_string(form).unwrap())
        };
        self.post_bodies(path, None, &body).await
    }

    async fn post_bodies(
        &self,
        path: &str,
        authorization: Option<&str>,
        body: &dyn Fn() -> Bytes,
    ) -> Answer {
        let request = || {
            let request = Request::post(format!("{BASE}{path}"))
                .header(CONTENT_TYPE, "application/x-www-form-urlencoded");
            match authorization {
                Some(value) => request.header(AUTHORIZATION, value),
                None => request,
            }
        };
        self.send(path, None, &request, body).await
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
        let body = || body.clone();
        self.send(path, Some(access), &request, &body).await
    }

    /// Sends a request, with a proof if the app has a key, and once more with the nonce that AIP
    /// asks for.
    async fn send(
        &self,
        path: &str,
        access: Option<&str>,
        request: &dyn Fn() -> request::Builder,
        body: &dyn Fn() -> Bytes,
    ) -> Answer {
        let Some(dpop) = &self.dpop else {
            return self.world.send(request().body(body()).unwrap()).await;
        };
        for _ in 0..2 {
            let request = request();
            let method = request.method_ref().unwrap().clone();
            let proof = self.proof(method.as_str(), path, access).unwrap();
            let request = request.header("dpop", proof).body(body()).unwrap();
            let answer = self.world.send(request).await;
            if let Some(nonce) = answer.headers.get("dpop-nonce") {
                *dpop.nonce.lock().unwrap() = Some(nonce.to_str().unwrap().to_owned());
            }
            let challenged =
                answer.status.is_client_error() && answer.json()["error"] == "use_dpop_nonce";
            if !challenged {
                return answer;
            }
            // RFC 9449 §8 and §9: at the token endpoint, and at a resource.
            let status = if access.is_some() { 401 } else { 400 };
            assert_eq!(answer.status, status);
        }
        panic!("AIP asks for a nonce again and again");
    }
}

/// RFC 6749 §2.3.1: both halves are form-encoded before they are joined.
pub(crate) fn basic_credential(id: &str, secret: &str) -> String {
    let pair = serde_urlencoded::to_string([(id, secret)]).unwrap();
    format!("Basic {}", STANDARD.encode(pair.replacen('=', ":", 1)))
}
