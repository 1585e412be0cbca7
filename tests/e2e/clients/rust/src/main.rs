//! An app with the crate `atproto-oauth-aip`, which was written for AIP v2: one step of its life per run, as
//! JSON in the last line of the output (the crate itself prints the answer of the token endpoint's head).
//!
//! ```text
//! begin HANDLE   pushes a request: `location` for the browser, `state` and `verifier` to be kept
//! finish CODE    with `verifier` in `VERIFIER`: the tokens, and the session at the PDS
//! own            a token of the app itself
//! ```
//!
//! Its settings are `AIP_URL`, `CLIENT_ID`, `CLIENT_SECRET`, `REDIRECT_URI`, `SCOPE`, and `CA_FILE`, a
//! certificate authority to be trusted besides the usual ones.

use std::env;
use std::fs;

use anyhow::{Context as _, Result, bail};
use atproto_oauth::pkce;
use atproto_oauth::workflow::{OAuthRequest, OAuthRequestState, TokenResponse};
use atproto_oauth_aip::resources::{oauth_authorization_server, oauth_protected_resource};
use atproto_oauth_aip::workflow::{
    OAuthClient, client_credentials_token, oauth_complete, oauth_init, session_exchange,
};
use chrono::{TimeDelta, Utc};
use reqwest::{Certificate, Url};
use serde_json::{Value, json};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let answer = match arguments[..] {
        ["begin", handle] => begin(handle).await?,
        ["finish", code] => finish(code).await?,
        ["own"] => own().await?,
        _ => bail!("begin HANDLE, finish CODE, or own"),
    };
    println!("\n{answer}");
    Ok(())
}

fn setting(name: &str) -> Result<String> {
    env::var(name).with_context(|| format!("{name} is not set"))
}

fn client() -> Result<OAuthClient> {
    Ok(OAuthClient {
        client_id: setting("CLIENT_ID")?,
        client_secret: setting("CLIENT_SECRET")?,
        redirect_uri: setting("REDIRECT_URI")?,
    })
}

/// The address of a name of the lab is of this machine; of the port the URL decides.
fn http_client(aip_url: &Url) -> Result<reqwest::Client> {
    let authority = Certificate::from_pem(&fs::read(setting("CA_FILE")?)?)?;
    let host = aip_url.host_str().context("AIP_URL names a host")?;
    Ok(reqwest::Client::builder()
        .add_root_certificate(authority)
        .resolve(host, ([127, 0, 0, 1], 0).into())
        .build()?)
}

async fn begin(handle: &str) -> Result<Value> {
    let (aip_url, client, scope) = (setting("AIP_URL")?, client()?, setting("SCOPE")?);
    let http = http_client(&aip_url.parse()?)?;

    let resource = oauth_protected_resource(&http, &aip_url).await?;
    let server = oauth_authorization_server(&http, &resource.authorization_servers[0]).await?;

    let (verifier, code_challenge) = pkce::generate();
    let (state, _) = pkce::generate();
    let request = OAuthRequestState {
        state,
        nonce: String::new(),
        code_challenge,
        scope,
    };
    let par_url = &server.pushed_authorization_request_endpoint;
    let pushed = oauth_init(&http, &client, Some(handle), par_url, &request).await?;

    let query = [
        ("client_id", &client.client_id),
        ("request_uri", &pushed.request_uri),
    ];
    let location = Url::parse_with_params(&server.authorization_endpoint, query)?;
    Ok(json!({ "location": location.as_str(), "state": request.state, "verifier": verifier }))
}

async fn finish(code: &str) -> Result<Value> {
    let (aip_url, client) = (setting("AIP_URL")?, client()?);
    let http = http_client(&aip_url.parse()?)?;
    let server = oauth_authorization_server(&http, &aip_url).await?;
    let request = kept(setting("VERIFIER")?, server.issuer.clone());

    let token = oauth_complete(&http, &client, &server.token_endpoint, code, &request).await?;
    let session = session_exchange(&http, &aip_url, &token.access_token).await?;

    Ok(json!({
        "token": told(&token),
        "session": {
            "did": session.did, "handle": session.handle, "pds_endpoint": session.pds_endpoint,
            "access_token": session.access_token, "token_type": session.token_type,
            "scopes": session.scopes, "expires_at": session.expires_at,
            "dpop_key": session.dpop_key, "dpop_jwk": session.dpop_jwk,
        },
    }))
}

/// What the crate wants kept of a request; of AIP it needs the verifier alone.
fn kept(pkce_verifier: String, issuer: String) -> OAuthRequest {
    OAuthRequest {
        pkce_verifier,
        authorization_server: issuer.clone(),
        issuer,
        oauth_state: String::new(),
        nonce: String::new(),
        signing_public_key: String::new(),
        dpop_private_key: String::new(),
        created_at: Utc::now(),
        expires_at: Utc::now() + TimeDelta::minutes(10),
    }
}

async fn own() -> Result<Value> {
    let (aip_url, client) = (Url::parse(&setting("AIP_URL")?)?, client()?);
    let http = http_client(&aip_url)?;

    let host = aip_url.authority();
    let token =
        client_credentials_token(&http, host, &client.client_id, &client.client_secret).await?;

    Ok(told(&token))
}

fn told(token: &TokenResponse) -> Value {
    json!({
        "access_token": token.access_token, "token_type": token.token_type, "scope": token.scope,
        "expires_in": token.expires_in, "refresh_token": token.refresh_token,
        "id_token": token.extra.get("id_token"),
    })
}
