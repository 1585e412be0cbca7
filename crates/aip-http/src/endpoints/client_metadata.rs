//! The metadata of clients that register themselves (RFC 7591 §2, OpenID Connect Registration §2),
//! as they send it.
//!
//! Members that AIP does not know are ignored and not repeated in the answer, as both
//! specifications have it. Those that it knows and cannot do are refused: whoever asks for an
//! encrypted token must not be given a plain one. The addresses of logo, terms and policy are
//! checked and not kept: AIP shows nothing that an app says of itself but its name.

use aip_jose::{JwkSet, PublicJwk};
use aip_oauth::client_auth::ASSERTION_ALGS;
use aip_oauth::pairwise::sector_of_host;
use aip_oauth::registration::ClientSettings;
use aip_storage::client::{
    ApplicationType, ClientAuthMethod, ClientKeys, GrantType, GrantTypes, IdTokenAlg, JwksUri,
    RedirectUri,
};
use aip_storage::logout::LogoutNotification;
use aip_storage::sector::{Sector, SectorError};
use serde::Deserialize;
use serde_json::Value;
use url::{Host, Url};

use crate::api_error::ApiError;

/// What a client may ask for that names no scope. A request without `scope` gets all of it, so it
/// is who somebody is, and nothing else.
const DEFAULT_SCOPE: &str = "openid profile email offline_access atproto";

/// The same of a client with pairwise subjects, which gets no more to know of them.
pub(super) const PAIRWISE_SCOPE: &str = "openid email offline_access";

/// The name of an app that has none, and no host to call it by.
const NO_NAME: &str = "App without a name";

/// What a client sends.
#[derive(Deserialize)]
pub(super) struct ClientMetadata {
    pub(super) redirect_uris: Option<Vec<String>>,
    post_logout_redirect_uris: Option<Vec<String>>,
    backchannel_logout_uri: Option<String>,
    backchannel_logout_session_required: Option<bool>,
    frontchannel_logout_uri: Option<String>,
    frontchannel_logout_session_required: Option<bool>,
    token_endpoint_auth_method: Option<String>,
    token_endpoint_auth_signing_alg: Option<String>,
    pub(super) grant_types: Option<Vec<String>>,
    pub(super) response_types: Option<Vec<String>>,
    pub(super) application_type: Option<String>,
    pub(super) client_name: Option<String>,
    pub(super) scope: Option<String>,
    jwks: Option<JwkSet>,
    jwks_uri: Option<String>,
    id_token_signed_response_alg: Option<String>,
    pub(super) subject_type: Option<String>,
    require_pushed_authorization_requests: Option<bool>,
    dpop_bound_access_tokens: Option<bool>,
    client_uri: Option<String>,
    logo_uri: Option<String>,
    policy_uri: Option<String>,
    tos_uri: Option<String>,
    initiate_login_uri: Option<String>,
    software_statement: Option<Value>,
    pub(super) sector_identifier_uri: Option<String>,
    id_token_encrypted_response_alg: Option<Value>,
    userinfo_signed_response_alg: Option<String>,
    userinfo_encrypted_response_alg: Option<Value>,
    introspection_encrypted_response_alg: Option<Value>,
    authorization_signed_response_alg: Option<Value>,
    authorization_encrypted_response_alg: Option<Value>,
    require_signed_request_object: Option<bool>,
    request_object_signing_alg: Option<Value>,
    request_object_encryption_alg: Option<Value>,
    request_uris: Option<Vec<Value>>,
    tls_client_certificate_bound_access_tokens: Option<bool>,
    // What a client sends back that was told these (RFC 7592 §2.2).
    pub(super) client_id: Option<String>,
    pub(super) client_secret: Option<String>,
    pub(super) registration_access_token: Option<Value>,
    pub(super) registration_client_uri: Option<Value>,
    pub(super) client_secret_expires_at: Option<Value>,
    pub(super) client_id_issued_at: Option<Value>,
}

/// 400 `invalid_client_metadata` (RFC 7591 §3.2.2).
pub(super) fn invalid(words: impl Into<String>) -> ApiError {
    ApiError::caller(
        http::StatusCode::BAD_REQUEST,
        "invalid_client_metadata",
        words,
    )
}

