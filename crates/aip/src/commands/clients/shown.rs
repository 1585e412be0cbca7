//! An app as it is printed.

use std::time::Duration;

use aip_base::Timestamp;
use aip_jose::JwkSet;
use aip_storage::client::{Client, ClientKeys, GrantType, IdTokenAlg, RedirectUri};
use aip_storage::display_uri::DisplayUri;
use aip_storage::logout::LogoutNotification;
use aip_storage::sector::Sector;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;

use crate::failure::Failure;
use crate::output::{self, Format, Row};

/// A client as it is printed; the names are those of RFC 7591 where it has one.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a setting of its own in the registration"
)]
#[derive(Serialize)]
pub(super) struct ClientRow {
    client_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_secret: Option<String>,
    client_name: String,
    application_type: &'static str,
    token_endpoint_auth_method: &'static str,
    token_endpoint_auth_method_pinned: bool,
    grant_types: Vec<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    jwks: Option<JwkSet>,
    #[serde(skip_serializing_if = "Option::is_none")]
    jwks_uri: Option<String>,
    redirect_uris: Vec<String>,
    post_logout_redirect_uris: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    backchannel_logout_uri: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    backchannel_logout_session_required: Option<bool>,
    backchannel_logout_format: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    frontchannel_logout_uri: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    frontchannel_logout_session_required: Option<bool>,
    scope: String,
    security_profile: &'static str,
    require_pkce: bool,
    require_pushed_authorization_requests: bool,
    dpop_bound_access_tokens: bool,
    first_party: bool,
    id_token_signed_response_alg: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    userinfo_signed_response_alg: Option<&'static str>,
    access_token_format: &'static str,
    resources: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource_server: Option<String>,
    claims_in_id_token: bool,
    authentication_only: bool,
    own_upstream_document: bool,
    client_assertions: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    logo_uri: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tos_uri: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    policy_uri: Option<String>,
    subject_type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    sector_identifier: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sector_identifier_uri: Option<String>,
    from_document: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    default_atproto_proxy: Option<String>,
    access_token_ttl: u64,
    refresh_token_ttl: u64,
    refresh_grace: u64,
    client_id_issued_at: i64,
    updated_at: i64,
}

impl Row for ClientRow {
    const COLUMNS: &'static [&'static str] = &[
        "client id",
        "name",
        "type",
        "authentication",
        "redirect uris",
    ];
    const NONE: &'static str = "There is no app; `aip clients create` registers one.";

    fn cells(&self) -> Vec<String> {
        vec![
            self.client_id.clone(),
            self.client_name.clone(),
            self.application_type.to_owned(),
            self.token_endpoint_auth_method.to_owned(),
            self.redirect_uris.join(" "),
        ]
    }
}

