//! The settings of a client that no statement looks at, as one JSON document in its row: a new one
//! needs a line here and no change of the schema. Those that statements compare or join, and those
//! that the first release had, lie in columns of their own (`statements/client.rs`).
//!
//! A member that is not there has its default. An update writes all members that this release knows
//! and leaves the others as they are (`json_with!`): during an upgrade the release before takes
//! nothing away that the new one has written.

use aip_jose::JwkSet;
use aip_storage::client::{ClientKeys, ClientSettings, JwksUri};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use crate::columns::Stored;

/// A client's settings with everything that the document holds; what lies in columns has its default.
pub(crate) struct SettingsInJson(pub(crate) ClientSettings);

/// `setting in "member"`: each is written as its column would be.
macro_rules! members {
    ($($($setting:ident).+ in $member:literal;)*) => {
        fn write(settings: &ClientSettings, document: &mut Map<String, Value>) {
            $(document.insert($member.to_owned(), json!(settings.$($setting).+.to_column()));)*
        }

        /// `None` if a member has a value that this program never writes.
        fn read(document: &mut Map<String, Value>, settings: &mut ClientSettings) -> Option<()> {
            $(take(document, $member, &mut settings.$($setting).+)?;)*
            Some(())
        }
    };
}

members! {
    access_token_format in "access_token_format";
    auth_method_pinned in "auth_method_pinned";
    authentication_only in "authentication_only";
    backchannel_logout_format in "backchannel_logout_format";
    claims_in_id_token in "claims_in_id_token";
    client_assertions in "client_assertions";
    dpop_bound_access_tokens in "dpop_bound_access_tokens";
    grant_types in "grant_types";
    display_uris.logo in "logo_uri";
    display_uris.policy in "policy_uri";
    display_uris.tos in "tos_uri";
    require_par in "require_par";
    resource_server in "resource_server";
    security_profile in "security_profile";
    userinfo_alg in "userinfo_alg";
}

/// Takes a member out of the document, if it is there.
fn take<T>(document: &mut Map<String, Value>, member: &str, setting: &mut T) -> Option<()>
where
    T: Stored<Column: DeserializeOwned>,
{
    if let Some(value) = document.remove(member) {
        *setting = T::from_column(serde_json::from_value(value).ok()?)?;
    }
    Some(())
}

impl Stored for SettingsInJson {
    type Column = String;

    fn to_column(&self) -> String {
        let mut document = Map::new();
        write(&self.0, &mut document);
        let (jwks, jwks_uri) = match &self.0.keys {
            None => (None, None),
            Some(ClientKeys::Registered(keys)) => (Some(keys.to_column()), None),
            Some(ClientKeys::At(uri)) => (None, Some(uri.to_column())),
        };
        document.insert("jwks".to_owned(), json!(jwks));
        document.insert("jwks_uri".to_owned(), json!(jwks_uri));
        Value::Object(document).to_string()
    }

    fn from_column(column: String) -> Option<Self> {
        let mut document: Map<String, Value> = serde_json::from_str(&column).ok()?;
        let mut settings = ClientSettings::default();
        read(&mut document, &mut settings)?;
        let mut jwks: Option<JwkSet> = None;
        let mut jwks_uri: Option<JwksUri> = None;
        take(&mut document, "jwks", &mut jwks)?;
        take(&mut document, "jwks_uri", &mut jwks_uri)?;
        settings.keys = match (jwks, jwks_uri) {
            (None, None) => None,
            (Some(keys), None) => Some(ClientKeys::Registered(keys)),
            (None, Some(uri)) => Some(ClientKeys::At(uri)),
            (Some(_), Some(_)) => return None,
        };
        Some(Self(settings))
    }
}

#[cfg(test)]
mod tests {
    use aip_storage::client::{AccessTokenFormat, IdTokenAlg};

    use super::*;

    fn read_back(column: &str) -> Option<ClientSettings> {
        SettingsInJson::from_column(column.to_owned()).map(|it| it.0)
    }

    #[test]
    fn a_document_comes_back_as_it_was_written() {
        let default = ClientSettings::default();
        let keys = JwkSet::default();
        let at = "https://app.example/keys.json".parse().unwrap();
        let some = ClientSettings {
            access_token_format: AccessTokenFormat::Jwt,
            require_par: true,
            userinfo_alg: Some(IdTokenAlg::Rs256),
            keys: Some(ClientKeys::Registered(keys)),
            ..default.clone()
        };
        let others = ClientSettings {
            keys: Some(ClientKeys::At(at)),
            resource_server: Some("urn:photos".parse().unwrap()),
            ..default.clone()
        };
        for settings in [default, some, others] {
            let column = SettingsInJson(settings.clone()).to_column();
            assert_eq!(read_back(&column), Some(settings), "{column}");
        }
    }

    #[test]
    fn what_is_not_there_has_its_default_and_what_is_not_known_is_left_alone() {
        for column in ["{}", r#"{"of_a_later_release":[1]}"#, r#"{"jwks":null}"#] {
            assert_eq!(
                read_back(column),
                Some(ClientSettings::default()),
                "{column}"
            );
        }
    }

    #[test]
    fn what_this_program_never_writes_is_not_read() {
        for column in [
            "",
            "[]",
            r#"{"require_par":"true"}"#,
            r#"{"require_par":null}"#,
            r#"{"grant_types":"nonsense"}"#,
            r#"{"logo_uri":"http://app.example/logo.png"}"#,
            r#"{"jwks":{"keys":[]}}"#,
            r#"{"jwks":"{\"keys\":[]}","jwks_uri":"https://app.example/keys.json"}"#,
        ] {
            assert_eq!(read_back(column), None, "{column}");
        }
    }
}