fn invalid_redirect(words: impl Into<String>) -> ApiError {
    ApiError::caller(http::StatusCode::BAD_REQUEST, "invalid_redirect_uri", words)
}

/// The settings with `require_par` and `dpop_bound_access_tokens` off: metadata can only switch them on, and a
/// request that names all metadata may leave them out to switch them off.
pub(super) fn without_demands(client: ClientSettings) -> ClientSettings {
    ClientSettings {
        require_par: false,
        dpop_bound_access_tokens: false,
        ..client
    }
}

impl ClientMetadata {
    /// Reads a body.
    pub(super) fn parse(json: &[u8]) -> Result<Self, ApiError> {
        serde_json::from_slice(json).map_err(|error| {
            invalid(format!(
                "the body is no JSON object of client metadata: {error}"
            ))
        })
    }

    /// The client that it describes; `base` is one that says nothing of itself. What is demanded of
    /// that one stays demanded. `development` is an AIP on loopback, whose clients may be there, too.
    pub(super) fn settings(
        self,
        base: ClientSettings,
        development: bool,
    ) -> Result<ClientSettings, ApiError> {
        self.refuse_unsupported()?;
        let auth_method = self.auth_method(base.auth_method)?;
        let grant_types = self.grant_types()?.unwrap_or(base.grant_types);
        self.check_response_types(&grant_types)?;
        let redirect_uris = parsed(self.redirect_uris, "redirect_uris", invalid_redirect)?;
        let post_logout_redirect_uris = parsed(
            self.post_logout_redirect_uris,
            "post_logout_redirect_uris",
            invalid,
        )?;
        let backchannel_logout = notification(
            "backchannel_logout_uri",
            self.backchannel_logout_uri,
            self.backchannel_logout_session_required,
            development,
        )?;
        let frontchannel_logout = notification(
            "frontchannel_logout_uri",
            self.frontchannel_logout_uri,
            self.frontchannel_logout_session_required,
            development,
        )?;
        let jwks = match &self.token_endpoint_auth_signing_alg {
            Some(alg) => Some(only_of(self.jwks, alg)?),
            None => self.jwks,
        };
        let keys = keys(jwks, self.jwks_uri, development)?;
        if auth_method == ClientAuthMethod::PrivateKeyJwt && keys.is_none() {
            return Err(invalid("`private_key_jwt` needs `jwks` or `jwks_uri`"));
        }
        let name = self.client_name.filter(|name| !name.trim().is_empty());
        let name = name.unwrap_or_else(|| name_of(&redirect_uris));
        let pairwise = sector(
            self.subject_type.as_deref(),
            self.sector_identifier_uri.as_deref(),
            base.pairwise.clone(),
            &redirect_uris,
            development,
        )?;
        let default_scope = match pairwise {
            None => DEFAULT_SCOPE,
            Some(_) => PAIRWISE_SCOPE,
        };
        let scope = self.scope.as_deref().unwrap_or(default_scope);
        let scope = scope
            .parse()
            .map_err(|error| invalid(format!("`scope`: {error}")))?;
        let application_type = match self.application_type.as_deref() {
            None => base.application_type,
            Some(given) => word(given, "application_type")?,
        };
        let id_token_alg = match self.id_token_signed_response_alg.as_deref() {
            None => base.id_token_alg,
            Some(given) => word(given, "id_token_signed_response_alg")?,
        };
        let userinfo_alg = match self.userinfo_signed_response_alg.as_deref() {
            None => base.userinfo_alg,
            Some(given) => Some(word(given, "userinfo_signed_response_alg")?),
        };
        Ok(ClientSettings {
            name,
            application_type,
            auth_method,
            keys,
            grant_types,
            redirect_uris,
            post_logout_redirect_uris,
            backchannel_logout,
            frontchannel_logout,
            scope,
            require_par: base.require_par
                || self.require_pushed_authorization_requests == Some(true),
            dpop_bound_access_tokens: base.dpop_bound_access_tokens
                || self.dpop_bound_access_tokens == Some(true),
            id_token_alg,
            userinfo_alg,
            pairwise,
            ..base
        })
    }

