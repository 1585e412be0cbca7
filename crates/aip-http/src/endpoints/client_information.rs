//! What clients that registered themselves receive (RFC 7591 §3.2.1, RFC 7592 §3).

use aip_jose::JwkSet;
use aip_oauth::client_registration::Registered;
use aip_storage::client::{Client, ClientKeys, GrantType, IdTokenAlg, RedirectUri};
use aip_storage::display_uri::DisplayUri;
use aip_storage::logout::LogoutNotification;
use aip_storage::sector::Sector;
use secrecy::ExposeSecret as _;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::endpoint::Endpoint;
use crate::state::AppState;

/// What a client receives (RFC 7591 §3.2.1, RFC 7592 §3).
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a setting of its own in the registration"
)]
#[derive(Serialize)]
pub(super) struct ClientInformation {
    client_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_secret: Option<String>,
    client_id_issued_at: i64,
    /// Only beside a secret; 0: it does not expire.
    #[serde(skip_serializing_if = "Option::is_none")]
    client_secret_expires_at: Option<i64>,
    /// For the client itself: with the URI it manages its registration.
    #[serde(skip_serializing_if = "Option::is_none")]
    registration_access_token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    registration_client_uri: Option<String>,
    client_name: String,
    application_type: &'static str,
    redirect_uris: Vec<String>,
    post_logout_redirect_uris: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    backchannel_logout_uri: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    backchannel_logout_session_required: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    frontchannel_logout_uri: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    frontchannel_logout_session_required: Option<bool>,
    token_endpoint_auth_method: &'static str,
    grant_types: Vec<&'static str>,
    response_types: &'static [&'static str],
    scope: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    jwks: Option<JwkSet>,
    #[serde(skip_serializing_if = "Option::is_none")]
    jwks_uri: Option<String>,
    id_token_signed_response_alg: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    userinfo_signed_response_alg: Option<&'static str>,
    subject_type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    sector_identifier_uri: Option<String>,
    require_pushed_authorization_requests: bool,
    dpop_bound_access_tokens: bool,
    /// The next five are the operator's to give.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    own_upstream_document: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    client_assertions: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    logo_uri: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tos_uri: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    policy_uri: Option<String>,
}

impl ClientInformation {
    /// What a client is registered with, as the members that it could have sent itself (RFC 7591 §2).
    /// `None` if it cannot be written.
    pub(super) fn metadata(client: &Client) -> Option<Map<String, Value>> {
        let Ok(Value::Object(mut members)) = serde_json::to_value(described(client)) else {
            return None;
        };
        // What the server says, and what follows from the grant types.
        for told in ["client_id", "client_id_issued_at", "response_types"] {
            members.remove(told);
        }
        Some(members)
    }
}

/// What somebody else receives who has changed the client: a secret if that was made anew.
pub(super) fn changed(client: &Client, secret: Option<&str>) -> ClientInformation {
    ClientInformation {
        client_secret: secret.map(str::to_owned),
        client_secret_expires_at: secret.map(|_| 0),
        ..described(client)
    }
}

/// What a client receives that has just been registered or changed.
pub(super) fn registered(app: &AppState, registered: &Registered) -> ClientInformation {
    let secret = registered.secret.as_ref();
    ClientInformation {
        client_secret: secret.map(|it| it.expose_secret().to_owned()),
        client_secret_expires_at: secret.map(|_| 0),
        ..information(app, &registered.client, registered.token.expose_secret())
    }
}

/// What a client receives whose registration access token this is. AIP knows no secret of it.
pub(super) fn information(app: &AppState, client: &Client, token: &str) -> ClientInformation {
    let path = Endpoint::ClientConfiguration.spec().path;
    let path = path.replace("{id}", client.id.as_str());
    ClientInformation {
        registration_access_token: Some(token.to_owned()),
        registration_client_uri: Some(app.issuer().url(&path)),
        ..described(client)
    }
}

fn described(client: &Client) -> ClientInformation {
    let settings = &client.settings;
    let (jwks, jwks_uri) = match &settings.keys {
        None => (None, None),
        Some(ClientKeys::Registered(keys)) => (Some(keys.clone()), None),
        Some(ClientKeys::At(uri)) => (None, Some(uri.to_string())),
    };
    let texts = |uris: &[RedirectUri]| uris.iter().map(ToString::to_string).collect();
    let uri = |told: &LogoutNotification| told.uri.to_string();
    let session = |told: &LogoutNotification| told.session_required;
    let shown_at = DisplayUri::to_string;
    let gives_codes = settings.grant_types.allows(GrantType::AuthorizationCode);
    ClientInformation {
        client_id: client.id.to_string(),
        client_secret: None,
        client_id_issued_at: client.created_at.as_secs(),
        client_secret_expires_at: None,
        registration_access_token: None,
        registration_client_uri: None,
        client_name: settings.name.clone(),
        application_type: settings.application_type.as_str(),
        redirect_uris: texts(&settings.redirect_uris),
        post_logout_redirect_uris: texts(&settings.post_logout_redirect_uris),
        backchannel_logout_uri: settings.backchannel_logout.as_ref().map(uri),
        backchannel_logout_session_required: settings.backchannel_logout.as_ref().map(session),
        frontchannel_logout_uri: settings.frontchannel_logout.as_ref().map(uri),
        frontchannel_logout_session_required: settings.frontchannel_logout.as_ref().map(session),
        token_endpoint_auth_method: settings.auth_method.as_str(),
        grant_types: settings.grant_types.iter().map(GrantType::as_str).collect(),
        response_types: if gives_codes { &["code"] } else { &[] },
        scope: settings.scope.to_string(),
        jwks,
        jwks_uri,
        id_token_signed_response_alg: settings.id_token_alg.as_str(),
        userinfo_signed_response_alg: settings.userinfo_alg.map(IdTokenAlg::as_str),
        subject_type: match settings.pairwise {
            None => "public",
            Some(_) => "pairwise",
        },
        sector_identifier_uri: settings
            .pairwise
            .as_ref()
            .and_then(Sector::document)
            .map(ToString::to_string),
        require_pushed_authorization_requests: settings.require_par,
        dpop_bound_access_tokens: settings.dpop_bound_access_tokens,
        own_upstream_document: settings.own_upstream_document,
        client_assertions: settings.client_assertions,
        logo_uri: settings.display_uris.logo.as_ref().map(shown_at),
        tos_uri: settings.display_uris.tos.as_ref().map(shown_at),
        policy_uri: settings.display_uris.policy.as_ref().map(shown_at),
    }
}
