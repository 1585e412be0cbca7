//! Pushed authorization requests (RFC 9126), the only way in.

use std::sync::Arc;
use std::time::Duration;

use aip_atproto::{AtIdentifier, OpenIdScope, Scope};
use aip_base::{Timestamp, lock, random_token};
use aip_jose::Thumbprint;
use http::StatusCode;
use serde_json::json;

use super::client_auth::ClientAuth;
use super::clients::Client;
use super::error::OAuthError;
use super::inner::{Inner, Site};
use super::settings::Document;
use crate::stage::reply::Reply;
use crate::stage::request::{Form, Received};

const URN: &str = "urn:ietf:params:oauth:request_uri:req-";

/// What a client asked for.
#[derive(Debug, Clone)]
pub(crate) struct Parameters {
    pub(crate) client: Arc<Client>,
    pub(crate) auth: ClientAuth,
    pub(crate) jkt: Thumbprint,
    pub(crate) redirect_uri: String,
    pub(crate) in_fragment: bool,
    /// The words that the PDS understood, as written.
    pub(crate) scope: Vec<String>,
    pub(crate) state: String,
    pub(crate) code_challenge: String,
    pub(crate) login_hint: Option<String>,
    pub(crate) prompt: Option<Prompt>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Prompt {
    None,
    Login,
    Consent,
    SelectAccount,
}

/// A request that waits for the person.
#[derive(Debug, Clone)]
pub(crate) struct Pending {
    pub(crate) parameters: Parameters,
    pub(crate) expires: Timestamp,
    /// The browser that opened it first.
    pub(crate) device: Option<String>,
    /// In the forms, so that no other page can post them.
    pub(crate) csrf: String,
    /// Who signed in, between the two pages.
    pub(crate) signed_in: Option<String>,
}

impl Site {
    pub(crate) async fn par(&self, request: &Received) -> Result<Reply, OAuthError> {
        let inner = &self.inner;
        let jkt = inner.check_proof(&self.nonces, &inner.issuer, request, None)?;
        let form = request.form();
        let (client, auth) = inner.authenticate(&form, &jkt).await?;
        let parameters = inner.check_parameters(&form, client, auth, jkt)?;
        let lifetime = lock(&inner.settings).lifetimes.request;
        let request_uri = inner.remember_request(parameters, lifetime);
        let body = json!({ "request_uri": request_uri, "expires_in": lifetime.as_secs() });
        let body = inner.falsified(Document::ParResponse, body);
        Ok(Reply::json(StatusCode::CREATED, &body))
    }
}

impl Inner {
    fn remember_request(&self, parameters: Parameters, lifetime: Duration) -> String {
        let request_uri = format!("{URN}{}", random_token::<24>(&*self.rng));
        let now = self.clock.now();
        let pending = Pending {
            parameters,
            expires: now + lifetime,
            device: None,
            csrf: random_token::<16>(&*self.rng),
            signed_in: None,
        };
        let mut grants = lock(&self.grants);
        grants.requests.retain(|_, pending| pending.expires > now);
        grants.requests.insert(request_uri.clone(), pending);
        request_uri
    }

    fn check_parameters(
        &self,
        form: &Form,
        client: Arc<Client>,
        auth: ClientAuth,
        jkt: Thumbprint,
    ) -> Result<Parameters, OAuthError> {
        let refused = |why: &str| Err(OAuthError::invalid_request(why));
        let required = |name: &str| {
            form.get(name)
                .ok_or_else(|| OAuthError::invalid_request(format!("{name} is required")))
        };
        if required("response_type")? != "code" {
            return refused("response_type must be code");
        }
        let redirect_uri = required("redirect_uri")?.to_owned();
        if !client.allows_redirect(&redirect_uri) {
            return refused("Invalid redirect_uri");
        }
        if form.get("code_challenge_method") != Some("S256") {
            return refused("code_challenge_method must be S256");
        }
        let code_challenge = required("code_challenge")?.to_owned();
        if code_challenge.len() != 43 {
            return refused("code_challenge is not a SHA-256 hash");
        }
        if form.get("nonce").is_some() {
            return refused("nonce is not supported");
        }
        let in_fragment = match form.get("response_mode") {
            None | Some("query") => false,
            Some("fragment") => true,
            Some(_) => return refused("response_mode is not supported"),
        };
        let login_hint = form.get("login_hint").map(str::to_lowercase);
        if let Some(hint) = &login_hint
            && hint.parse::<AtIdentifier>().is_err()
        {
            return refused("Invalid login_hint");
        }
        let prompt = match form.get("prompt") {
            None => None,
            Some("none") if client.is_public() => {
                return refused("Public clients are not allowed to use silent-sign-on");
            }
            Some("none") => Some(Prompt::None),
            Some("login") => Some(Prompt::Login),
            Some("consent") => Some(Prompt::Consent),
            // There is no page for new accounts here: the person takes one that is there.
            Some("select_account" | "create") => Some(Prompt::SelectAccount),
            Some(_) => return refused("prompt is not supported"),
        };
        if !lock(&self.used_challenges).spend(&code_challenge, self.clock.now()) {
            return refused("Code challenge already used");
        }
        Ok(Parameters {
            scope: check_scope(form.get("scope").unwrap_or_default(), &client)?,
            state: form.get("state").unwrap_or_default().to_owned(),
            client,
            auth,
            jkt,
            redirect_uri,
            in_fragment,
            code_challenge,
            login_hint,
            prompt,
        })
    }
}

/// The words that the PDS understands; unknown ones are dropped without a word.
fn check_scope(scope: &str, client: &Client) -> Result<Vec<String>, OAuthError> {
    let mut understood = Vec::new();
    for word in scope.split_ascii_whitespace() {
        match Scope::parse(word) {
            Scope::OpenId(OpenIdScope::OpenId) => {
                return Err(OAuthError::invalid_scope("OpenID Connect is not supported"));
            }
            Scope::Include(include) => {
                let why = format!("Could not resolve Lexicon for NSID ({include})");
                return Err(OAuthError::invalid_scope(why));
            }
            _ if !client.scope.contains(word) => {
                let why = format!("Scope \"{word}\" is not declared in the client metadata");
                return Err(OAuthError::invalid_scope(why));
            }
            Scope::Other(_) | Scope::OpenId(_) => {}
            _ => understood.push(word.to_owned()),
        }
    }
    if understood.iter().any(|word| word == "atproto") {
        Ok(understood)
    } else {
        Err(OAuthError::invalid_scope(
            "The \"atproto\" scope is required",
        ))
    }
}
