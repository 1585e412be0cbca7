//! What can be said of an app on the command line.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use aip_atproto::ServiceRef;
use aip_jose::JwkSet;
use aip_oauth::registration::{ClientSettings, RegistrationError};
use aip_storage::client::{
    AccessTokenFormat, ApplicationType, ClientAuthMethod, ClientKeys, GrantType, GrantTypes,
    IdTokenAlg, JwksUri, RedirectUri, SecurityProfile,
};
use aip_storage::display_uri::{DisplayUri, DisplayUris};
use aip_storage::logout::{LogoutFormat, LogoutNotification};
use anyhow::{Context as _, anyhow};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use strum::IntoEnumIterator;

use crate::failure::Failure;

/// What can be said of an app.
#[derive(Clone, clap::Args)]
pub(super) struct Changes {
    /// The name shown to people
    #[arg(long)]
    name: Option<String>,
    /// Where answers may go; may be repeated
    #[arg(long, value_name = "URI")]
    redirect_uri: Vec<String>,
    /// How the app proves who it is at the token endpoint (by default `client_secret_basic`).
    /// With a secret both `client_secret_basic` and `client_secret_post` work; `private_key_jwt`
    /// needs keys
    #[arg(long, value_name = "METHOD", value_parser = word::<ClientAuthMethod>())]
    auth_method: Option<ClientAuthMethod>,
    /// Whether the secret is taken by the named method only
    #[arg(long, value_name = "BOOL")]
    pin_auth_method: Option<bool>,
    /// The app's public keys: a file with a JWK Set
    #[arg(long, value_name = "FILE", conflicts_with = "jwks_uri")]
    jwks_file: Option<PathBuf>,
    /// Where AIP reads the app's public keys, an https URL; an empty one forgets its keys
    #[arg(long, value_name = "URL")]
    jwks_uri: Option<String>,
    /// What the app may use to get tokens; may be repeated (by default `authorization_code` and
    /// `refresh_token`)
    #[arg(long, value_name = "GRANT", value_parser = word::<GrantType>())]
    grant_type: Vec<GrantType>,
    /// Where browsers may go after a logout; may be repeated; a single empty one clears the list
    #[arg(long, value_name = "URI")]
    post_logout_redirect_uri: Vec<String>,
    /// Where AIP tells the app that a person has signed out (OpenID Connect Back-Channel Logout); an
    /// empty one: nowhere
    #[arg(long, value_name = "URI")]
    backchannel_logout_uri: Option<String>,
    /// Whether the app needs to be told which sign-in has ended (`sid`); false by default. AIP always
    /// says it
    #[arg(long, value_name = "BOOL")]
    backchannel_logout_session_required: Option<bool>,
    /// In which form AIP tells the app: a logout token, or a security event token of the type
    /// `session-revoked` (OpenID CAEP 1.0, RFC 8935); `logout_token` by default
    #[arg(long, value_name = "FORMAT", value_parser = word::<LogoutFormat>())]
    backchannel_logout_format: Option<LogoutFormat>,
    /// Where browsers tell the app that a person has signed out (OpenID Connect Front-Channel
    /// Logout), at the host of a redirect URI; an empty one: nowhere
    #[arg(long, value_name = "URI")]
    frontchannel_logout_uri: Option<String>,
    /// Whether the app needs to be told there by whom (`iss`) and which sign-in has ended (`sid`);
    /// false by default
    #[arg(long, value_name = "BOOL")]
    frontchannel_logout_session_required: Option<bool>,
    /// What the app may ask for at most, space-separated
    /// (by default `openid profile atproto`: who somebody is, and nothing else)
    #[arg(long)]
    scope: Option<String>,
    /// Whether it runs on a server or in a browser, or on the person's device
    #[arg(long, value_name = "TYPE", value_parser = word::<ApplicationType>())]
    application_type: Option<ApplicationType>,
    /// Whether an authorization without PKCE is refused; true by default
    #[arg(long, value_name = "BOOL")]
    require_pkce: Option<bool>,
    /// Whether an authorization request that was not pushed (RFC 9126) is refused; false by default
    #[arg(long, value_name = "BOOL")]
    require_par: Option<bool>,
    /// Whether a token request without a DPoP proof is refused; false by default
    #[arg(long, value_name = "BOOL")]
    dpop_bound_access_tokens: Option<bool>,
    /// Which rules the app is held to: `fapi2` is the FAPI 2.0 Security Profile (`oauth2_1` by
    /// default)
    #[arg(long, value_name = "PROFILE", value_parser = word::<SecurityProfile>())]
    security_profile: Option<SecurityProfile>,
    /// Your own app: people are not asked for consent
    #[arg(long, value_name = "BOOL")]
    first_party: Option<bool>,
    /// How ID tokens are signed; ES256 by default. `EdDSA` needs a key that `aip keys generate` made
    #[arg(long, value_name = "ALG", value_parser = word::<IdTokenAlg>())]
    id_token_alg: Option<IdTokenAlg>,
    /// How answers of userinfo are signed; by default, or with `none`, they are not
    #[arg(long, value_name = "ALG", value_parser = userinfo_alg())]
    userinfo_alg: Option<UserinfoAlg>,
    /// What access tokens look like: `opaque`, or `jwt` (RFC 9068), which resource servers read by
    /// themselves; opaque by default
    #[arg(long, value_name = "FORMAT", value_parser = word::<AccessTokenFormat>())]
    access_token_format: Option<AccessTokenFormat>,
    /// A resource server that the app may ask access tokens for besides AIP, by its identifier
    /// (RFC 8707); may be repeated; a single empty one clears the list
    #[arg(long, value_name = "URI")]
    resource: Vec<String>,
    /// Which resource server the app is itself: it may introspect the access tokens for that
    /// identifier, whoever they were given to, and no others; an empty one: none
    #[arg(long, value_name = "URI")]
    resource_server: Option<String>,
    /// Whether ID tokens carry what userinfo answers with (handle, name, e-mail address), for apps
    /// that look nowhere else, such as Auth.js; false by default
    #[arg(long, value_name = "BOOL")]
    claims_in_id_token: Option<bool>,
    /// Whether the app only gets to know who somebody is: AIP ends its session at the PDS right after
    /// the sign-in, and keeps none; false by default
    #[arg(long, value_name = "BOOL")]
    authentication_only: Option<bool>,
    /// Whether PDSs know AIP by a client document of its own for this app, with the name, the addresses
    /// and the scopes of the app, so that consent and revocation there are per app; false by default.
    /// It counts for sign-ins from now on
    #[arg(long, value_name = "BOOL")]
    own_upstream_document: Option<bool>,
    /// Whether AIP signs client assertions for devices of the app, which talk to PDSs themselves as that
    /// upstream client (AT Protocol proposal 0010; needs the setting `clients.assertion_backend_0010`);
    /// false by default
    #[arg(long, value_name = "BOOL")]
    client_assertions: Option<bool>,
    /// The app's logo, which that document names; an https URL, an empty one: none
    #[arg(long, value_name = "URI")]
    logo_uri: Option<String>,
    /// The app's terms of service, likewise
    #[arg(long, value_name = "URI")]
    tos_uri: Option<String>,
    /// The app's privacy policy, likewise
    #[arg(long, value_name = "URI")]
    policy_uri: Option<String>,
    /// The service that XRPC calls of the app go on to when they name none themselves (the header
    /// `atproto-proxy`), such as `did:web:api.bsky.app#bsky_appview`; an empty one: none
    #[arg(long, value_name = "DID#ID")]
    atproto_proxy: Option<String>,
    /// Life of an access token in seconds, a day at most
    #[arg(long, value_name = "SECONDS")]
    access_token_ttl: Option<u64>,
    /// Life of an unused refresh token in seconds, a year at most
    #[arg(long, value_name = "SECONDS")]
    refresh_token_ttl: Option<u64>,
    /// How long a repeated refresh gets the same answer, 0 to 60 seconds; at most 10 for Bearer
    /// tokens of apps without a secret
    #[arg(long, value_name = "SECONDS")]
    refresh_grace: Option<u64>,
}