impl ClientRow {
    /// The client, with its secret if that was just made.
    pub(super) fn of(client: &Client, secret: Option<&SecretString>) -> Self {
        let settings = &client.settings;
        let (jwks, jwks_uri) = match &settings.keys {
            None => (None, None),
            Some(ClientKeys::Registered(keys)) => (Some(keys.clone()), None),
            Some(ClientKeys::At(uri)) => (None, Some(uri.to_string())),
        };
        let seconds = |instant: Timestamp| instant.as_secs();
        let uri = |told: &LogoutNotification| told.uri.to_string();
        let session = |told: &LogoutNotification| told.session_required;
        let shown_at = DisplayUri::to_string;
        Self {
            client_id: client.id.to_string(),
            client_secret: secret.map(|it| it.expose_secret().to_owned()),
            client_name: settings.name.clone(),
            application_type: settings.application_type.as_str(),
            token_endpoint_auth_method: settings.auth_method.as_str(),
            token_endpoint_auth_method_pinned: settings.auth_method_pinned,
            grant_types: settings.grant_types.iter().map(GrantType::as_str).collect(),
            jwks,
            jwks_uri,
            redirect_uris: texts(&settings.redirect_uris),
            post_logout_redirect_uris: texts(&settings.post_logout_redirect_uris),
            backchannel_logout_uri: settings.backchannel_logout.as_ref().map(uri),
            backchannel_logout_session_required: settings.backchannel_logout.as_ref().map(session),
            backchannel_logout_format: settings.backchannel_logout_format.as_str(),
            frontchannel_logout_uri: settings.frontchannel_logout.as_ref().map(uri),
            frontchannel_logout_session_required: settings
                .frontchannel_logout
                .as_ref()
                .map(session),
            scope: settings.scope.to_string(),
            security_profile: settings.security_profile.as_str(),
            require_pkce: settings.require_pkce,
            require_pushed_authorization_requests: settings.require_par,
            dpop_bound_access_tokens: settings.dpop_bound_access_tokens,
            first_party: settings.first_party,
            id_token_signed_response_alg: settings.id_token_alg.as_str(),
            userinfo_signed_response_alg: settings.userinfo_alg.map(IdTokenAlg::as_str),
            access_token_format: settings.access_token_format.as_str(),
            resources: settings.resources.iter().map(ToString::to_string).collect(),
            resource_server: settings.resource_server.as_ref().map(ToString::to_string),
            claims_in_id_token: settings.claims_in_id_token,
            authentication_only: settings.authentication_only,
            own_upstream_document: settings.own_upstream_document,
            client_assertions: settings.client_assertions,
            logo_uri: settings.display_uris.logo.as_ref().map(shown_at),
            tos_uri: settings.display_uris.tos.as_ref().map(shown_at),
            policy_uri: settings.display_uris.policy.as_ref().map(shown_at),
            subject_type: match settings.pairwise {
                None => "public",
                Some(_) => "pairwise",
            },
            sector_identifier: settings.pairwise.as_ref().map(|it| it.id().to_string()),
            sector_identifier_uri: settings
                .pairwise
                .as_ref()
                .and_then(Sector::document)
                .map(ToString::to_string),
            from_document: client.from_document,
            default_atproto_proxy: settings
                .default_atproto_proxy
                .as_ref()
                .map(ToString::to_string),
            access_token_ttl: settings.access_token_ttl.as_secs(),
            refresh_token_ttl: settings.refresh_token_ttl.as_secs(),
            refresh_grace: settings.refresh_grace.as_secs(),
            client_id_issued_at: seconds(client.created_at),
            updated_at: seconds(client.updated_at),
        }
    }
}

/// Prints a client, with its secret if that was just made.
pub(super) fn show(
    client: &Client,
    secret: Option<&SecretString>,
    format: Format,
) -> Result<(), Failure> {
    let shown = ClientRow::of(client, secret);
    match format {
        Format::Json => output::json(&shown)?,
        Format::Table | Format::Wide => output::members(&members(&shown, client))?,
    }
    if secret.is_some() {
        output::print_status("The secret is shown this once; AIP keeps only a hash of it.");
    }
    Ok(())
}

