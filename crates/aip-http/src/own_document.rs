//! The client metadata document of one app, for PDSs (<https://atproto.com/specs/oauth#clients>): it has
//! the app's name and scopes, and AIP's callback and keys.

use aip_atproto::{ScopeSet, for_upstream};
use aip_oauth::registration::ClientSettings;
use aip_storage::client::{Client, ClientId, RedirectTarget};
use serde_json::Value;
use url::form_urlencoded;

use crate::endpoint::Endpoint;
use crate::state::AppState;

/// What the shared document says of AIP itself.
const OF_AIP: [&str; 4] = ["client_name", "logo_uri", "tos_uri", "policy_uri"];

impl AppState {
    /// The URL of the app's own document, which is the `client_id` that PDSs know AIP by for it; `None`
    /// if it shares that of all others, or AIP is a development client.
    pub(crate) fn own_document(&self, client: &Client) -> Option<String> {
        let has_one =
            client.settings.own_upstream_document && self.parts().client_metadata.is_some();
        has_one.then(|| self.issuer().url(&path_of(&client.id)))
    }
}

/// The path of the document of that client. PDSs compare the URL letter by letter, so that each id has
/// one path: what is no letter, digit, `*`, `-`, `.` or `_` is percent-encoded.
fn path_of(id: &ClientId) -> String {
    let file: String = form_urlencoded::byte_serialize(id.as_str().as_bytes()).collect();
    let path = Endpoint::UpstreamClientDocument.spec().path;
    path.replace("{file}", &format!("{file}.json"))
}

/// Whose document is at that path; `None` if it is nobody's, or written in another way.
pub(crate) fn client_at(path: &str) -> Option<ClientId> {
    let pattern = Endpoint::UpstreamClientDocument.spec().path;
    let file = path.strip_prefix(pattern.trim_end_matches("{file}"))?;
    let encoded = file.strip_suffix(".json")?;
    let (decoded, _) = form_urlencoded::parse(encoded.as_bytes()).next()?;
    let id = decoded.parse().ok()?;
    (path_of(&id) == path).then_some(id)
}

/// The document at `url`, made of the `shared` one. Of a client that is deleted it has what its PDSs need
/// to hear of the revocation of its sessions. `signs_assertions`: whether AIP does so for apps that talk
/// to PDSs themselves.
pub(crate) fn of(
    shared: &Value,
    url: &str,
    client: Option<&ClientSettings>,
    signs_assertions: bool,
) -> Value {
    let mut document = shared.clone();
    if let Some(members) = document.as_object_mut() {
        for name in OF_AIP {
            members.remove(name);
        }
    }
    document["client_id"] = url.into();
    let scope = client.map(|it| for_upstream(&it.scope));
    let scope = scope.unwrap_or_else(|| for_upstream(&ScopeSet::default()));
    document["scope"] = scope.to_string().into();
    let Some(client) = client else {
        return document;
    };
    document["client_name"] = client.name.as_str().into();
    if signs_assertions
        && client.client_assertions
        && let Some(Value::Array(redirects)) = document.get_mut("redirect_uris")
    {
        // It sends people to their PDSs itself, too. Others than these a confidential client may not have.
        let own = client.redirect_uris.iter();
        let own = own.filter(|it| it.target() == RedirectTarget::Https);
        redirects.extend(own.map(|it| it.as_str().into()));
    }
    let uris = &client.display_uris;
    for (name, uri) in [
        ("logo_uri", &uris.logo),
        ("tos_uri", &uris.tos),
        ("policy_uri", &uris.policy),
    ] {
        if let Some(uri) = uri {
            document[name] = uri.as_str().into();
        }
    }
    document
}

#[cfg(test)]
mod tests {
    use aip_storage::display_uri::DisplayUris;
    use serde_json::json;

    use super::*;

    fn id(text: &str) -> ClientId {
        text.parse().unwrap()
    }

