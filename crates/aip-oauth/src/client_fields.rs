//! The fields that a client is registered with, by their names in RFC 7591 §2, OpenID Connect
//! Registration §2 and here: one row for each. What `aip clients` shows, what an app is told of its own
//! registration and what an administrator may give are read from this table. How an app itself says
//! them is `client_metadata` of `aip-http`, and an operator the flags of `aip clients`.

use std::time::Duration;

use aip_jose::JwkSet;
use aip_storage::client::{ClientKeys, ClientSettings, GrantType, IdTokenAlg, RedirectUri};
use aip_storage::display_uri::DisplayUri;
use aip_storage::logout::LogoutNotification;
use aip_storage::sector::Sector;
use serde_json::{Value, json};

use FieldAudience::{App, AppIfGiven, Operator};

/// Who reads a field of a client's registration, besides the operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldAudience {
    /// The app, which may say it itself when it registers.
    App,
    /// The app, if an operator or an administrator has given it, as only they may.
    AppIfGiven,
    /// Nobody else.
    Operator,
}

/// The value of a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FieldValue {
    /// A boolean.
    Flag(bool),
    /// A string.
    Text(String),
    /// An array of strings.
    List(Vec<String>),
    /// A number of seconds.
    Seconds(Duration),
    /// A JWK Set (RFC 7517 §5).
    Keys(JwkSet),
}

/// A field of a client's registration.
pub struct ClientField {
    /// Its name as a member of JSON.
    pub name: &'static str,
    /// Who reads it.
    pub audience: FieldAudience,
    read: fn(&ClientSettings) -> Option<FieldValue>,
    give: Option<Give>,
}

/// Takes a value for a field from JSON, or takes the field away. `Err`: what is wrong with the value.
type Give = fn(&mut ClientSettings, Option<&Value>) -> Result<(), String>;

