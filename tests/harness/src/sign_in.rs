//! One complete sign-in, as a person in a new browser and an app go through it: authorization
//! request, sign-in page, the pages of the PDS, callback, consent page, code, tokens.

use std::net::SocketAddr;

use aip_sandbox::{Person, approve};
use anyhow::{Context as _, Result};
use serde::Deserialize;
use url::Url;

use crate::app::{App, REDIRECT_URI, SCOPE};
use crate::browser::Browser;
use crate::connection::{Connection, post};

/// The example of RFC 7636 Appendix B: making a verifier is the app's work and not measured.
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

/// What the app has in the end.
#[derive(Debug, Clone, Deserialize)]
pub struct Tokens {
    /// For calls.
    pub access_token: String,
    /// For the next tokens.
    pub refresh_token: String,
}

/// A sign-in that stands at the pages of the PDS.
pub struct SignIn<'a> {
    /// The PDS's page, where AIP sent the browser.
    pub authorize_url: String,
    address: SocketAddr,
    app: &'a App,
    browser: Browser,
}

/// Signs somebody of the sandbox in. `back_channel` is the app's own connection to AIP.
pub async fn sign_in(
    address: SocketAddr,
    back_channel: &mut Connection,
    app: &App,
    person: &Person,
) -> Result<Tokens> {
    let sign_in = SignIn::begin(address, app, person.handle.as_str()).await?;
    let callback = approve(&sign_in.authorize_url, person).await?;
    sign_in.complete(&callback, back_channel).await
}

impl<'a> SignIn<'a> {
    /// The app sends `handle` to AIP in a new browser, and AIP sends it to the PDS.
    pub async fn begin(address: SocketAddr, app: &'a App, handle: &str) -> Result<Self> {
        let query = serde_urlencoded::to_string([
            ("client_id", app.client_id.as_str()),
            ("redirect_uri", REDIRECT_URI),
            ("response_type", "code"),
            ("scope", SCOPE),
            ("state", "af0ifjsldkj"),
            ("nonce", "n-0S6_WzA2Mj"),
            ("code_challenge", CHALLENGE),
            ("code_challenge_method", "S256"),
        ])?;
        let mut browser = Browser::open(address).await?;
        let sent = browser.get(&format!("/oauth/authorize?{query}")).await?;
        let page = browser.get(sent.location()?).await?;
        let form = [
            ("csrf", page.field("csrf")?),
            ("request", page.field("request")?),
            ("subject", handle),
        ];
        let sent = browser.post("/login", &form).await?;
        Ok(Self {
            authorize_url: sent.location()?.to_owned(),
            address,
            app,
            browser,
        })
    }

    /// The PDS sent the browser back to `callback`; the person consents, and the app gets tokens.
    pub async fn complete(
        mut self,
        callback: &Url,
        back_channel: &mut Connection,
    ) -> Result<Tokens> {
        let callback = &callback[url::Position::BeforePath..];
        let sent = self.browser.get(callback).await?;
        let page = self.browser.get(sent.location()?).await?;
        let form = [
            ("csrf", page.field("csrf")?),
            ("request", page.field("request")?),
            ("decision", "allow"),
        ];
        let sent = self.browser.post("/consent", &form).await?;
        let form = serde_urlencoded::to_string([
            ("grant_type", "authorization_code"),
            ("code", &code(sent.location()?)?),
            ("redirect_uri", REDIRECT_URI),
            ("code_verifier", VERIFIER),
        ])?;
        let host = self.address.to_string();
        let request = post(&host, "/oauth/token", &self.app.authorization, &form);
        let answer = back_channel.exchange(&request).await?;
        Ok(serde_json::from_slice(answer.expect(200)?.body)?)
    }
}

fn code(callback: &str) -> Result<String> {
    Url::parse(callback)?
        .query_pairs()
        .find_map(|(name, value)| (name == "code").then(|| value.into_owned()))
        .with_context(|| format!("no code in {callback}"))
}