    fn auth_method(&self, default: ClientAuthMethod) -> Result<ClientAuthMethod, ApiError> {
        let method = match self.token_endpoint_auth_method.as_deref() {
            None => default,
            Some(given) => word(given, "token_endpoint_auth_method")?,
        };
        if let Some(alg) = &self.token_endpoint_auth_signing_alg
            && ASSERTION_ALGS.iter().all(|known| known.as_str() != alg)
        {
            return Err(unsupported("token_endpoint_auth_signing_alg", alg));
        }
        Ok(method)
    }

    fn grant_types(&self) -> Result<Option<GrantTypes>, ApiError> {
        let Some(given) = &self.grant_types else {
            return Ok(None);
        };
        let grants: Result<Vec<GrantType>, _> =
            given.iter().map(|it| word(it, "grant_types")).collect();
        let grants = GrantTypes::try_from(grants?);
        grants.map(Some).map_err(|error| invalid(error.to_string()))
    }

    /// The implicit flows are not there, and a code needs its grant (RFC 7591 §2.1).
    fn check_response_types(&self, grants: &GrantTypes) -> Result<(), ApiError> {
        let Some(given) = &self.response_types else {
            return Ok(());
        };
        if let Some(other) = given.iter().find(|it| *it != "code") {
            return Err(unsupported("response_types", other));
        }
        if given.is_empty() == grants.allows(GrantType::AuthorizationCode) {
            return Err(invalid(
                "the response type `code` and the grant type `authorization_code` come together",
            ));
        }
        Ok(())
    }

    fn refuse_unsupported(&self) -> Result<(), ApiError> {
        if self.software_statement.is_some() {
            return Err(ApiError::caller(
                http::StatusCode::BAD_REQUEST,
                "unapproved_software_statement",
                "this server takes no software statements",
            ));
        }
        let not_done = [
            (
                "id_token_encrypted_response_alg",
                &self.id_token_encrypted_response_alg,
            ),
            (
                "userinfo_encrypted_response_alg",
                &self.userinfo_encrypted_response_alg,
            ),
            (
                "introspection_encrypted_response_alg",
                &self.introspection_encrypted_response_alg,
            ),
            (
                "authorization_signed_response_alg",
                &self.authorization_signed_response_alg,
            ),
            (
                "authorization_encrypted_response_alg",
                &self.authorization_encrypted_response_alg,
            ),
            (
                "request_object_signing_alg",
                &self.request_object_signing_alg,
            ),
            (
                "request_object_encryption_alg",
                &self.request_object_encryption_alg,
            ),
        ];
        if let Some((name, _)) = not_done.iter().find(|(_, value)| value.is_some()) {
            return Err(invalid(format!("`{name}` is not supported")));
        }
        if self.request_uris.as_ref().is_some_and(|it| !it.is_empty()) {
            return Err(invalid("`request_uris` is not supported"));
        }
        let demands = [
            (
                "tls_client_certificate_bound_access_tokens",
                self.tls_client_certificate_bound_access_tokens,
            ),
            (
                "require_signed_request_object",
                self.require_signed_request_object,
            ),
        ];
        if let Some((name, _)) = demands.iter().find(|(_, wanted)| *wanted == Some(true)) {
            return Err(invalid(format!("`{name}` is not supported")));
        }
        let addresses = [
            ("client_uri", &self.client_uri),
            ("logo_uri", &self.logo_uri),
            ("policy_uri", &self.policy_uri),
            ("tos_uri", &self.tos_uri),
            ("initiate_login_uri", &self.initiate_login_uri),
        ];
        for (name, address) in addresses {
            if address.as_deref().is_some_and(|it| !is_web_address(it)) {
                return Err(invalid(format!("`{name}` is no http or https URL")));
            }
        }
        Ok(())
    }
}

/// One word of a closed list.
trait Word: std::str::FromStr {}

impl Word for ApplicationType {}
impl Word for ClientAuthMethod {}
impl Word for GrantType {}
impl Word for IdTokenAlg {}

