//! AIP as an ordinary OpenID provider: discovery, registration, the code flow with PKCE, refresh,
//! userinfo and revocation; and its XRPC proxy with a Bearer token.

use std::sync::Arc;

use aip_base::{Clock, Fetched, Http, HttpError, Limits, Timestamp};
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{Method, Request, StatusCode};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::sync::OnceCell;
use url::Url;

use super::{DemoClient, DemoOptions, SCOPE};

/// AIP, as the demo knows it.
pub(super) struct Provider {
    issuer: String,
    redirect_uri: String,
    http: Arc<dyn Http>,
    clock: Arc<dyn Clock>,
    configured: Option<DemoClient>,
    client: OnceCell<DemoClient>,
    metadata: OnceCell<Metadata>,
}

/// The members of `/.well-known/openid-configuration` that the demo uses.
#[derive(Debug, Deserialize)]
struct Metadata {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    userinfo_endpoint: String,
    revocation_endpoint: Option<String>,
    registration_endpoint: Option<String>,
}

/// Tokens of one person.
#[derive(Clone)]
pub(super) struct Tokens {
    access: SecretString,
    refresh: Option<SecretString>,
    expires: Timestamp,
}

/// The claims about a person.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Claims {
    pub(super) sub: String,
    pub(super) preferred_username: Option<String>,
    pub(super) name: Option<String>,
}

#[derive(Deserialize)]
struct TokenResponse {
    access_token: SecretString,
    refresh_token: Option<SecretString>,
    expires_in: Option<u64>,
}

#[derive(Deserialize)]
struct Registration {
    client_id: String,
    client_secret: Option<SecretString>,
}

#[derive(Default, Deserialize)]
struct ErrorBody {
    error: Option<String>,
    error_description: Option<String>,
    message: Option<String>,
}

/// Why AIP did not do what the demo asked for.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProviderError {
    #[error("{url} could not be reached: {source}")]
    Unreachable { url: String, source: HttpError },
    #[error("not a URL: {0}")]
    Url(String),
    #[error("AIP answered {status} {error}: {description}")]
    Refused {
        status: StatusCode,
        error: String,
        description: String,
    },
    #[error("the answer of {0} is not what the standard says")]
    Malformed(String),
    #[error("the discovery document is about {found}, not {expected}")]
    WrongIssuer { expected: String, found: String },
    #[error("the demo has no client at AIP, and AIP offers no registration")]
    NoClient,
}

impl ProviderError {
    /// Whether signing in again is the way on.
    pub(super) fn ends_session(&self) -> bool {
        matches!(self, Self::Refused { status, .. } if *status == StatusCode::UNAUTHORIZED || *status == StatusCode::BAD_REQUEST)
    }
}

impl Provider {
    pub(super) fn new(options: &DemoOptions) -> Self {
        Self {
            issuer: options.issuer.trim_end_matches('/').to_owned(),
            redirect_uri: format!("{}/callback", options.base),
            http: Arc::clone(&options.http),
            clock: Arc::clone(&options.clock),
            configured: options.client.clone(),
            client: OnceCell::new(),
            metadata: OnceCell::new(),
        }
    }

    pub(super) fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Where to send the browser (OIDC Core §3.1.2.1).
    pub(super) async fn authorization_url(
        &self,
        state: &str,
        verifier: &str,
        login_hint: &str,
    ) -> Result<String, ProviderError> {
        let endpoint = &self.metadata().await?.authorization_endpoint;
        let mut url = Url::parse(endpoint).map_err(|_| ProviderError::Url(endpoint.clone()))?;
        let challenge = URL_SAFE_NO_PAD.encode(digest(&SHA256, verifier.as_bytes()));
        let client = self.client().await?;
        let mut query = url.query_pairs_mut();
        query
            .append_pair("response_type", "code")
            .append_pair("client_id", &client.id)
            .append_pair("redirect_uri", &self.redirect_uri)
            .append_pair("scope", SCOPE)
            .append_pair("state", state)
            .append_pair("code_challenge", &challenge)
            .append_pair("code_challenge_method", "S256");
        if !login_hint.is_empty() {
            query.append_pair("login_hint", login_hint);
        }
        drop(query);
        Ok(url.into())
    }

    pub(super) async fn exchange(
        &self,
        code: &str,
        verifier: &str,
    ) -> Result<Tokens, ProviderError> {
        self.tokens(&[
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", &self.redirect_uri),
            ("code_verifier", verifier),
        ])
        .await
    }

    /// The same tokens while they are fresh, else new ones.
    pub(super) async fn fresh(&self, tokens: Tokens) -> Result<Tokens, ProviderError> {
        let Some(refresh) = &tokens.refresh else {
            return Ok(tokens);
        };
        if self.clock.now() < tokens.expires {
            return Ok(tokens);
        }
        let form = [
            ("grant_type", "refresh_token"),
            ("refresh_token", refresh.expose_secret()),
        ];
        let renewed = self.tokens(&form).await?;
        // A server need not rotate the refresh token (RFC 6749 §6).
        let refresh = renewed.refresh.or(tokens.refresh);
        Ok(Tokens { refresh, ..renewed })
    }

    pub(super) async fn userinfo(&self, tokens: &Tokens) -> Result<Claims, ProviderError> {
        let url = &self.metadata().await?.userinfo_endpoint;
        let request = bearer(Method::GET, url, tokens);
        self.json(url, request, Bytes::new()).await
    }

