//! The rules for client metadata, as the reference PDS enforces them
//! (<https://atproto.com/specs/oauth#clients>), and the virtual documents of loopback clients.

use std::collections::BTreeSet;

use aip_jose::JwkSet;
use serde::Deserialize;
use serde_json::Value;
use url::Url;

use super::clients::{Client, ClientKeys, Redirects};
use crate::stage::request::Form;

#[derive(Debug, Deserialize)]
struct Metadata {
    client_id: String,
    redirect_uris: Vec<String>,
    #[serde(default)]
    scope: String,
    #[serde(default)]
    grant_types: Vec<String>,
    #[serde(default)]
    response_types: Vec<String>,
    #[serde(default)]
    token_endpoint_auth_method: String,
    token_endpoint_auth_signing_alg: Option<String>,
    #[serde(default)]
    dpop_bound_access_tokens: bool,
    jwks: Option<JwkSet>,
    jwks_uri: Option<String>,
}

/// The virtual client of `http://localhost?redirect_uri=…&scope=…`
/// (<https://atproto.com/specs/oauth#localhost-client-development>).
pub(crate) fn loopback(id: &str) -> Result<Client, String> {
    let rest = id.strip_prefix("http://localhost").unwrap_or_default();
    let rest = rest.strip_prefix('/').unwrap_or(rest);
    let query = match rest.strip_prefix('?') {
        Some(query) => query,
        None if rest.is_empty() => "",
        None => return Err("Loopback client ID must not have a port or a path".to_owned()),
    };
    let query = Form::parse(query.as_bytes());
    if query
        .pairs()
        .iter()
        .any(|(name, _)| name != "redirect_uri" && name != "scope")
    {
        return Err("Loopback client ID has an unknown parameter".to_owned());
    }
    if query.all("scope").count() > 1 {
        return Err("Loopback client ID has more than one scope".to_owned());
    }
    let scope = scope_words(query.get("scope").unwrap_or("atproto"))?;
    let mut redirects: Vec<&str> = query.all("redirect_uri").collect();
    if redirects.is_empty() {
        redirects = vec!["http://127.0.0.1/", "http://[::1]/"];
    }
    let redirects = redirects
        .into_iter()
        .map(loopback_redirect)
        .collect::<Result<_, _>>()?;
    Ok(Client {
        id: id.into(),
        label: "An application on your device".to_owned(),
        redirects: Redirects::Loopback(redirects),
        scope,
        keys: ClientKeys::Public,
    })
}

fn loopback_redirect(uri: &str) -> Result<Url, String> {
    let refused = || format!("\"{uri}\" is not a loopback redirect URI");
    let url = Url::parse(uri).map_err(|_| refused())?;
    match url.host_str() {
        Some("127.0.0.1" | "[::1]") if url.scheme() == "http" => Ok(url),
        _ => Err(refused()),
    }
}

/// The client that a metadata document describes (draft-ietf-oauth-client-id-metadata-document).
pub(crate) fn from_metadata(document: Value) -> Result<Client, String> {
    let metadata: Metadata = serde_json::from_value(document).map_err(|e| e.to_string())?;
    let must = |holds: bool, rule: &str| if holds { Ok(()) } else { Err(rule.to_owned()) };
    let has = |list: &[String], wanted: &str| list.iter().any(|item| item == wanted);
    must(
        metadata.dpop_bound_access_tokens,
        "dpop_bound_access_tokens must be true",
    )?;
    must(
        !metadata.redirect_uris.is_empty(),
        "redirect_uris must not be empty",
    )?;
    must(
        has(&metadata.grant_types, "authorization_code"),
        "grant_types lacks authorization_code",
    )?;
    must(
        has(&metadata.response_types, "code"),
        "response_types lacks code",
    )?;
    check_host(&metadata.client_id)?;
    for uri in &metadata.redirect_uris {
        check_redirect(uri)?;
    }
    let keys = match (
        metadata.token_endpoint_auth_method.as_str(),
        metadata.jwks,
        metadata.jwks_uri,
    ) {
        ("none", None, None) => ClientKeys::Public,
        ("private_key_jwt", Some(keys), None) => ClientKeys::Inline(keys),
        ("private_key_jwt", None, Some(uri)) => ClientKeys::Remote(uri),
        ("private_key_jwt", ..) => return Err("exactly one of jwks and jwks_uri".to_owned()),
        ("none", ..) => return Err("a public client has no keys".to_owned()),
        _ => return Err("token_endpoint_auth_method must be none or private_key_jwt".to_owned()),
    };
    let signs = metadata.token_endpoint_auth_signing_alg.is_some();
    must(
        signs != matches!(keys, ClientKeys::Public),
        "token_endpoint_auth_signing_alg goes with private_key_jwt",
    )?;
    Ok(Client {
        id: metadata.client_id.as_str().into(),
        label: metadata.client_id,
        redirects: Redirects::Exact(metadata.redirect_uris),
        scope: scope_words(&metadata.scope)?,
        keys,
    })
}

fn scope_words(scope: &str) -> Result<BTreeSet<String>, String> {
    let mut words = BTreeSet::new();
    for word in scope.split_ascii_whitespace() {
        if !words.insert(word.to_owned()) {
            return Err(format!("Duplicate scope \"{word}\""));
        }
    }
    if words.contains("atproto") {
        Ok(words)
    } else {
        Err("scope must contain atproto".to_owned())
    }
}

/// A client is at a public host, over TLS.
fn check_host(client_id: &str) -> Result<(), String> {
    const LOCAL: [&str; 5] = ["test", "local", "localhost", "invalid", "example"];
    let url = Url::parse(client_id).map_err(|_| "Invalid client ID".to_owned())?;
    let Some(url::Host::Domain(host)) = url.host() else {
        return Err("https: URL must not use an IP address".to_owned());
    };
    let Some((_, tld)) = host.rsplit_once('.') else {
        return Err("https: URL must not use a loopback host".to_owned());
    };
    if url.scheme() != "https" {
        return Err("Invalid client ID".to_owned());
    }
    if LOCAL.contains(&tld) {
        return Err("TLD must not be a local hostname".to_owned());
    }
    Ok(())
}

/// `https`, or a custom scheme of a native app; loopback is for loopback clients.
fn check_redirect(uri: &str) -> Result<(), String> {
    let url = Url::parse(uri).map_err(|_| format!("Invalid redirect URI \"{uri}\""))?;
    match url.scheme() {
        "https" => check_host(uri),
        "http" => Err("Loopback redirect URIs are only allowed for native apps".to_owned()),
        _ => Ok(()),
    }
}