fn word<T: Word>(given: &str, member: &str) -> Result<T, ApiError> {
    given.parse().map_err(|_| unsupported(member, given))
}

fn unsupported(member: &str, given: &str) -> ApiError {
    let shown: String = given.chars().take(100).collect();
    invalid(format!("`{member}`: `{shown}` is not supported"))
}

fn parsed(
    uris: Option<Vec<String>>,
    member: &str,
    refused: fn(String) -> ApiError,
) -> Result<Vec<RedirectUri>, ApiError> {
    let uris = uris.unwrap_or_default();
    let parsed: Result<_, _> = uris.iter().map(|uri| uri.parse()).collect();
    parsed.map_err(|error| refused(format!("`{member}`: {error}")))
}

/// The keys, each for the algorithm `alg`; refused if one cannot be used with it. `alg` is not stored: that no
/// other algorithm is accepted follows from the keys.
fn only_of(jwks: Option<JwkSet>, alg: &str) -> Result<JwkSet, ApiError> {
    let all = jwks.unwrap_or_default();
    let of_alg = all.keys().iter().filter(|key| key.alg().as_str() == alg);
    let kept: Vec<_> = of_alg.cloned().collect();
    let is_kept = |key: &PublicJwk| kept.iter().any(|it| it.thumbprint() == key.thumbprint());
    if kept.is_empty() || !all.keys().iter().all(is_kept) {
        return Err(invalid(
            "`token_endpoint_auth_signing_alg` needs `jwks` with keys of that algorithm only",
        ));
    }
    Ok(JwkSet::new(kept))
}

fn keys(
    jwks: Option<JwkSet>,
    uri: Option<String>,
    development: bool,
) -> Result<Option<ClientKeys>, ApiError> {
    match (jwks, uri) {
        (None, None) => Ok(None),
        (Some(keys), None) => Ok(Some(ClientKeys::Registered(keys))),
        (None, Some(uri)) => {
            let parsed: JwksUri = uri
                .parse()
                .map_err(|error| invalid(format!("`jwks_uri`: {error}")))?;
            if !development && !names_public_host(&uri) {
                return Err(invalid("`jwks_uri` is no address of the Internet"));
            }
            Ok(Some(ClientKeys::At(parsed)))
        }
        // RFC 7591 §2: "The `jwks_uri` and `jwks` parameters MUST NOT both be present".
        (Some(_), Some(_)) => Err(invalid("`jwks` and `jwks_uri` exclude each other")),
    }
}

/// The sector of a client, if it knows people by pairwise subjects (OpenID Connect Core §8). Whoever
/// names a sector and no subject type means those.
fn sector(
    subject_type: Option<&str>,
    uri: Option<&str>,
    base: Option<Sector>,
    redirect_uris: &[RedirectUri],
    development: bool,
) -> Result<Option<Sector>, ApiError> {
    match (subject_type, uri) {
        (None, None) => Ok(base),
        (Some("public"), None) => Ok(None),
        (Some("public"), Some(_)) => Err(invalid(
            "`sector_identifier_uri` is for the `subject_type` `pairwise`",
        )),
        (Some("pairwise"), None) => {
            let sector = sector_of_host(redirect_uris);
            sector.map(Some).map_err(|error| invalid(error.to_string()))
        }
        (Some("pairwise") | None, Some(uri)) => {
            if !development && !names_public_host(uri) {
                let words = "`sector_identifier_uri` is no address of the Internet";
                return Err(invalid(words));
            }
            let parsed = uri.parse().map(Sector::Document).map(Some);
            parsed.map_err(|error: SectorError| invalid(error.to_string()))
        }
        (Some(other), _) => Err(unsupported("subject_type", other)),
    }
}

/// Where the client is notified of logouts. Whether it needs a `sid` means nothing without an address.
fn notification(
    member: &str,
    uri: Option<String>,
    session_required: Option<bool>,
    development: bool,
) -> Result<Option<LogoutNotification>, ApiError> {
    let Some(uri) = uri else { return Ok(None) };
    if !development && !names_public_host(&uri) {
        return Err(invalid(format!("`{member}` is no address of the Internet")));
    }
    let uri = uri
        .parse()
        .map_err(|error| invalid(format!("`{member}`: {error}")))?;
    Ok(Some(LogoutNotification {
        uri,
        session_required: session_required == Some(true),
    }))
}