    /// Tells AIP that the tokens are not needed any more (RFC 7009).
    pub(super) async fn revoke(&self, tokens: &Tokens) -> Result<(), ProviderError> {
        let Some(url) = &self.metadata().await?.revocation_endpoint else {
            return Ok(());
        };
        let token = tokens.refresh.as_ref().unwrap_or(&tokens.access);
        self.form(url, &[("token", token.expose_secret())]).await?;
        Ok(())
    }

    pub(super) async fn query(&self, tokens: &Tokens, call: &str) -> Result<Value, ProviderError> {
        let url = format!("{}/xrpc/{call}", self.issuer);
        self.json(&url, bearer(Method::GET, &url, tokens), Bytes::new())
            .await
    }

    pub(super) async fn procedure(
        &self,
        tokens: &Tokens,
        nsid: &str,
        input: &Value,
    ) -> Result<Value, ProviderError> {
        let url = format!("{}/xrpc/{nsid}", self.issuer);
        let request = bearer(Method::POST, &url, tokens).header(CONTENT_TYPE, "application/json");
        self.json(&url, request, input.to_string().into()).await
    }

    async fn tokens(&self, form: &[(&str, &str)]) -> Result<Tokens, ProviderError> {
        let url = &self.metadata().await?.token_endpoint;
        let fetched = self.form(url, form).await?;
        let response: TokenResponse = parse(url, &fetched)?;
        // Renewed a little before the end, so that a call does not meet it.
        let lifetime = Duration::from_secs(response.expires_in.unwrap_or(0).saturating_sub(10));
        Ok(Tokens {
            access: response.access_token,
            refresh: response.refresh_token,
            expires: self.clock.now() + lifetime,
        })
    }

    async fn metadata(&self) -> Result<&Metadata, ProviderError> {
        self.metadata
            .get_or_try_init(|| async {
                let url = format!("{}/.well-known/openid-configuration", self.issuer);
                let metadata: Metadata = self.json(&url, Request::get(&url), Bytes::new()).await?;
                if metadata.issuer != self.issuer {
                    let (expected, found) = (self.issuer.clone(), metadata.issuer);
                    return Err(ProviderError::WrongIssuer { expected, found });
                }
                Ok(metadata)
            })
            .await
    }

    async fn client(&self) -> Result<&DemoClient, ProviderError> {
        self.client
            .get_or_try_init(|| async {
                match &self.configured {
                    Some(client) => Ok(client.clone()),
                    None => self.register().await,
                }
            })
            .await
    }

    async fn register(&self) -> Result<DemoClient, ProviderError> {
        let endpoint = self.metadata().await?.registration_endpoint.as_ref();
        let url = endpoint.ok_or(ProviderError::NoClient)?;
        let input = json!({
            "client_name": "Sandbox demo",
            "redirect_uris": [self.redirect_uri],
            "grant_types": ["authorization_code", "refresh_token"],
            "response_types": ["code"],
            "scope": SCOPE,
            "token_endpoint_auth_method": "client_secret_basic",
        });
        let request = Request::post(url).header(CONTENT_TYPE, "application/json");
        let registration: Registration = self.json(url, request, input.to_string().into()).await?;
        Ok(DemoClient {
            id: registration.client_id,
            secret: registration.client_secret,
        })
    }

    /// Posts a form with client authentication (RFC 6749 §2.3.1).
    async fn form(&self, url: &str, form: &[(&str, &str)]) -> Result<Fetched, ProviderError> {
        let client = self.client().await?;
        let mut form = form.to_vec();
        let mut request =
            Request::post(url).header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        match &client.secret {
            Some(secret) => {
                let pair = [(client.id.as_str(), secret.expose_secret())];
                // Both halves are form-encoded first, which leaves "=" for the one between them.
                let pair = serde_urlencoded::to_string(pair).unwrap_or_default();
                let credentials = STANDARD.encode(pair.replacen('=', ":", 1));
                request = request.header(AUTHORIZATION, format!("Basic {credentials}"));
            }
            None => form.push(("client_id", &client.id)),
        }
        let body = serde_urlencoded::to_string(form).unwrap_or_default();
        self.fetch(url, request, body.into()).await
    }

    async fn json<T: DeserializeOwned>(
        &self,
        url: &str,
        request: http::request::Builder,
        body: Bytes,
    ) -> Result<T, ProviderError> {
        parse(url, &self.fetch(url, request, body).await?)
    }

    async fn fetch(
        &self,
        url: &str,
        request: http::request::Builder,
        body: Bytes,
    ) -> Result<Fetched, ProviderError> {
        let request = request
            .body(body)
            .map_err(|_| ProviderError::Url(url.to_owned()))?;
        let fetched = self.http.fetch(request, Limits::DOCUMENT).await;
        let fetched = fetched.map_err(|source| ProviderError::Unreachable {
            url: url.to_owned(),
            source,
        })?;
        if fetched.status.is_success() {
            return Ok(fetched);
        }
        let body: ErrorBody = serde_json::from_slice(&fetched.body).unwrap_or_default();
        Err(ProviderError::Refused {
            status: fetched.status,
            error: body.error.unwrap_or_default(),
            description: body.error_description.or(body.message).unwrap_or_default(),
        })
    }
}

fn bearer(method: Method, url: &str, tokens: &Tokens) -> http::request::Builder {
    let value = format!("Bearer {}", tokens.access.expose_secret());
    Request::builder()
        .method(method)
        .uri(url)
        .header(AUTHORIZATION, value)
}

fn parse<T: DeserializeOwned>(url: &str, fetched: &Fetched) -> Result<T, ProviderError> {
    serde_json::from_slice(&fetched.body).map_err(|_| ProviderError::Malformed(url.to_owned()))
}
