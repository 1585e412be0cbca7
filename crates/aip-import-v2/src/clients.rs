//! A row of `oauth_clients` as what AIP registers.

use std::time::Duration;

use aip_atproto::{Scope, ScopeSet};
use aip_base::Timestamp;
use aip_jose::JwkSet;
use aip_oauth::imported::ImportedClient;
use aip_oauth::registration::{MAX_REDIRECTS, fitting_name};
use aip_oauth::{MAX_ACCESS_TTL, MAX_REFRESH_TTL};
use aip_storage::client::{
    ApplicationType, ClientAuthMethod, ClientId, ClientKeys, ClientSettings, GrantType,
    InvalidClientId, InvalidGrantTypes, RedirectTarget, RedirectUri,
};
use secrecy::ExposeSecret as _;

use crate::rows::ClientRow;

/// The client of v2's own device pages.
pub(crate) const OWN_CLIENT: &str = "aip-internal-device-auth";

/// A client with what is otherwise here than at v2.
pub(crate) struct Converted {
    pub(crate) client: ImportedClient,
    pub(crate) notes: Vec<String>,
}

/// What AIP registers for a row; the error says what is wrong with it. A client that v2 knew no scope
/// of may ask for `default_scope`.
pub(crate) fn convert(row: ClientRow, default_scope: &ScopeSet) -> Result<Converted, String> {
    let id: ClientId = row
        .client_id
        .parse()
        .map_err(|error: InvalidClientId| error.to_string())?;
    let auth_method: ClientAuthMethod = row.auth_method.parse().map_err(|_| {
        format!(
            "token_endpoint_auth_method `{}` is not supported",
            row.auth_method
        )
    })?;
    let secret = row.secret.filter(|_| auth_method.uses_secret());
    // Whoever knows the id would know it.
    let secret = secret.filter(|it| !it.expose_secret().trim().is_empty());
    if auth_method.uses_secret() && secret.is_none() {
        return Err(format!(
            "token_endpoint_auth_method is `{}` and there is no client_secret",
            row.auth_method
        ));
    }
    let mut notes = Vec::new();
    if !row.exact_redirects {
        notes.push(format!(
            "client {id}: redirect URIs are compared exactly, and v2 compared their beginning: \
             register each one with `aip clients update ID --redirect-uri URI`"
        ));
    }
    let redirect_uris = redirect_uris(&id, &row.redirect_uris, &mut notes)?;
    let grant_types = grant_types(&row.grant_types)?;
    let scope = match row
        .scope
        .as_deref()
        .map(str::trim)
        .filter(|it| !it.is_empty())
    {
        Some(scope) => ScopeSet::parse(scope).map_err(|error| format!("scope: {error}"))?,
        None => default_scope.clone(),
    };
    let unknown: Vec<&str> = scope.unknown().collect();
    if !unknown.is_empty() {
        let unknown = unknown.join(" ");
        notes.push(format!(
            "client {id}: it may not ask for `{unknown}`, which AIP does not know"
        ));
    }
    // v2 had no such scope, and took any word from an app that registered itself.
    if scope.contains(&Scope::Credentials) {
        notes.push(format!(
            "client {id}: it may not ask for `aip:credentials`, which only an operator of AIP allows"
        ));
    }
    let keys = match row.jwks {
        Some(jwks) if auth_method == ClientAuthMethod::PrivateKeyJwt => Some(
            JwkSet::from_json(jwks.as_bytes())
                .map(ClientKeys::Registered)
                .map_err(|error| format!("jwks: {error}"))?,
        ),
        _ => None,
    };
    let settings = ClientSettings {
        name: name(&id, &row.name, &mut notes),
        application_type: application_type(row.application_type.as_deref(), &redirect_uris)?,
        auth_method,
        keys,
        grant_types,
        redirect_uris,
        scope: without_credentials(&scope.known()),
        // v2 did not ask confidential clients for it.
        require_pkce: !auth_method.is_confidential(),
        access_token_ttl: bounded_lifetime(
            &id,
            (
                "access_token_expiration",
                row.access_seconds,
                MAX_ACCESS_TTL,
            ),
            &mut notes,
        )?,
        refresh_token_ttl: bounded_lifetime(
            &id,
            (
                "refresh_token_expiration",
                row.refresh_seconds,
                MAX_REFRESH_TTL,
            ),
            &mut notes,
        )?,
        ..ClientSettings::default()
    };
    Ok(Converted {
        client: ImportedClient {
            id,
            settings,
            secret,
            created_at: Timestamp::from_micros(row.created_at),
            updated_at: Timestamp::from_micros(row.updated_at),
        },
        notes,
    })
}

/// A scope of v2 without what only an operator of AIP allows.
pub(crate) fn without_credentials(scope: &ScopeSet) -> ScopeSet {
    let scopes = scope.iter().filter(|it| **it != Scope::Credentials);
    scopes.cloned().collect()
}

