//! One complete sign-in, as a person in a new browser and an app go through it: authorization
//! request, sign-in page, the pages of the PDS, callback, consent page, code, tokens.

use std::net::SocketAddr;

use aip_sandbox::{Person, approve};
use anyhow::{Context as _, Result};
use serde::Deserialize;
use url::Url;

use crate::browser::Browser;
use crate::connection::{Connection, post};
use crate::lab::{App, REDIRECT_URI, SCOPE};

/// The example of RFC 7636 Appendix B: making a verifier is the app's work and not measured.
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

/// What the app has in the end.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Tokens {
    pub(crate) access_token: String,
    pub(crate) refresh_token: String,
}

/// Signs `person` in. `back_channel` is the app's own connection to AIP.
pub(crate) async fn sign_in(
    address: SocketAddr,
    back_channel: &mut Connection,
    app: &App,
    person: &Person,
) -> Result<Tokens> {
    let code = consent(address, app, person).await?;
    let form = serde_urlencoded::to_string([
        ("grant_type", "authorization_code"),
        ("code", &code),
        ("redirect_uri", REDIRECT_URI),
        ("code_verifier", VERIFIER),
    ])?;
    let host = address.to_string();
    let request = post(&host, "/oauth/token", &app.authorization, &form);
    let answer = back_channel.exchange(&request).await?;
    Ok(serde_json::from_slice(answer.expect(200)?.body)?)
}

/// What happens in the browser; the code that the app gets.
async fn consent(address: SocketAddr, app: &App, person: &Person) -> Result<String> {
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
        ("subject", person.handle.as_str()),
    ];
    let sent = browser.post("/login", &form).await?;

    let callback = approve(sent.location()?, person).await?;
    let callback = callback[url::Position::BeforePath..].to_owned();

    let sent = browser.get(&callback).await?;
    let page = browser.get(sent.location()?).await?;
    let form = [
        ("csrf", page.field("csrf")?),
        ("request", page.field("request")?),
        ("decision", "allow"),
    ];
    let sent = browser.post("/consent", &form).await?;
    code(sent.location()?)
}

fn code(callback: &str) -> Result<String> {
    Url::parse(callback)?
        .query_pairs()
        .find_map(|(name, value)| (name == "code").then(|| value.into_owned()))
        .with_context(|| format!("no code in {callback}"))
}
