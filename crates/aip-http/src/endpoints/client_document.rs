//! The document of a client that nobody registered
//! (draft-ietf-oauth-client-id-metadata-document-02 §4): the metadata of a registration, with the
//! `client_id` and without secrets. The rules for such clients are in `aip-oauth`.

use aip_storage::client::{ApplicationType, ClientId, ClientSettings, GrantType};
use aip_storage::sector::{Sector, SectorError};
use url::Url;

use super::client_metadata::{ClientMetadata, PAIRWISE_SCOPE};

/// What the document of the client `id` says over `base`; otherwise what is wrong with it.
pub fn read_client_document(
    json: &[u8],
    id: &ClientId,
    base: ClientSettings,
) -> Result<ClientSettings, String> {
    let mut metadata = ClientMetadata::parse(json).map_err(|error| error.message().to_owned())?;
    match metadata.client_id.as_deref() {
        Some(named) if named == id.as_str() => {}
        Some(other) => {
            let shown: String = other.chars().take(300).collect();
            return Err(format!(
                "its `client_id` is {shown:?}, and not the address that it was read at, byte for byte"
            ));
        }
        None => return Err("it has no `client_id`".to_owned()),
    }
    let secrets = [
        ("client_secret", metadata.client_secret.is_some()),
        (
            "client_secret_expires_at",
            metadata.client_secret_expires_at.is_some(),
        ),
        (
            "registration_access_token",
            metadata.registration_access_token.is_some(),
        ),
    ];
    if let Some((name, _)) = secrets.iter().find(|(_, is_there)| *is_there) {
        return Err(format!(
            "`{name}` has no place in a document that everybody can read"
        ));
    }
    if metadata
        .client_name
        .as_deref()
        .is_none_or(|it| it.trim().is_empty())
    {
        metadata.client_name = host_of(id).map(|host| host.chars().take(100).collect());
    }
    let sector = own_sector(&mut metadata, id)?;
    // The document is the same for all servers, some of which know more of both.
    if let Some(grants) = &mut metadata.grant_types {
        grants.retain(|it| it.parse::<GrantType>().is_ok());
    }
    if let Some(types) = &mut metadata.response_types {
        types.retain(|it| it == "code");
    }
    // Documents of programs on the person's device often leave it out, and no web app has such
    // redirect URIs.
    let redirects = metadata.redirect_uris.iter().flatten();
    if metadata.application_type.is_none()
        && redirects.into_iter().any(|it| !it.starts_with("https:"))
    {
        metadata.application_type = Some(ApplicationType::Native.as_str().to_owned());
    }
    // What keys and addresses may be is as on the Internet: whoever wrote the document is there.
    let settings = metadata.settings(base, false);
    let settings = settings.map_err(|error| error.message().to_owned())?;
    Ok(ClientSettings {
        pairwise: sector,
        ..settings
    })
}

/// The sector of a client with pairwise subjects (OpenID Connect Core §8.1): the host of its document,
/// which vouches for its redirect URIs as a list at a `sector_identifier_uri` would.
fn own_sector(metadata: &mut ClientMetadata, id: &ClientId) -> Result<Option<Sector>, String> {
    if metadata.sector_identifier_uri.is_some() {
        return Err(
            "`sector_identifier_uri` has no place in a document: its host is the sector".to_owned(),
        );
    }
    if metadata.subject_type.as_deref() != Some("pairwise") {
        return Ok(None);
    }
    metadata.subject_type = None;
    metadata
        .scope
        .get_or_insert_with(|| PAIRWISE_SCOPE.to_owned());
    let host = host_of(id).unwrap_or_default();
    let sector = host.parse().map(Sector::Host);
    sector
        .map(Some)
        .map_err(|error: SectorError| error.to_string())
}

fn host_of(id: &ClientId) -> Option<String> {
    let url = Url::parse(id.as_str()).ok()?;
    url.host_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "https://app.example/client.json";

    fn read(json: &str) -> Result<ClientSettings, String> {
        read_client_document(
            json.as_bytes(),
            &ID.parse().unwrap(),
            ClientSettings::default(),
        )
    }

    #[test]
    fn a_document_names_itself_and_holds_no_secret() {
        let with = |more: &str| {
            read(&format!(
                r#"{{"client_id":"{ID}","redirect_uris":["https://app.example/cb"]{more}}}"#
            ))
        };
        let settings = with("").unwrap();
        assert_eq!(settings.name, "app.example");
        assert_eq!(settings.application_type, ApplicationType::Web);
        assert_eq!(with(r#","client_name":" ""#).unwrap().name, "app.example");
        for more in [
            r#","grant_types":["authorization_code","implicit"]"#,
            r#","grant_types":["urn:ietf:params:oauth:grant-type:jwt-bearer","authorization_code"]"#,
            r#","grant_types":["authorization_code","urn:openid:params:grant-type:ciba"]"#,
            r#","grant_types":["authorization_code"],"response_types":["code","code id_token"]"#,
            r#","response_types":["token","code"]"#,
        ] {
            let grants = with(more).unwrap().grant_types;
            assert!(grants.allows(GrantType::AuthorizationCode), "{more}");
            assert!(!grants.allows(GrantType::ClientCredentials), "{more}");
        }
        for (more, why) in [
            (r#","client_secret":"x""#, "client_secret"),
            (
                r#","client_secret_expires_at":0"#,
                "client_secret_expires_at",
            ),
            (
                r#","registration_access_token":"x""#,
                "registration_access_token",
            ),
            (
                r#","client_id":"https://app.example/client.json""#,
                "duplicate",
            ),
            (r#","software_statement":"x""#, "software statements"),
            (r#","jwks_uri":"https://localhost/keys""#, "jwks_uri"),
            (
                r#","jwks":{"keys":[]},"jwks_uri":"https://app.example/keys""#,
                "exclude",
            ),
            (r#","grant_types":["password"]"#, "one or more of"),
            (r#","grant_types":[]"#, "one or more of"),
            (r#","response_types":["token"]"#, "come together"),
            (r#","logo_uri":"javascript:alert(1)""#, "logo_uri"),
            (r#","scope":7"#, "expected a string"),
        ] {
            let refused = with(more).unwrap_err();
            assert!(refused.contains(why), "{more}: {refused}");
        }
        for (json, why) in [
            ("<html>", "no JSON object"),
            ("", "no JSON object"),
            ("[]", "no JSON object"),
            (r#"{"redirect_uris":[]}"#, "no `client_id`"),
            (
                r#"{"client_id":"https://app.example/client.json/"}"#,
                "byte for byte",
            ),
            (
                r#"{"client_id":"https://APP.example/client.json"}"#,
                "byte for byte",
            ),
        ] {
            let refused = read(json).unwrap_err();
            assert!(refused.contains(why), "{json}: {refused}");
        }
        let deep = format!(r#"{{"x":{}"#, "[".repeat(2000));
        read(&deep).unwrap_err();
    }

    #[test]
    fn a_document_with_redirects_to_a_device_is_of_a_program_there() {
        let of = |redirect: &str| {
            let json = format!(r#"{{"client_id":"{ID}","redirect_uris":["{redirect}"]}}"#);
            read(&json).unwrap().application_type
        };
        assert_eq!(of("http://127.0.0.1/cb"), ApplicationType::Native);
        assert_eq!(of("http://localhost:3000/cb"), ApplicationType::Native);
        assert_eq!(of("example.app:/cb"), ApplicationType::Native);
        assert_eq!(of("https://app.example/cb"), ApplicationType::Web);
    }
}