/// What is shown to people, the most wanted first.
fn members(shown: &ClientRow, client: &Client) -> Vec<(&'static str, String)> {
    let text = |text: &str| if text.is_empty() { "-" } else { text }.to_owned();
    let list = |uris: &[String]| text(&uris.join(" "));
    let keys = match (&shown.jwks, &shown.jwks_uri) {
        (Some(keys), _) => format!("{} registered", keys.keys().len()),
        (None, uri) => text(uri.as_deref().unwrap_or_default()),
    };
    let lasts = |seconds| output::human_duration(Duration::from_secs(seconds));
    let mut members = vec![("client_id", shown.client_id.clone())];
    if let Some(secret) = &shown.client_secret {
        members.push(("client_secret", secret.clone()));
    }
    members.extend([
        ("client_name", shown.client_name.clone()),
        ("application_type", text(shown.application_type)),
        (
            "token_endpoint_auth_method",
            text(shown.token_endpoint_auth_method),
        ),
        (
            "token_endpoint_auth_method_pinned",
            shown.token_endpoint_auth_method_pinned.to_string(),
        ),
        ("grant_types", shown.grant_types.join(" ")),
        ("keys", keys),
        ("redirect_uris", list(&shown.redirect_uris)),
        (
            "post_logout_redirect_uris",
            list(&shown.post_logout_redirect_uris),
        ),
        (
            "backchannel_logout_uri",
            logout_uri_text(
                shown.backchannel_logout_uri.as_deref(),
                shown.backchannel_logout_session_required,
            ),
        ),
        (
            "backchannel_logout_format",
            text(shown.backchannel_logout_format),
        ),
        (
            "frontchannel_logout_uri",
            logout_uri_text(
                shown.frontchannel_logout_uri.as_deref(),
                shown.frontchannel_logout_session_required,
            ),
        ),
        ("scope", text(&shown.scope)),
        ("security_profile", text(shown.security_profile)),
        ("require_pkce", shown.require_pkce.to_string()),
        (
            "require_pushed_authorization_requests",
            shown.require_pushed_authorization_requests.to_string(),
        ),
        (
            "dpop_bound_access_tokens",
            shown.dpop_bound_access_tokens.to_string(),
        ),
        ("first_party", shown.first_party.to_string()),
        (
            "id_token_signed_response_alg",
            text(shown.id_token_signed_response_alg),
        ),
        (
            "userinfo_signed_response_alg",
            text(shown.userinfo_signed_response_alg.unwrap_or_default()),
        ),
        ("access_token_format", text(shown.access_token_format)),
        ("resources", list(&shown.resources)),
        (
            "resource_server",
            text(shown.resource_server.as_deref().unwrap_or_default()),
        ),
        ("claims_in_id_token", shown.claims_in_id_token.to_string()),
        ("authentication_only", shown.authentication_only.to_string()),
    ]);
    members.extend(upstream_members(shown));
    members.extend([
        ("subject_type", text(shown.subject_type)),
        (
            "sector_identifier",
            text(shown.sector_identifier.as_deref().unwrap_or_default()),
        ),
        (
            "sector_identifier_uri",
            text(shown.sector_identifier_uri.as_deref().unwrap_or_default()),
        ),
        (
            "default_atproto_proxy",
            text(shown.default_atproto_proxy.as_deref().unwrap_or_default()),
        ),
        ("from_document", shown.from_document.to_string()),
        ("access_token_ttl", lasts(shown.access_token_ttl)),
        ("refresh_token_ttl", lasts(shown.refresh_token_ttl)),
        ("refresh_grace", lasts(shown.refresh_grace)),
        ("created_at", output::instant(client.created_at)),
        ("updated_at", output::instant(client.updated_at)),
    ]);
    members
}

/// What PDSs know of the app, for people.
fn upstream_members(shown: &ClientRow) -> [(&'static str, String); 5] {
    let uri = |uri: &Option<String>| uri.clone().unwrap_or_else(|| "-".to_owned());
    [
        (
            "own_upstream_document",
            shown.own_upstream_document.to_string(),
        ),
        ("client_assertions", shown.client_assertions.to_string()),
        ("logo_uri", uri(&shown.logo_uri)),
        ("tos_uri", uri(&shown.tos_uri)),
        ("policy_uri", uri(&shown.policy_uri)),
    ]
}

/// Where the app is notified of logouts, for people.
fn logout_uri_text(uri: Option<&str>, session_required: Option<bool>) -> String {
    let needs = match session_required {
        Some(true) => " (session required)",
        _ => "",
    };
    format!("{}{needs}", uri.unwrap_or("-"))
}

fn texts(uris: &[RedirectUri]) -> Vec<String> {
    uris.iter().map(|uri| uri.as_str().to_owned()).collect()
}
