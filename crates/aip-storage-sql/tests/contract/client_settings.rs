//! The settings of a client that lie in one JSON document of its row: they are moved there from the
//! columns that they had, and an update leaves alone what a later release has written.

use std::path::PathBuf;

use aip_jose::JwkSet;
use aip_storage::StorageError;
use aip_storage::client::{
    AccessTokenFormat, Client, ClientKeys, ClientSettings, GrantType, GrantTypes, IdTokenAlg,
    SecurityProfile,
};
use aip_storage::display_uri::DisplayUris;
use aip_storage::logout::LogoutFormat;
use aip_storage_sql::{Database, PgOptions};
use serde_json::{Value, json};

use crate::world::{NOW, SECOND, World, empty_postgres, empty_sqlite, public_client, run, strings};

super::on_both_engines!(
    settings_are_moved_out_of_the_columns_that_they_had,
    an_update_keeps_the_settings_that_only_a_later_release_knows,
    a_client_of_the_release_before_has_the_defaults,
    a_document_that_cannot_be_read_is_an_inconsistency,
);

/// The last migration that has a column for each setting.
const LAST_WITH_COLUMNS: &str = "0026";

/// The SQL of each migration of that engine with its number, in order.
fn migrations(url: &str) -> Vec<(String, String)> {
    let (engine, bytes) = if url.starts_with("sqlite:") {
        ("sqlite", "BLOB")
    } else {
        ("postgres", "BYTEA")
    };
    let common = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("migrations");
    let files = [common.join(engine), common].map(|folder| std::fs::read_dir(folder).unwrap());
    let paths = files.into_iter().flatten().map(|file| file.unwrap().path());
    let mut steps: Vec<_> = paths
        .filter(|path| path.is_file())
        .map(|path| {
            let name = path.file_name().unwrap().to_str().unwrap();
            let number = name.split('_').next().unwrap().to_owned();
            let step = std::fs::read_to_string(&path).unwrap();
            (number, step.replace("BLOB", bytes))
        })
        .collect();
    steps.sort();
    steps
}

async fn settings_are_moved_out_of_the_columns_that_they_had(world: World) {
    let (url, _directory) = match world.database {
        Database::Sqlite(_) => {
            let (url, directory) = empty_sqlite();
            // Opening makes the file.
            Database::connect(&url.parse().unwrap(), PgOptions::default())
                .await
                .unwrap();
            (url, Some(directory))
        }
        Database::Postgres(_) => (empty_postgres().await, None),
    };
    let steps = migrations(&url);
    let (before, after): (Vec<_>, Vec<_>) = steps
        .iter()
        .partition(|(number, _)| number.as_str() <= LAST_WITH_COLUMNS);
    for (_, step) in before {
        run(&url, step).await.unwrap();
    }
    let first = "INSERT INTO clients (id, name, application_type, auth_method, redirect_uris,
            post_logout_redirect_uris, scope, require_pkce, first_party, id_token_alg,
            access_token_ttl, refresh_token_ttl, refresh_grace, created_at, updated_at";
    let values =
        "'The app', 'web', 'none', '[]', '[]', 'atproto', TRUE, FALSE, 'ES256', 1, 1, 0, 0, 0";
    let jwks = r#"{"keys":[]}"#;
    for statement in [
        format!("{first}) VALUES ('plain', {values})"),
        format!(
            "{first}, access_token_format, auth_method_pinned, authentication_only,
                backchannel_logout_format, claims_in_id_token, client_assertions,
                dpop_bound_access_tokens, grant_types, jwks, logo_uri, policy_uri, tos_uri,
                require_par, resource_server, security_profile, userinfo_alg)
             VALUES ('changed', {values}, 'jwt', TRUE, TRUE, 'caep_1_0', TRUE, TRUE, TRUE,
                'client_credentials', '{jwks}', 'https://app.example/logo.png',
                'https://app.example/policy', 'https://app.example/terms', TRUE, 'urn:photos',
                'fapi2', 'RS256')"
        ),
        format!("{first}, jwks_uri) VALUES ('key-set', {values}, 'https://app.example/keys.json')"),
    ] {
        run(&url, statement).await.unwrap();
    }
    for (_, step) in after {
        run(&url, step).await.unwrap();
    }

    // Read by the storage in a database that it has migrated itself.
    for id in ["plain", "changed", "key-set"] {
        world
            .storage
            .create_client(&public_client(id))
            .await
            .unwrap();
        let query = format!("SELECT settings FROM clients WHERE id = '{id}'");
        let moved = strings(&url, query).await.remove(0);
        let write = format!("UPDATE clients SET settings = '{moved}' WHERE id = '{id}'");
        world.raw(write).await;
    }
    let settings = async |id: &str| {
        let client = world.storage.client(&id.parse().unwrap()).await.unwrap();
        client.unwrap().settings
    };
    let plain = public_client("plain").settings;
    assert_eq!(settings("plain").await, plain);
    let changed = ClientSettings {
        name: "The app changed".to_owned(),
        access_token_format: AccessTokenFormat::Jwt,
        auth_method_pinned: true,
        authentication_only: true,
        backchannel_logout_format: LogoutFormat::Caep10,
        claims_in_id_token: true,
        client_assertions: true,
        dpop_bound_access_tokens: true,
        grant_types: GrantTypes::only(GrantType::ClientCredentials),
        keys: Some(ClientKeys::Registered(JwkSet::default())),
        display_uris: DisplayUris {
            logo: Some("https://app.example/logo.png".parse().unwrap()),
            tos: Some("https://app.example/terms".parse().unwrap()),
            policy: Some("https://app.example/policy".parse().unwrap()),
        },
        require_par: true,
        resource_server: Some("urn:photos".parse().unwrap()),
        security_profile: SecurityProfile::Fapi2,
        userinfo_alg: Some(IdTokenAlg::Rs256),
        ..plain.clone()
    };
    assert_eq!(settings("changed").await, changed);
    let at = "https://app.example/keys.json".parse().unwrap();
    let with_key_set = ClientSettings {
        name: "The app key-set".to_owned(),
        keys: Some(ClientKeys::At(at)),
        ..plain
    };
    assert_eq!(settings("key-set").await, with_key_set);
}