/// Whether the host of an address can be one of the Internet, as far as its name tells. What the
/// name leads to is checked each time that it is asked (`aip-outbound`).
fn names_public_host(uri: &str) -> bool {
    let url = Url::parse(uri).ok();
    let host = url.as_ref().and_then(Url::host_str).unwrap_or_default();
    let top = host.trim_end_matches('.').rsplit_once('.');
    // RFC 6761, RFC 6762, RFC 9476 and the reserved `internal`.
    top.is_some_and(|(_, top)| !matches!(top, "localhost" | "local" | "internal" | "alt"))
}

fn is_web_address(text: &str) -> bool {
    let url = Url::parse(text).ok();
    url.is_some_and(|url| {
        matches!(url.scheme(), "http" | "https") && url.username().is_empty() && url.has_host()
    })
}

/// The host that people are sent to, for want of a name.
fn name_of(redirects: &[RedirectUri]) -> String {
    let first = redirects.first().map(RedirectUri::as_str);
    let host = first
        .and_then(|uri| Url::parse(uri).ok())
        .and_then(|url| match url.host() {
            Some(Host::Domain(name)) => Some(name.chars().take(100).collect()),
            _ => None,
        });
    host.unwrap_or_else(|| NO_NAME.to_owned())
}

#[cfg(test)]
mod tests {
    use aip_jose::{Alg, SigningKey};
    use serde_json::json;

    use super::*;

    #[test]
    fn addresses_of_this_network_are_told_by_their_name() {
        for uri in [
            "https://localhost/keys",
            "https://localhost./keys",
            "https://intranet/keys",
            "https://keys.localhost/",
            "https://keys.internal/",
            "https://printer.local/",
        ] {
            assert!(!names_public_host(uri), "{uri}");
        }
        assert!(names_public_host("https://app.example/keys"));
    }

    #[test]
    fn a_named_algorithm_is_that_of_every_key_that_names_none() {
        let rsa = SigningKey::generate(Alg::Rs256, None).unwrap();
        let mut rsa = serde_json::to_value(rsa.public()).unwrap();
        rsa.as_object_mut().unwrap().remove("alg");
        let ec = SigningKey::generate(Alg::Es256, None).unwrap();
        let ec = serde_json::to_value(ec.public()).unwrap();
        let set = |keys: &[&Value]| -> Option<JwkSet> {
            serde_json::from_value(json!({ "keys": keys })).ok()
        };
        for alg in ["RS256", "PS256"] {
            let kept = only_of(set(&[&rsa]), alg).unwrap();
            let algs: Vec<_> = kept.keys().iter().map(|key| key.alg().as_str()).collect();
            assert_eq!(algs, [alg]);
            assert!(only_of(set(&[&rsa, &ec]), alg).is_err());
            assert!(only_of(set(&[]), alg).is_err());
            assert!(only_of(None, alg).is_err());
        }
        assert!(only_of(set(&[&ec]), "ES256").is_ok());
        assert!(only_of(set(&[&rsa, &ec]), "ES256").is_err());
    }

    #[test]
    fn what_is_shown_to_people_is_on_the_web() {
        for text in [
            "javascript:alert(1)",
            "data:text/html,x",
            "file:///etc/passwd",
            "https://me@app.example/",
            "logo.png",
            "",
        ] {
            assert!(!is_web_address(text), "{text}");
        }
        assert!(is_web_address("https://app.example/logo.png"));
    }

    #[test]
    fn an_app_without_a_name_is_called_by_its_host() {
        let redirects = |uri: &str| vec![uri.parse::<RedirectUri>().unwrap()];
        assert_eq!(name_of(&redirects("https://app.example/cb")), "app.example");
        assert_eq!(name_of(&redirects("http://127.0.0.1/cb")), NO_NAME);
        assert_eq!(name_of(&redirects("com.example.app:/cb")), NO_NAME);
        assert_eq!(name_of(&[]), NO_NAME);
    }
}