/// All fields, as they are shown to operators.
pub const CLIENT_FIELDS: &[ClientField] = &[
    field("client_name", App, |it| some(it.name.clone())),
    field("application_type", App, |it| {
        some(it.application_type.as_str())
    }),
    field("token_endpoint_auth_method", App, |it| {
        some(it.auth_method.as_str())
    }),
    field("token_endpoint_auth_method_pinned", Operator, |it| {
        some(it.auth_method_pinned)
    }),
    field("grant_types", App, |it| {
        let names = it.grant_types.iter().map(GrantType::as_str);
        some(names.map(str::to_owned).collect::<Vec<_>>())
    }),
    field("jwks", App, |it| match &it.keys {
        Some(ClientKeys::Registered(keys)) => Some(FieldValue::Keys(keys.clone())),
        Some(ClientKeys::At(_)) | None => None,
    }),
    field("jwks_uri", App, |it| match &it.keys {
        Some(ClientKeys::At(uri)) => some(uri.as_str()),
        Some(ClientKeys::Registered(_)) | None => None,
    }),
    field("redirect_uris", App, |it| uris(&it.redirect_uris)),
    field("post_logout_redirect_uris", App, |it| {
        uris(&it.post_logout_redirect_uris)
    }),
    field("backchannel_logout_uri", App, |it| {
        logout_uri(it.backchannel_logout.as_ref())
    }),
    field("backchannel_logout_session_required", App, |it| {
        session_required(it.backchannel_logout.as_ref())
    }),
    field("backchannel_logout_format", Operator, |it| {
        some(it.backchannel_logout_format.as_str())
    }),
    field("frontchannel_logout_uri", App, |it| {
        logout_uri(it.frontchannel_logout.as_ref())
    }),
    field("frontchannel_logout_session_required", App, |it| {
        session_required(it.frontchannel_logout.as_ref())
    }),
    field("scope", App, |it| some(it.scope.to_string())),
    field("security_profile", Operator, |it| {
        some(it.security_profile.as_str())
    }),
    field("require_pkce", Operator, |it| some(it.require_pkce)),
    field("require_pushed_authorization_requests", App, |it| {
        some(it.require_par)
    }),
    field("dpop_bound_access_tokens", App, |it| {
        some(it.dpop_bound_access_tokens)
    }),
    field("first_party", Operator, |it| some(it.first_party)),
    field("id_token_signed_response_alg", App, |it| {
        some(it.id_token_alg.as_str())
    }),
    field("userinfo_signed_response_alg", App, |it| {
        it.userinfo_alg.map(IdTokenAlg::as_str).map(Into::into)
    }),
    field("access_token_format", Operator, |it| {
        some(it.access_token_format.as_str())
    }),
    field("resources", Operator, |it| {
        let names = it.resources.iter().map(ToString::to_string);
        some(names.collect::<Vec<_>>())
    }),
    field("resource_server", Operator, |it| {
        it.resource_server.as_ref().map(|it| it.as_str().into())
    }),
    field("claims_in_id_token", Operator, |it| {
        some(it.claims_in_id_token)
    }),
    field("authentication_only", Operator, |it| {
        some(it.authentication_only)
    }),
    given(
        "own_upstream_document",
        |it| some(it.own_upstream_document),
        |it, value| flag(&mut it.own_upstream_document, value),
    ),
    given(
        "client_assertions",
        |it| some(it.client_assertions),
        |it, value| flag(&mut it.client_assertions, value),
    ),
    given(
        "logo_uri",
        |it| shown_at(it.display_uris.logo.as_ref()),
        |it, value| display_uri(&mut it.display_uris.logo, value),
    ),
    given(
        "tos_uri",
        |it| shown_at(it.display_uris.tos.as_ref()),
        |it, value| display_uri(&mut it.display_uris.tos, value),
    ),
    given(
        "policy_uri",
        |it| shown_at(it.display_uris.policy.as_ref()),
        |it, value| display_uri(&mut it.display_uris.policy, value),
    ),
    field("subject_type", App, |it| {
        some(match it.pairwise {
            None => "public",
            Some(_) => "pairwise",
        })
    }),
    field("sector_identifier", Operator, |it| {
        it.pairwise.as_ref().map(|it| it.id().to_string().into())
    }),
    field("sector_identifier_uri", App, |it| {
        let document = it.pairwise.as_ref().and_then(Sector::document);
        document.map(|it| it.to_string().into())
    }),
    field("default_atproto_proxy", Operator, |it| {
        let service = it.default_atproto_proxy.as_ref();
        service.map(|it| it.to_string().into())
    }),
    field("access_token_ttl", Operator, |it| some(it.access_token_ttl)),
    field("refresh_token_ttl", Operator, |it| {
        some(it.refresh_token_ttl)
    }),
    field("refresh_grace", Operator, |it| some(it.refresh_grace)),
];

const fn field(
    name: &'static str,
    audience: FieldAudience,
    read: fn(&ClientSettings) -> Option<FieldValue>,
) -> ClientField {
    ClientField {
        name,
        audience,
        read,
        give: None,
    }
}

/// A field that an administrator may give, too.
const fn given(
    name: &'static str,
    read: fn(&ClientSettings) -> Option<FieldValue>,
    give: Give,
) -> ClientField {
    ClientField {
        name,
        audience: AppIfGiven,
        read,
        give: Some(give),
    }
}

impl ClientField {
    /// Its value for a client; `None` if it has none.
    pub fn value(&self, settings: &ClientSettings) -> Option<FieldValue> {
        (self.read)(settings)
    }

    /// Its value as the client itself reads it; `None` if it does not.
    pub fn value_for_app(&self, settings: &ClientSettings) -> Option<FieldValue> {
        let value = self.value(settings);
        match self.audience {
            App => value,
            AppIfGiven => value.filter(|it| *it != FieldValue::Flag(false)),
            Operator => None,
        }
    }

    /// Whether [`Self::give`] does anything.
    pub fn may_be_given(&self) -> bool {
        self.give.is_some()
    }

    /// Gives a client the field, if an administrator may; `None` takes it away. `Err`: what is wrong with
    /// the value, beginning with the field.
    pub fn give(&self, settings: &mut ClientSettings, value: Option<&Value>) -> Result<(), String> {
        self.give.map_or(Ok(()), |give| {
            give(settings, value).map_err(|why| format!("`{}`{why}", self.name))
        })
    }
}