fn strings(json: &str, column: &str) -> Result<Vec<String>, String> {
    serde_json::from_str(json).map_err(|_| format!("{column} is not an array of strings"))
}

/// What people are shown for the app. One that is called what no app may be called here is shown by its id.
fn name(id: &ClientId, name: &str, notes: &mut Vec<String>) -> String {
    let fitting = fitting_name(name);
    if fitting.as_deref() == Some(name.trim()) {
        return name.trim().to_owned();
    }
    let shown = fitting.or_else(|| fitting_name(id.as_str()));
    let shown = shown.unwrap_or_else(|| "App".to_owned());
    notes.push(format!(
        "client {id}: people see `{shown}`, as its name is empty, too long, or has characters that are not seen"
    ));
    shown
}

/// Those that may be registered, at least one where there is any; the others are noted.
fn redirect_uris(
    id: &ClientId,
    json: &str,
    notes: &mut Vec<String>,
) -> Result<Vec<RedirectUri>, String> {
    let mut good: Vec<RedirectUri> = Vec::new();
    let mut bad = Vec::new();
    for uri in strings(json, "redirect_uris")? {
        match uri.parse() {
            Ok(uri) if good.contains(&uri) => {}
            Ok(_) if good.len() == MAX_REDIRECTS => bad.push(format!(
                "redirect URI `{uri}`: an app has at most {MAX_REDIRECTS}"
            )),
            Ok(uri) => good.push(uri),
            Err(error) => bad.push(format!("redirect URI `{uri}`: {error}")),
        }
    }
    if good.is_empty() && !bad.is_empty() {
        return Err(bad.join("; "));
    }
    notes.extend(bad.iter().map(|bad| format!("client {id}: without {bad}")));
    Ok(good)
}

fn grant_types(json: &str) -> Result<aip_storage::client::GrantTypes, String> {
    let words = strings(json, "grant_types")?;
    let parse = |word: &String| {
        // v2 took the short name of the device grant, too.
        if word == "device_code" {
            return Ok(GrantType::DeviceCode);
        }
        word.parse::<GrantType>()
            .map_err(|_| format!("the grant type `{word}` is not supported"))
    };
    let grants: Vec<GrantType> = words.iter().map(parse).collect::<Result<_, _>>()?;
    grants
        .try_into()
        .map_err(|error: InvalidGrantTypes| error.to_string())
}

fn application_type(
    word: Option<&str>,
    redirect_uris: &[RedirectUri],
) -> Result<ApplicationType, String> {
    let on_device = |uri: &RedirectUri| uri.target() != RedirectTarget::Https;
    match word {
        Some("web") => Ok(ApplicationType::Web),
        Some("native") => Ok(ApplicationType::Native),
        Some(other) => Err(format!(
            "application_type `{other}` is neither web nor native"
        )),
        None if redirect_uris.iter().any(on_device) => Ok(ApplicationType::Native),
        None => Ok(ApplicationType::Web),
    }
}

