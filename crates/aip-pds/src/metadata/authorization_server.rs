//! `/.well-known/oauth-authorization-server`: what an authorization server can do (RFC 8414,
//! <https://atproto.com/specs/oauth#authorization-servers>).

use std::sync::Arc;

use aip_atproto::{Issuer, Origin};
use aip_base::{Http, excerpt};
use serde::Deserialize;
use url::Url;

use crate::cache::ByteSize;

use super::{MetadataCheck, MetadataError, endpoint, failed, fetch, parse};

/// An authorization server that passed every check of the profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthServer {
    /// Its name, compared character by character.
    pub issuer: Issuer,
    /// Where browsers are sent.
    pub authorization_endpoint: Url,
    /// Where codes and refresh tokens are exchanged.
    pub token_endpoint: Url,
    /// Where authorization requests are pushed (RFC 9126).
    pub par_endpoint: Url,
    /// Where tokens are revoked (RFC 7009).
    pub revocation_endpoint: Option<Url>,
    /// Whether `prompt=create` takes people to its page for new accounts (Initiating User
    /// Registration 1.0 §4).
    pub creates_accounts: bool,
    /// The PDSs it serves, one a line, when it tells.
    protected_resources: Option<Box<str>>,
}

/// The longest origin: a name of 253 characters, a scheme and a port.
const MAX_ORIGIN: usize = 300;

type List = Option<Vec<String>>;

#[derive(Deserialize)]
struct Document {
    issuer: String,
    authorization_endpoint: Option<String>,
    token_endpoint: Option<String>,
    pushed_authorization_request_endpoint: Option<String>,
    revocation_endpoint: Option<String>,
    response_types_supported: List,
    grant_types_supported: List,
    code_challenge_methods_supported: List,
    token_endpoint_auth_methods_supported: List,
    token_endpoint_auth_signing_alg_values_supported: List,
    scopes_supported: List,
    dpop_signing_alg_values_supported: List,
    protected_resources: List,
    prompt_values_supported: List,
    authorization_response_iss_parameter_supported: Option<bool>,
    require_pushed_authorization_requests: Option<bool>,
    client_id_metadata_document_supported: Option<bool>,
    require_request_uri_registration: Option<bool>,
}

impl AuthServer {
    /// Refuses a PDS that this server does not list, if it has a list (RFC 9728 §4).
    pub(crate) fn check_serves(&self, pds: &Origin) -> Result<(), MetadataError> {
        match &self.protected_resources {
            Some(list) if !list.split('\n').any(|resource| resource == pds.as_str()) => {
                Err(failed(
                    &document_url(&self.issuer),
                    MetadataCheck::NotServed(pds.to_string()),
                ))
            }
            _ => Ok(()),
        }
    }
}

/// Fetches and checks the metadata of `issuer`.
pub(crate) async fn fetch_auth_server(
    http: &dyn Http,
    issuer: &Issuer,
) -> Result<AuthServer, MetadataError> {
    let url = document_url(issuer);
    let answer = fetch(http, &url).await?;
    checked(issuer, parse(&url, &answer)?).map_err(|check| failed(&url, check))
}

fn document_url(issuer: &Issuer) -> String {
    issuer
        .origin()
        .join("/.well-known/oauth-authorization-server")
}

fn checked(issuer: &Issuer, document: Document) -> Result<AuthServer, MetadataCheck> {
    if document.issuer != issuer.as_str() {
        return Err(MetadataCheck::Issuer(excerpt(&document.issuer)));
    }
    check_lists(&document)?;
    let switches = [
        (
            "authorization_response_iss_parameter_supported",
            document.authorization_response_iss_parameter_supported == Some(true),
        ),
        (
            "require_pushed_authorization_requests",
            document.require_pushed_authorization_requests == Some(true),
        ),
        (
            "client_id_metadata_document_supported",
            document.client_id_metadata_document_supported == Some(true),
        ),
        (
            "require_request_uri_registration",
            document.require_request_uri_registration != Some(false),
        ),
    ];
    if let Some((field, _)) = switches.into_iter().find(|(_, right)| !right) {
        return Err(MetadataCheck::WrongBoolean(field));
    }
    let at = |field, text: &Option<String>| endpoint(issuer, field, text.as_deref());
    Ok(AuthServer {
        authorization_endpoint: at("authorization_endpoint", &document.authorization_endpoint)?,
        token_endpoint: at("token_endpoint", &document.token_endpoint)?,
        par_endpoint: at(
            "pushed_authorization_request_endpoint",
            &document.pushed_authorization_request_endpoint,
        )?,
        revocation_endpoint: match &document.revocation_endpoint {
            Some(_) => Some(at("revocation_endpoint", &document.revocation_endpoint)?),
            None => None,
        },
        issuer: issuer.clone(),
        creates_accounts: document
            .prompt_values_supported
            .is_some_and(|list| list.iter().any(|it| it == "create")),
        protected_resources: document.protected_resources.map(|list| {
            // Nothing else is the origin of a PDS, so nothing else is looked for.
            let origins = list
                .iter()
                .filter(|it| it.len() <= MAX_ORIGIN && it.starts_with("http"));
            let origins: Vec<&str> = origins.map(String::as_str).collect();
            origins.join("\n").into()
        }),
    })
}

impl ByteSize for Arc<AuthServer> {
    fn bytes(&self) -> usize {
        let revocation = self.revocation_endpoint.as_ref();
        let endpoints = [
            &self.authorization_endpoint,
            &self.token_endpoint,
            &self.par_endpoint,
        ];
        let endpoints = endpoints.into_iter().chain(revocation);
        let list = self
            .protected_resources
            .as_ref()
            .map_or(0, |list| list.len());
        size_of::<AuthServer>()
            + self.issuer.as_str().len()
            + list
            + endpoints.map(|url| url.as_str().len()).sum::<usize>()
    }
}

fn check_lists(document: &Document) -> Result<(), MetadataCheck> {
    const ALGS: &str = "token_endpoint_auth_signing_alg_values_supported";
    let methods = &document.token_endpoint_auth_methods_supported;
    let algs = &document.token_endpoint_auth_signing_alg_values_supported;
    let required: [(&'static str, &List, &[&'static str]); 7] = [
        (
            "response_types_supported",
            &document.response_types_supported,
            &["code"],
        ),
        (
            "grant_types_supported",
            &document.grant_types_supported,
            &["authorization_code", "refresh_token"],
        ),
        (
            "code_challenge_methods_supported",
            &document.code_challenge_methods_supported,
            &["S256"],
        ),
        (
            "token_endpoint_auth_methods_supported",
            methods,
            &["none", "private_key_jwt"],
        ),
        (ALGS, algs, &["ES256"]),
        ("scopes_supported", &document.scopes_supported, &["atproto"]),
        (
            "dpop_signing_alg_values_supported",
            &document.dpop_signing_alg_values_supported,
            &["ES256"],
        ),
    ];
    let has = |list: &List, value: &str| list.iter().flatten().any(|entry| entry == value);
    for (field, list, values) in required {
        if let Some(value) = values.iter().find(|value| !has(list, value)) {
            return Err(MetadataCheck::Lacks { field, value });
        }
    }
    if has(algs, "none") {
        return Err(MetadataCheck::Contains {
            field: ALGS,
            value: "none",
        });
    }
    Ok(())
}
