//! An app as a customer would write it, with any OAuth library: PKCE, code, tokens, calls.

mod assertion;
mod calls;
mod key;

use std::sync::Arc;
use std::time::Duration;

use aip_base::{SystemRng, random_token};
use aip_jose::SigningKey;
use aip_oauth::registration::ClientSettings;
use aip_sandbox::Person;
use aip_storage::client::{ClientAuthMethod, ClientId};
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use url::Url;

use self::key::Dpop;
use crate::answer::Answer;
use crate::browser::{Browser, parameter};
use crate::world::{BASE, World};

pub(crate) use self::assertion::{AssertionClaims, sign};
pub(crate) use self::calls::basic_credential;

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
    /// What it signs its assertions with.
    assertion_key: Option<Arc<SigningKey>>,
    dpop: Option<Dpop>,
}

/// An authorization request whose response has not come yet: what the app remembers of it (RFC 6749 section 4.1.1,
/// RFC 7636).
pub(crate) struct PendingAuthorization {
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
        let mut settings = Self::settings();
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
            assertion_key: None,
            dpop: None,
        }
    }

    /// An app that is registered already, and authenticates by Basic if it has a secret.
    pub(crate) fn known(world: &'w World, id: &str, secret: Option<&str>) -> Self {
        Self {
            world,
            id: id.parse().unwrap(),
            secret: secret.map(str::to_owned),
            method: match secret {
                Some(_) => ClientAuthMethod::SecretBasic,
                None => ClientAuthMethod::None,
            },
            assertion_key: None,
            dpop: None,
        }
    }

    /// What apps of stories are registered with, unless they say otherwise.
    pub(crate) fn settings() -> ClientSettings {
        ClientSettings {
            name: "Example App".to_owned(),
            redirect_uris: vec![REDIRECT.parse().unwrap()],
            scope: format!("{SCOPE} email repo:app.bsky.feed.like blob:*/* transition:generic")
                .parse()
                .unwrap(),
            refresh_token_ttl: Duration::from_hours(24 * 30),
            ..ClientSettings::default()
        }
    }

    /// A request to be authorized, with `changes` to what is usual; an empty value leaves a
    /// parameter out.
    pub(crate) fn begin_authorization(&self, changes: &[(&str, &str)]) -> PendingAuthorization {
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
        PendingAuthorization {
            url: format!("{BASE}/oauth/authorize?{query}"),
            state,
            nonce,
            verifier,
        }
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
        let pending = self.begin_authorization(&[("scope", scope), ("prompt", "select_account")]);
        let login = browser.open(&pending.url).await;
        let consent = browser.sign_in(&login, person).await;
        let back = browser.allow(&consent).await;
        let answer = self.redeem(&pending, &pending.code(&back)).await;
        Tokens::of(&answer)
    }
}

impl PendingAuthorization {
    /// The code that the browser brings back, with `state` and `iss` checked as every app must.
    #[track_caller]
    pub(crate) fn code(&self, back: &Url) -> String {
        self.check(back);
        parameter(back, "code").unwrap_or_else(|| panic!("no code: {:?}", parameter(back, "error")))
    }

    /// The app is told that it gets nothing, with this error.
    #[track_caller]
    pub(crate) fn refused(&self, back: &Url, error: &str) -> String {
        self.check(back);
        assert_eq!(parameter(back, "code"), None);
        assert_eq!(parameter(back, "error").as_deref(), Some(error), "{back}");
        parameter(back, "error_description").unwrap_or_default()
    }

    /// What every app must check of every answer (RFC 6749 §10.12, RFC 9207 §2.4).
    #[track_caller]
    fn check(&self, back: &Url) {
        assert!(back.as_str().starts_with(REDIRECT), "{back}");
        assert_eq!(parameter(back, "state").as_ref(), Some(&self.state));
        assert_eq!(parameter(back, "iss").as_deref(), Some(BASE));
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