/// A lifetime in seconds, at most as long as AIP allows. Tokens that live longer already stay as they
/// are.
fn bounded_lifetime(
    id: &ClientId,
    (column, seconds, most): (&str, i64, Duration),
    notes: &mut Vec<String>,
) -> Result<Duration, String> {
    let seconds = u64::try_from(seconds).map_err(|_| format!("{column} is {seconds}"))?;
    let life = Duration::from_secs(seconds);
    if life > most {
        let most = most.as_secs();
        notes.push(format!(
            "client {id}: {column} is {most} s from now on, the most that AIP allows, and was {seconds} s"
        ));
    }
    Ok(life.min(most))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> ClientRow {
        ClientRow {
            client_id: "app".to_owned(),
            secret: Some("its secret".into()),
            name: "App".to_owned(),
            redirect_uris: r#"["https://app.example/cb"]"#.to_owned(),
            grant_types: r#"["authorization_code","refresh_token","device_code"]"#.to_owned(),
            scope: Some("atproto transition:generic".to_owned()),
            auth_method: "client_secret_basic".to_owned(),
            application_type: None,
            jwks: None,
            access_seconds: 86_400,
            refresh_seconds: 1_209_600,
            exact_redirects: true,
            created_at: 1,
            updated_at: 2,
        }
    }

    fn converted(row: ClientRow) -> Converted {
        convert(row, &ScopeSet::parse("atproto").unwrap()).unwrap()
    }

    #[test]
    fn a_client_is_registered_as_it_was() {
        let Converted { client, notes } = converted(row());
        assert_eq!(notes, [""; 0]);
        let settings = client.settings;
        assert_eq!(client.id.as_str(), "app");
        assert_eq!(client.secret.unwrap().expose_secret(), "its secret");
        assert_eq!(settings.scope.to_string(), "atproto transition:generic");
        assert_eq!(settings.application_type, ApplicationType::Web);
        assert!(settings.grant_types.allows(GrantType::DeviceCode));
        assert!(!settings.require_pkce, "v2 did not ask it for PKCE");
        assert!(!settings.auth_method_pinned);
        assert_eq!(settings.access_token_ttl, Duration::from_hours(24));
    }

    #[test]
    fn what_aip_does_not_allow_is_noted_and_the_rest_taken() {
        let Converted { client, notes } = converted(ClientRow {
            redirect_uris:
                r#"["https://app.example/cb","https://app.example/#f","http://127.0.0.1/"]"#
                    .to_owned(),
            scope: Some("atproto of-a-future".to_owned()),
            access_seconds: 864_000,
            exact_redirects: false,
            ..row()
        });
        let settings = client.settings;
        assert_eq!(settings.redirect_uris.len(), 2);
        assert_eq!(settings.application_type, ApplicationType::Native);
        assert_eq!(settings.scope.to_string(), "atproto");
        assert_eq!(settings.access_token_ttl, MAX_ACCESS_TTL);
        for words in ["exactly", "/#f", "of-a-future", "864000"] {
            let told = notes.iter().filter(|it| it.contains(words));
            assert_eq!(told.count(), 1, "{words}: {notes:?}");
        }
    }

    #[test]
    fn a_secret_that_is_empty_is_none() {
        for secret in ["", " ", "\t\n"] {
            for method in ["client_secret_basic", "client_secret_post"] {
                let row = ClientRow {
                    secret: Some(secret.into()),
                    auth_method: method.to_owned(),
                    ..row()
                };
                let refused = convert(row, &ScopeSet::default()).err().unwrap();
                assert!(refused.contains("there is no client_secret"), "{refused}");
            }
        }
    }

    #[test]
    fn a_name_that_no_app_may_have_costs_nobody_their_sessions() {
        let long = "x".repeat(300);
        let shortened = "x".repeat(100);
        for (name, shown) in [
            ("", "app"),
            ("  ", "app"),
            ("\u{202e}\u{200b}", "app"),
            ("Good\u{202e}dooG", "GooddooG"),
            ("two\nlines", "twolines"),
            (&long, &shortened),
        ] {
            let Converted { client, notes } = converted(ClientRow {
                name: name.to_owned(),
                ..row()
            });
            assert_eq!(client.settings.name, shown, "{name:?}");
            let told = notes.iter().filter(|it| it.contains("people see"));
            assert_eq!(told.count(), 1, "{notes:?}");
        }
        let Converted { client, notes } = converted(ClientRow {
            name: " App \u{e9}".to_owned(),
            ..row()
        });
        assert_eq!(client.settings.name, "App \u{e9}");
        assert_eq!(notes, [""; 0]);
    }

    #[test]
    fn redirect_uris_count_once_and_those_beyond_20_are_noted() {
        let uris = |numbers: &[usize]| {
            let uri = |n: &usize| format!("\"https://app.example/{n}\"");
            format!(
                "[{}]",
                numbers.iter().map(uri).collect::<Vec<_>>().join(",")
            )
        };
        let many: Vec<usize> = (0..25).collect();
        for (numbers, taken, noted) in [(&[1, 1, 2, 1][..], 2, 0), (&many, 20, 5)] {
            let Converted { client, notes } = converted(ClientRow {
                redirect_uris: uris(numbers),
                ..row()
            });
            assert_eq!(client.settings.redirect_uris.len(), taken);
            assert_eq!(notes.len(), noted, "{notes:?}");
        }
    }

    #[test]
    fn no_word_of_v2_gives_a_client_the_tokens_of_pdss() {
        let more = ScopeSet::parse("atproto aip:credentials").unwrap();
        for (scope, expected) in [
            (Some("atproto aip:credentials"), "atproto"),
            (
                Some("aip:credentials transition:generic aip:credentials"),
                "transition:generic",
            ),
            (Some("aip:credentials"), ""),
            (None, "atproto"),
        ] {
            let row = ClientRow {
                scope: scope.map(str::to_owned),
                ..row()
            };
            let Converted { client, notes } = convert(row, &more).unwrap();
            assert_eq!(client.settings.scope.to_string(), expected);
            let told = notes.iter().filter(|it| it.contains("`aip:credentials`"));
            assert_eq!(told.count(), 1, "{scope:?}: {notes:?}");
        }
    }

    #[test]
    fn a_public_client_has_no_secret_and_must_use_pkce() {
        let Converted { client, .. } = converted(ClientRow {
            auth_method: "none".to_owned(),
            scope: None,
            ..row()
        });
        assert!(client.secret.is_none());
        assert!(client.settings.require_pkce);
        assert_eq!(client.settings.scope.to_string(), "atproto");
    }
}