/// How answers of userinfo are signed: with an algorithm, or not at all.
#[derive(Clone, Copy)]
struct UserinfoAlg(Option<IdTokenAlg>);

/// One word of a closed list; help and errors name all of them.
fn word<T>() -> impl TypedValueParser<Value = T>
where
    T: IntoEnumIterator + Into<&'static str> + FromStr + Clone + Send + Sync + 'static,
    T::Err: Error + Send + Sync + 'static,
{
    let words = PossibleValuesParser::new(T::iter().map(Into::<&'static str>::into));
    words.try_map(|word| word.parse())
}

/// `none`, or one word of the list of algorithms.
fn userinfo_alg() -> impl TypedValueParser<Value = UserinfoAlg> {
    let algs = IdTokenAlg::iter().map(IdTokenAlg::as_str);
    PossibleValuesParser::new(["none"].into_iter().chain(algs))
        .map(|word| UserinfoAlg(word.parse().ok()))
}

/// What an app may ask for unless the operator says otherwise. A request without `scope` gets all of
/// it, so it is the least that makes sense.
const DEFAULT_SCOPE: &str = "openid profile atproto";

/// The configured lives of tokens.
pub(super) struct Ttls {
    pub(super) access: Duration,
    pub(super) refresh: Duration,
    pub(super) grace: Duration,
}

/// A client of which nothing is said.
pub(super) fn new_client(defaults: &Ttls) -> ClientSettings {
    ClientSettings {
        scope: DEFAULT_SCOPE.parse().unwrap_or_default(),
        access_token_ttl: defaults.access,
        refresh_token_ttl: defaults.refresh,
        refresh_grace: defaults.grace,
        ..ClientSettings::default()
    }
}

impl Changes {
    /// `base` with what was said on the command line.
    pub(super) fn apply_to(self, base: ClientSettings) -> Result<ClientSettings, Failure> {
        let scope = self
            .scope
            .map(|text| text.parse())
            .transpose()
            .map_err(Failure::usage)?;
        let seconds = |said: Option<u64>, base| said.map_or(base, Duration::from_secs);
        let list = |said: Vec<String>, base| match said.as_slice() {
            [] => Ok(base),
            [one] if one.is_empty() => Ok(Vec::new()),
            said => {
                let parsed: Result<Vec<RedirectUri>, _> =
                    said.iter().map(|uri| uri.parse()).collect();
                parsed.map_err(|error| Failure::usage(RegistrationError::from(error)))
            }
        };
        let grant_types = match self.grant_type.as_slice() {
            [] => base.grant_types,
            said => GrantTypes::try_from(said.to_vec()).map_err(Failure::usage)?,
        };
        let resources = match self.resource.as_slice() {
            [] => base.resources,
            said => said.join(" ").parse().map_err(Failure::usage)?,
        };
        let resource_server = match self.resource_server.as_deref() {
            None => base.resource_server,
            Some("") => None,
            Some(said) => Some(said.parse().map_err(Failure::usage)?),
        };
        let default_atproto_proxy = match self.atproto_proxy.as_deref() {
            None => base.default_atproto_proxy,
            Some("") => None,
            Some(said) => Some(atproto_proxy(said)?),
        };
        Ok(ClientSettings {
            name: self.name.unwrap_or(base.name),
            application_type: self.application_type.unwrap_or(base.application_type),
            auth_method: self.auth_method.unwrap_or(base.auth_method),
            auth_method_pinned: self.pin_auth_method.unwrap_or(base.auth_method_pinned),
            keys: keys(
                self.jwks_file.as_deref(),
                self.jwks_uri.as_deref(),
                base.keys,
            )?,
            grant_types,
            redirect_uris: list(self.redirect_uri, base.redirect_uris)?,
            post_logout_redirect_uris: list(
                self.post_logout_redirect_uri,
                base.post_logout_redirect_uris,
            )?,
            backchannel_logout: notification(
                self.backchannel_logout_uri.as_deref(),
                self.backchannel_logout_session_required,
                base.backchannel_logout,
                "--backchannel-logout-uri",
            )?,
            backchannel_logout_format: self
                .backchannel_logout_format
                .unwrap_or(base.backchannel_logout_format),
            frontchannel_logout: notification(
                self.frontchannel_logout_uri.as_deref(),
                self.frontchannel_logout_session_required,
                base.frontchannel_logout,
                "--frontchannel-logout-uri",
            )?,
            scope: scope.unwrap_or(base.scope),
            security_profile: self.security_profile.unwrap_or(base.security_profile),
            require_pkce: self.require_pkce.unwrap_or(base.require_pkce),
            require_par: self.require_par.unwrap_or(base.require_par),
            dpop_bound_access_tokens: self
                .dpop_bound_access_tokens
                .unwrap_or(base.dpop_bound_access_tokens),
            first_party: self.first_party.unwrap_or(base.first_party),
            id_token_alg: self.id_token_alg.unwrap_or(base.id_token_alg),
            userinfo_alg: self.userinfo_alg.map_or(base.userinfo_alg, |it| it.0),
            access_token_format: self.access_token_format.unwrap_or(base.access_token_format),
            resources,
            resource_server,
            claims_in_id_token: self.claims_in_id_token.unwrap_or(base.claims_in_id_token),
            authentication_only: self.authentication_only.unwrap_or(base.authentication_only),
            own_upstream_document: self
                .own_upstream_document
                .unwrap_or(base.own_upstream_document),
            client_assertions: self.client_assertions.unwrap_or(base.client_assertions),
            display_uris: display_uris(
                [&self.logo_uri, &self.tos_uri, &self.policy_uri],
                base.display_uris,
            )?,
            pairwise: base.pairwise,
            default_atproto_proxy,
            access_token_ttl: seconds(self.access_token_ttl, base.access_token_ttl),
            refresh_token_ttl: seconds(self.refresh_token_ttl, base.refresh_token_ttl),
            refresh_grace: seconds(self.refresh_grace, base.refresh_grace),
        })
    }
}

/// Where the app shows logo, terms and policy from now on.
fn display_uris(
    [logo, tos, policy]: [&Option<String>; 3],
    base: DisplayUris,
) -> Result<DisplayUris, Failure> {
    Ok(DisplayUris {
        logo: shown_at(logo.as_deref(), base.logo)?,
        tos: shown_at(tos.as_deref(), base.tos)?,
        policy: shown_at(policy.as_deref(), base.policy)?,
    })
}

/// Where the app shows something of itself from now on.
fn shown_at(said: Option<&str>, base: Option<DisplayUri>) -> Result<Option<DisplayUri>, Failure> {
    match said {
        None => Ok(base),
        Some("") => Ok(None),
        Some(said) => said.parse().map(Some).map_err(Failure::usage),
    }
}

/// The service that was named.
fn atproto_proxy(said: &str) -> Result<ServiceRef, Failure> {
    said.parse().map_err(|error| {
        Failure::usage(anyhow!(
            "--atproto-proxy `{said}` names no service: {error}"
        ))
    })
}

/// Where the app is told of logouts from now on.
fn notification(
    uri: Option<&str>,
    session_required: Option<bool>,
    base: Option<LogoutNotification>,
    flag: &str,
) -> Result<Option<LogoutNotification>, Failure> {
    let before = base.as_ref().is_some_and(|it| it.session_required);
    let uri = match uri {
        None => base.map(|it| it.uri),
        Some("") => None,
        Some(uri) => Some(uri.parse().map_err(Failure::usage)?),
    };
    match (uri, session_required) {
        (None, Some(true)) => Err(Failure::usage(anyhow!(
            "whether an app needs a session id says nothing of an app that is told of no logouts: add {flag}"
        ))),
        (uri, said) => Ok(uri.map(|uri| LogoutNotification {
            uri,
            session_required: said.unwrap_or(before),
        })),
    }
}

/// The keys that were named, or those of before.
fn keys(
    file: Option<&Path>,
    uri: Option<&str>,
    base: Option<ClientKeys>,
) -> Result<Option<ClientKeys>, Failure> {
    if let Some(path) = file {
        let shown = path.display();
        let json = std::fs::read(path).with_context(|| format!("cannot read {shown}"))?;
        let keys = JwkSet::from_json(&json).map_err(|error| {
            Failure::usage(anyhow!("{shown} is no set of public keys: {error}"))
        })?;
        return Ok(Some(ClientKeys::Registered(keys)));
    }
    match uri {
        None => Ok(base),
        Some("") => Ok(None),
        Some(uri) => {
            let uri: JwksUri = uri.parse().map_err(Failure::usage)?;
            Ok(Some(ClientKeys::At(uri)))
        }
    }
}
