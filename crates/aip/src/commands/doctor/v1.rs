//! Whether apps of AIP v1 can sign people in, where its names are switched on (`compat.v1`).

use aip_atproto::Origin;
use aip_config::Compat;
use aip_http::is_at_origins;
use aip_storage::client::{ClientId, ClientSettings};

use super::finding::Finding;
use super::installation::Installation;

/// The client of `compat.v1_client` is registered, and as these apps need it.
pub(super) async fn client(installation: &Installation) -> Finding {
    let compat = &installation.loaded.config.compat;
    let Some(id) = compat.v1_client.as_deref().filter(|_| compat.v1) else {
        return Finding::skipped("compat.v1 is off");
    };
    let id: ClientId = match id.parse() {
        Ok(id) => id,
        Err(_) => {
            return Finding::fail(
                format!("`{id}` is no client id"),
                "correct compat.v1_client",
            );
        }
    };
    let storage = match installation.storage.needed("database") {
        Ok(storage) => storage,
        Err(finding) => return finding,
    };
    match storage.client(&id).await {
        Ok(client) => {
            let settings = client.map(|it| it.settings);
            let origins = installation.loaded.v1_origins();
            judge(&id, settings.as_ref(), compat, &origins)
        }
        Err(error) => Finding::fail(error.to_string(), "see the check of the database"),
    }
}

fn judge(
    id: &ClientId,
    client: Option<&ClientSettings>,
    compat: &Compat,
    origins: &[Origin],
) -> Finding {
    let Some(client) = client else {
        return Finding::fail(
            format!("there is no client `{id}`, as which apps of AIP v1 sign people in"),
            format!(
                "`aip clients create --id {id} --require-pkce false --redirect-uri DESTINATION`"
            ),
        );
    };
    if client.require_par {
        return Finding::fail(
            format!(
                "the client `{id}` must push its requests, and browsers bring those of v1's apps"
            ),
            format!("`aip clients update {id} --require-par false`"),
        );
    }
    let configured = [&compat.v1_destination, &compat.v1_default_destination];
    let registered = &client.redirect_uris;
    let unknown = configured
        .into_iter()
        .flatten()
        .find(|it| !registered.iter().any(|uri| uri.as_str() == it.as_str()));
    if let Some(destination) = unknown {
        return Finding::fail(
            format!("the destination `{destination}` is no redirect URI of the client `{id}`"),
            format!(
                "`aip clients update {id} --redirect-uri {destination}`, with those that it has already"
            ),
        );
    }
    let elsewhere = configured
        .into_iter()
        .flatten()
        .find(|it| !is_at_origins(origins, it));
    if let Some(destination) = elsewhere {
        return Finding::fail(
            format!("the destination `{destination}` is at no origin of compat.v1_origins"),
            "add its origin to compat.v1_origins, or correct the destination",
        );
    }
    let elsewhere = registered
        .iter()
        .find(|it| !is_at_origins(origins, it.as_str()));
    if let Some(uri) = elsewhere {
        let uri = uri.as_str();
        return Finding::warn(
            format!(
                "the redirect URI `{uri}` of the client `{id}` is at no origin of compat.v1_origins: no sign-in at \
                 /auth/atproto ends there"
            ),
            "add its origin to compat.v1_origins, if an app of v1 is there",
        );
    }
    if client.require_pkce {
        return Finding::warn(
            format!("the client `{id}` needs PKCE, which apps of v1 do not bring"),
            format!("change the apps, or `aip clients update {id} --require-pkce false`"),
        );
    }
    let count = registered.len();
    Finding::ok(format!("the client `{id}` has {count} destination(s)"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::doctor::finding::Status;

    #[test]
    fn the_client_of_v1_is_registered_as_its_apps_need_it() {
        let home = "https://app.example/home";
        let good = || ClientSettings {
            redirect_uris: vec![home.parse().unwrap()],
            require_pkce: false,
            ..ClientSettings::default()
        };
        let compat = |destination: Option<&str>| Compat {
            v1: true,
            v1_client: Some("v1-apps".to_owned()),
            v1_origins: Vec::new(),
            v1_destination: destination.map(str::to_owned),
            v1_default_destination: None,
        };
        let pushing = ClientSettings {
            require_par: true,
            ..good()
        };
        let strict = ClientSettings {
            require_pkce: true,
            ..good()
        };
        let id = "v1-apps".parse().unwrap();
        for (client, destination, expected) in [
            (Some(good()), None, Status::Ok),
            (Some(good()), Some(home), Status::Ok),
            (Some(good()), Some("https://app.example/"), Status::Fail),
            (Some(strict), Some(home), Status::Warn),
            (Some(pushing), Some(home), Status::Fail),
            (None, Some(home), Status::Fail),
        ] {
            let finding = judge(&id, client.as_ref(), &compat(destination), &[]);
            assert_eq!(finding.line("v1").status, expected, "{destination:?}");
        }
        for (origin, destination, expected) in [
            ("https://app.example", Some(home), Status::Ok),
            ("https://app.example", None, Status::Ok),
            ("https://www.app.example", Some(home), Status::Fail),
            ("https://www.app.example", None, Status::Warn),
            ("https://app.example:8443", None, Status::Warn),
        ] {
            let origins = [origin.parse().unwrap()];
            let finding = judge(&id, Some(&good()), &compat(destination), &origins);
            assert_eq!(finding.line("v1").status, expected, "{origin}");
        }
    }
}
