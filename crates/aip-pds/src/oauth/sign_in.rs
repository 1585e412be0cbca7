//! Signing in: the pushed authorization request (RFC 9126), and after the callback the code
//! exchange with everything that must hold before anybody is signed in.

use aip_atproto::{Did, ScopeSet};
use aip_base::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use url::Url;

use super::exchange::ExchangeError;
use super::identity::SessionKeys;
use super::pkce;
use super::token::{Received, TokenRefusal, TokenSet};
use crate::client::PdsClient;
use crate::members::members;
use crate::metadata::AuthServer;
use crate::proof::{ProofError, ProvenIdentity};
use crate::request;

/// The longest `request_uri`: it becomes part of a URL.
const MAX_REQUEST_URI: usize = 2048;

/// What to ask an authorization server for.
#[derive(Debug, Clone, Copy)]
pub struct PushedRequest<'a> {
    /// The authorization server that the request is pushed to.
    pub server: &'a AuthServer,
    /// The keys of the session that begins.
    pub keys: &'a SessionKeys,
    /// Where the browser comes back.
    pub redirect_uri: &'a str,
    /// The scopes, among them `atproto`.
    pub scope: &'a ScopeSet,
    /// A random reference to this sign-in.
    pub state: &'a str,
    /// The account, as the person typed it.
    pub login_hint: Option<&'a str>,
    /// `login`, `consent`, `select_account`, `create` or `none`.
    pub prompt: Option<&'a str>,
}

/// A sign-in that waits for the browser.
#[derive(Debug)]
pub struct StartedSignIn {
    /// Where to send the browser.
    pub authorization_url: Url,
    /// The PKCE verifier, to be kept until the callback.
    pub verifier: SecretString,
}

/// A finished sign-in.
#[derive(Debug)]
pub struct SignedIn {
    /// What the token endpoint gave, already proved to be for the account.
    pub tokens: TokenSet,
    /// Who signed in.
    pub identity: ProvenIdentity,
}

/// Why nobody is signed in. Tokens that were received were revoked.
#[derive(Debug, thiserror::Error)]
pub enum SignInError {
    /// The authorization server gave no tokens.
    #[error(transparent)]
    Exchange(#[from] ExchangeError),
    /// The token response is not acceptable.
    #[error(transparent)]
    Tokens(#[from] TokenRefusal),
    /// The authorization server does not speak for the account.
    #[error(transparent)]
    Proof(#[from] ProofError),
}

impl PdsClient {
    /// Pushes the authorization request and says where to send the browser.
    pub async fn start_sign_in(
        &self,
        request: PushedRequest<'_>,
    ) -> Result<StartedSignIn, ExchangeError> {
        let PushedRequest { server, keys, .. } = request;
        let verifier = pkce::verifier(&*self.rng);
        let challenge = pkce::challenge(verifier.expose_secret());
        let scope = request.scope.to_string();
        let mut params = vec![
            ("response_type", "code"),
            ("redirect_uri", request.redirect_uri),
            ("scope", &scope),
            ("state", request.state),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ];
        params.extend(request.login_hint.map(|hint| ("login_hint", hint)));
        // A server that knows no page for new accounts would refuse the request; the person may find
        // the way there from its sign-in page.
        let prompt = request
            .prompt
            .filter(|it| *it != "create" || server.creates_accounts);
        params.extend(prompt.map(|prompt| ("prompt", prompt)));
        let answer = self
            .post(
                keys,
                server,
                &server.par_endpoint,
                &params,
                request::IDEMPOTENT_TIMEOUT,
            )
            .await?;
        let pushed = members(&answer.body).and_then(|mut pushed| pushed.remove("request_uri"));
        let request_uri = match pushed {
            Some(Value::String(uri)) if !uri.is_empty() && uri.len() <= MAX_REQUEST_URI => uri,
            Some(_) => return Err(answer.without("its `request_uri` is no URI".to_owned())),
            None => return Err(answer.without("it lacks `request_uri`".to_owned())),
        };
        let mut authorization_url = server.authorization_endpoint.clone();
        authorization_url
            .query_pairs_mut()
            .append_pair("client_id", keys.client.client_id())
            .append_pair("request_uri", &request_uri);
        Ok(StartedSignIn {
            authorization_url,
            verifier,
        })
    }

    /// Exchanges the code and proves who signed in. Tokens that fail a check are revoked.
    pub async fn complete_sign_in(
        &self,
        keys: &SessionKeys,
        server: &AuthServer,
        redirect_uri: &str,
        code: &SecretString,
        verifier: &SecretString,
        expected: Option<&Did>,
    ) -> Result<SignedIn, SignInError> {
        let params = [
            ("grant_type", "authorization_code"),
            ("code", code.expose_secret()),
            ("redirect_uri", redirect_uri),
            ("code_verifier", verifier.expose_secret()),
        ];
        let answer = self
            .post(
                keys,
                server,
                &server.token_endpoint,
                &params,
                request::CODE_EXCHANGE_TIMEOUT,
            )
            .await?;
        let received = match Received::parse(&answer.body) {
            Ok(received) => received,
            Err(refusal) if answer.is_complete() => return Err(refusal.into()),
            Err(refusal) => return Err(answer.without(refusal.to_string()).into()),
        };
        let sent_at = answer.sent_at;
        let outcome = self.accept(&received, sent_at, server, expected).await;
        if outcome.is_err() {
            self.revoke_refused(keys, server, &received).await;
        }
        outcome
    }

    async fn accept(
        &self,
        received: &Received,
        sent_at: Timestamp,
        server: &AuthServer,
        expected: Option<&Did>,
    ) -> Result<SignedIn, SignInError> {
        let tokens = received.signed_in(sent_at)?;
        let identity = self.prove(&tokens.sub, &server.issuer, expected).await?;
        Ok(SignedIn { tokens, identity })
    }
}
