//! A registered app and its requests.

use axum::body::Body;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Request;
use http::header::AUTHORIZATION;

use super::{Answer, World, encode, form_request};

/// The example of RFC 7636 appendix B.
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

/// A registered app.
pub(crate) struct TestApp<'w> {
    pub(crate) world: &'w World,
    pub(crate) id: String,
    pub(crate) redirect_uri: String,
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

    /// A token request by this app, which keeps a secret.
    pub(crate) async fn token(&self, form: &[(&str, &str)]) -> Answer {
        let credential = basic(&self.id, self.secret.as_deref().unwrap());
        let headers = [(AUTHORIZATION, credential)];
        let request = form_request("/oauth/token", form, &headers);
        self.world.send(request).await
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