    #[test]
    fn each_client_has_one_path_that_leads_back_to_it() {
        for (text, path) in [
            ("photos", "/oauth/upstream/clients/photos.json"),
            ("..", "/oauth/upstream/clients/...json"),
            ("a.json", "/oauth/upstream/clients/a.json.json"),
            ("a+b&c=d", "/oauth/upstream/clients/a%2Bb%26c%3Dd.json"),
            ("50%", "/oauth/upstream/clients/50%25.json"),
            ("%2F", "/oauth/upstream/clients/%252F.json"),
            ("a?b#c~", "/oauth/upstream/clients/a%3Fb%23c%7E.json"),
        ] {
            assert_eq!(path_of(&id(text)), path);
            assert_eq!(client_at(path), Some(id(text)), "{path}");
            // As PDSs do it to compare (WHATWG URL), nothing is rewritten.
            let url = format!("https://aip.example{path}");
            assert_eq!(url::Url::parse(&url).unwrap().as_str(), url);
        }
    }

    #[test]
    fn every_other_path_is_nobodys() {
        for file in [
            "photos",
            "photos.JSON",
            "photos.json/",
            "%70hotos.json",
            "a%2bb.json",
            "a+b.json",
            "a&b.json",
            "a=b.json",
            "%.json",
            "%00.json",
            "%20.json",
            "%22.json",
            "%C3%A4.json",
            ".json",
            "",
        ] {
            let path = format!("/oauth/upstream/clients/{file}");
            assert_eq!(client_at(&path), None, "{path}");
        }
        let long = "x".repeat(256);
        assert_eq!(
            client_at(&format!("/oauth/upstream/clients/{long}.json")),
            None
        );
        assert_eq!(client_at("/oauth/upstream/jwks.json"), None);
    }

    #[test]
    fn a_document_says_what_the_app_is_and_nothing_of_the_operator() {
        let shared = json!({
            "client_id": "https://aip.example/oauth-client-metadata.json",
            "client_name": "AIP",
            "logo_uri": "https://aip.example/logo.png",
            "tos_uri": "https://aip.example/terms",
            "policy_uri": "https://aip.example/policy",
            "redirect_uris": ["https://aip.example/oauth/atp/callback"],
        });
        let url = "https://aip.example/oauth/upstream/clients/photos.json";
        let settings = ClientSettings {
            name: "Photos".to_owned(),
            scope: "openid email atproto blob:image/*".parse().unwrap(),
            display_uris: DisplayUris {
                logo: Some("https://photos.example/logo.png".parse().unwrap()),
                ..DisplayUris::default()
            },
            ..ClientSettings::default()
        };
        let document = of(&shared, url, Some(&settings), true);
        assert_eq!(document["client_id"], url);
        assert_eq!(document["client_name"], "Photos");
        assert_eq!(document["logo_uri"], "https://photos.example/logo.png");
        assert_eq!(document.get("tos_uri"), None);
        assert_eq!(document["redirect_uris"], shared["redirect_uris"]);
        let scope = for_upstream(&settings.scope).to_string();
        assert_eq!(document["scope"], scope.as_str());

        let talks_to_pdss = ClientSettings {
            client_assertions: true,
            redirect_uris: ["https://photos.example/cb", "http://127.0.0.1/cb"]
                .map(|uri| uri.parse().unwrap())
                .into(),
            ..settings
        };
        let both = of(&shared, url, Some(&talks_to_pdss), true);
        let callback = "https://aip.example/oauth/atp/callback";
        assert_eq!(
            both["redirect_uris"],
            json!([callback, "https://photos.example/cb"])
        );
        let off = of(&shared, url, Some(&talks_to_pdss), false);
        assert_eq!(off["redirect_uris"], json!([callback]));

        let deleted = of(&shared, url, None, true);
        assert_eq!(deleted["client_id"], url);
        assert_eq!(deleted["scope"], "atproto");
        assert_eq!(deleted.get("client_name"), None);
    }
}