impl FieldValue {
    /// As it is written in JSON.
    pub fn to_json(&self) -> Value {
        match self {
            Self::Flag(is_set) => json!(is_set),
            Self::Text(text) => json!(text),
            Self::List(words) => json!(words),
            Self::Seconds(time) => json!(time.as_secs()),
            Self::Keys(keys) => json!(keys),
        }
    }
}

impl From<bool> for FieldValue {
    fn from(is_set: bool) -> Self {
        Self::Flag(is_set)
    }
}

impl From<&str> for FieldValue {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for FieldValue {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<Vec<String>> for FieldValue {
    fn from(words: Vec<String>) -> Self {
        Self::List(words)
    }
}

impl From<Duration> for FieldValue {
    fn from(time: Duration) -> Self {
        Self::Seconds(time)
    }
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "a row of the table says of each value whether it is always there"
)]
fn some(value: impl Into<FieldValue>) -> Option<FieldValue> {
    Some(value.into())
}

fn uris(uris: &[RedirectUri]) -> Option<FieldValue> {
    some(uris.iter().map(ToString::to_string).collect::<Vec<_>>())
}

fn logout_uri(notification: Option<&LogoutNotification>) -> Option<FieldValue> {
    notification.map(|it| it.uri.to_string().into())
}

fn session_required(notification: Option<&LogoutNotification>) -> Option<FieldValue> {
    notification.map(|it| it.session_required.into())
}

fn shown_at(uri: Option<&DisplayUri>) -> Option<FieldValue> {
    uri.map(|it| it.as_str().into())
}

fn flag(setting: &mut bool, value: Option<&Value>) -> Result<(), String> {
    *setting = match value {
        None => false,
        Some(Value::Bool(wanted)) => *wanted,
        Some(_) => return Err(" is true or false".to_owned()),
    };
    Ok(())
}

fn display_uri(setting: &mut Option<DisplayUri>, value: Option<&Value>) -> Result<(), String> {
    *setting = match value {
        None => None,
        Some(Value::String(text)) => {
            let uri = text.parse();
            Some(uri.map_err(|error| format!(": {error}"))?)
        }
        Some(_) => return Err(" is no text".to_owned()),
    };
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn row(name: &str) -> &'static ClientField {
        CLIENT_FIELDS.iter().find(|it| it.name == name).unwrap()
    }

    #[test]
    fn every_field_has_a_name_of_its_own() {
        let names: BTreeSet<_> = CLIENT_FIELDS.iter().map(|it| it.name).collect();
        assert_eq!(names.len(), CLIENT_FIELDS.len());
    }

    #[test]
    fn an_app_reads_what_is_given_to_it_and_nothing_of_the_operator() {
        let mut settings = ClientSettings::default();
        let told = |settings: &ClientSettings| {
            let told = CLIENT_FIELDS.iter();
            let told = told.filter(|it| it.value_for_app(settings).is_some());
            told.map(|it| it.name).collect::<Vec<_>>()
        };
        let before = told(&settings);
        assert!(before.contains(&"client_name"));
        for name in ["first_party", "own_upstream_document", "logo_uri"] {
            assert!(!before.contains(&name), "{name}");
        }
        row("client_assertions")
            .give(&mut settings, Some(&json!(true)))
            .unwrap();
        row("logo_uri")
            .give(&mut settings, Some(&json!("https://app.example/logo.png")))
            .unwrap();
        let after = told(&settings);
        assert!(after.contains(&"client_assertions") && after.contains(&"logo_uri"));
        assert!(settings.client_assertions);
        row("client_assertions").give(&mut settings, None).unwrap();
        row("logo_uri").give(&mut settings, None).unwrap();
        assert_eq!(settings, ClientSettings::default());
    }

    #[test]
    fn what_cannot_be_given_is_refused_with_the_name_of_the_field() {
        for (name, value) in [
            ("own_upstream_document", json!("yes")),
            ("client_assertions", json!(1)),
            ("tos_uri", json!("http://app.example/terms")),
            ("policy_uri", json!(true)),
        ] {
            let mut settings = ClientSettings::default();
            let refused = row(name).give(&mut settings, Some(&value)).unwrap_err();
            assert!(refused.starts_with(&format!("`{name}`")), "{refused}");
            assert_eq!(settings, ClientSettings::default());
        }
        let name = row("client_name");
        assert!(!name.may_be_given());
    }
}