async fn an_update_keeps_the_settings_that_only_a_later_release_knows(world: World) {
    let mut client = public_client("app");
    let keys = "https://app.example/keys.json".parse().unwrap();
    client.settings.keys = Some(ClientKeys::At(keys));
    client.settings.require_par = true;
    world.storage.create_client(&client).await.unwrap();
    let mut later = document(&world).await;
    later["of_a_later_release"] = json!({"a": [1, "'"]});
    let text = later.to_string().replace('\'', "''");
    world
        .raw(format!("UPDATE clients SET settings = '{text}'"))
        .await;

    let changed = Client {
        settings: ClientSettings {
            keys: None,
            require_par: false,
            claims_in_id_token: true,
            ..client.settings
        },
        updated_at: NOW + SECOND,
        ..client
    };
    assert!(world.storage.update_client(&changed).await.unwrap());

    let stored = world.storage.client(&changed.id).await.unwrap().unwrap();
    assert_eq!(stored.settings, changed.settings);
    let document = document(&world).await;
    assert_eq!(document["of_a_later_release"], later["of_a_later_release"]);
    assert_eq!(document["claims_in_id_token"], true);
    assert_eq!(document["jwks_uri"], Value::Null);
}

async fn document(world: &World) -> Value {
    let text = world.strings("SELECT settings FROM clients").await;
    serde_json::from_str(&text[0]).unwrap()
}

async fn a_client_of_the_release_before_has_the_defaults(world: World) {
    let mut client = public_client("app");
    world.storage.create_client(&client).await.unwrap();
    world.raw("UPDATE clients SET settings = NULL").await;
    let stored = world.storage.client(&client.id).await.unwrap().unwrap();
    assert_eq!(stored.settings, client.settings);
    client.settings.require_par = true;
    assert!(world.storage.update_client(&client).await.unwrap());
    let stored = world.storage.client(&client.id).await.unwrap().unwrap();
    assert_eq!(stored.settings, client.settings);
}

async fn a_document_that_cannot_be_read_is_an_inconsistency(world: World) {
    let client = public_client("app");
    world.storage.create_client(&client).await.unwrap();
    for bad in ["nonsense", "[]", r#"{"require_par":"yes"}"#] {
        world
            .raw(format!("UPDATE clients SET settings = '{bad}'"))
            .await;
        let refused = world.storage.client(&client.id).await;
        assert!(
            matches!(&refused, Err(StorageError::Inconsistent { table: "clients", row, .. }) if row == "app"),
            "{bad}: {refused:?}"
        );
    }
}
