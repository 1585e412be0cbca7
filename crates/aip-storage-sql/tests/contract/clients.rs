//! Registered apps.

use std::time::Duration;

use aip_jose::{Alg, JwkSet, SigningKey};
use aip_storage::StorageError;
use aip_storage::client::{
    AccessTokenFormat, ApplicationType, Client, ClientAuthMethod, ClientKeys, ClientSettings,
    CreateClient, GrantType, GrantTypes, IdTokenAlg, SecurityProfile,
};
use aip_storage::display_uri::DisplayUris;
use aip_storage::grant::Rotate;
use aip_storage::logout::{LogoutFormat, LogoutNotification};
use aip_storage::upstream::{EndReason, UpstreamState};

use crate::world::{
    HOUR, MINUTE, NOW, SECOND, World, alice, new_hash, public_client, rotation_of, scope,
};

super::on_both_engines_and_behind_a_pooler!(
    a_client_comes_back_as_it_was_registered,
    an_id_is_taken_once,
    clients_are_listed_by_id,
    an_update_writes_everything_but_the_secret_and_the_sector,
    an_update_changes_the_secret_only_between_public_and_confidential,
    the_version_of_the_clients_changes_with_each_of_them,
    a_secret_is_replaced_for_confidential_clients_only,
    a_deleted_client_leaves_nothing_usable,
    a_confidential_client_without_a_secret_is_not_read,
);

async fn a_client_comes_back_as_it_was_registered(world: World) {
    for client in [public_client("public"), confidential_client("confidential")] {
        world.storage.create_client(&client).await.unwrap();
        let stored = world.storage.client(&client.id).await.unwrap().unwrap();
        assert_eq!(format!("{stored:?}"), format!("{client:?}"));
        assert_eq!(stored.secret_hash, client.secret_hash);
    }
    assert!(
        world
            .storage
            .client(&"unknown".parse().unwrap())
            .await
            .unwrap()
            .is_none()
    );
}

async fn an_id_is_taken_once(world: World) {
    let first = public_client("app");
    let mut second = first.clone();
    "Another".clone_into(&mut second.settings.name);

    assert_eq!(
        world.storage.create_client(&first).await.unwrap(),
        CreateClient::Created
    );
    assert_eq!(
        world.storage.create_client(&second).await.unwrap(),
        CreateClient::Exists
    );

    assert_eq!(
        world
            .storage
            .client(&first.id)
            .await
            .unwrap()
            .unwrap()
            .settings
            .name,
        first.settings.name
    );
}

async fn clients_are_listed_by_id(world: World) {
    for id in ["b", "B", "a", "-"] {
        world.client(id).await;
    }

    let clients = world.storage.list_clients().await.unwrap();

    let ids: Vec<_> = clients.iter().map(|it| it.id.as_str()).collect();
    assert_eq!(ids, ["-", "B", "a", "b"]);
}

async fn an_update_writes_everything_but_the_secret_and_the_sector(world: World) {
    let before = confidential_client("app");
    world.storage.create_client(&before).await.unwrap();
    let uri = "https://app.example/keys.json".parse().unwrap();
    let grants = vec![GrantType::DeviceCode, GrantType::ClientCredentials];
    let after = Client {
        settings: ClientSettings {
            name: "New name".to_owned(),
            application_type: ApplicationType::Native,
            auth_method: ClientAuthMethod::SecretBasic,
            auth_method_pinned: true,
            keys: Some(ClientKeys::At(uri)),
            grant_types: GrantTypes::try_from(grants).unwrap(),
            post_logout_redirect_uris: Vec::new(),
            backchannel_logout: Some(LogoutNotification {
                uri: "https://app.example/back".parse().unwrap(),
                session_required: true,
            }),
            backchannel_logout_format: LogoutFormat::Caep10,
            frontchannel_logout: Some(LogoutNotification {
                uri: "https://app.example/front".parse().unwrap(),
                session_required: false,
            }),
            redirect_uris: Vec::new(),
            scope: scope("atproto"),
            security_profile: SecurityProfile::Fapi2,
            require_pkce: false,
            require_par: true,
            dpop_bound_access_tokens: true,
            first_party: true,
            id_token_alg: IdTokenAlg::Es256,
            userinfo_alg: Some(IdTokenAlg::Rs256),
            access_token_format: AccessTokenFormat::Jwt,
            resources: "https://api.example urn:photos".parse().unwrap(),
            resource_server: Some("urn:photos".parse().unwrap()),
            claims_in_id_token: true,
            authentication_only: true,
            own_upstream_document: true,
            client_assertions: true,
            display_uris: DisplayUris {
                logo: Some("https://app.example/logo.png".parse().unwrap()),
                tos: Some("https://app.example/terms".parse().unwrap()),
                policy: Some("https://app.example/policy".parse().unwrap()),
            },
            pairwise: None,
            default_atproto_proxy: Some("did:web:api.example#appview".parse().unwrap()),
            access_token_ttl: MINUTE,
            refresh_token_ttl: HOUR,
            refresh_grace: Duration::ZERO,
        },
        secret_hash: Some(new_hash()),
        updated_at: NOW + SECOND,
        ..before.clone()
    };

    assert!(world.storage.update_client(&after).await.unwrap());

    let stored = world.storage.client(&before.id).await.unwrap().unwrap();
    assert_eq!(stored.secret_hash, before.secret_hash);
    let mut expected = Client {
        secret_hash: before.secret_hash,
        ..after
    };
    // What people are known by to a client stays, too.
    expected.settings.pairwise = before.settings.pairwise;
    assert!(expected.settings.pairwise.is_some());
    assert_eq!(format!("{stored:?}"), format!("{expected:?}"));
    assert!(
        !world
            .storage
            .update_client(&public_client("unknown"))
            .await
            .unwrap()
    );
}

async fn an_update_changes_the_secret_only_between_public_and_confidential(world: World) {
    let client = public_client("app");
    world.storage.create_client(&client).await.unwrap();
    let mut confidential = client.clone();
    confidential.settings.auth_method = ClientAuthMethod::SecretPost;

    assert!(!world.storage.update_client(&confidential).await.unwrap());

    let stored = world.storage.client(&client.id).await.unwrap().unwrap();
    assert_eq!(stored.settings.auth_method, ClientAuthMethod::None);

    let secret = new_hash();
    let with_secret = Client {
        secret_hash: Some(secret),
        ..confidential
    };
    assert!(world.storage.update_client(&with_secret).await.unwrap());
    let stored = world.storage.client(&client.id).await.unwrap().unwrap();
    assert_eq!(stored.secret_hash, Some(secret));

    for without_secret in [ClientAuthMethod::PrivateKeyJwt, ClientAuthMethod::None] {
        assert!(world.storage.update_client(&with_secret).await.unwrap());
        let mut client = client.clone();
        client.settings.auth_method = without_secret;
        assert!(world.storage.update_client(&client).await.unwrap());
        let stored = world.storage.client(&client.id).await.unwrap().unwrap();
        assert_eq!(stored.secret_hash, None);
    }
}

async fn the_version_of_the_clients_changes_with_each_of_them(world: World) {
    let mut seen = vec![world.storage.clients_version().await.unwrap()];
    let mut client = public_client("app");
    world.storage.create_client(&client).await.unwrap();
    seen.push(world.storage.clients_version().await.unwrap());
    client.updated_at = NOW + SECOND;
    world.storage.update_client(&client).await.unwrap();
    seen.push(world.storage.clients_version().await.unwrap());
    world.client("other").await;
    seen.push(world.storage.clients_version().await.unwrap());
    let same = world.storage.clients_version().await.unwrap();
    assert_eq!(seen.last(), Some(&same));
    for (n, version) in seen.iter().enumerate() {
        assert!(!seen[..n].contains(version), "{version:?}");
    }
    world.storage.delete_client(&client.id, NOW).await.unwrap();
    let left = world.storage.clients_version().await.unwrap();
    assert_eq!(left.count, 1);
}

async fn a_secret_is_replaced_for_confidential_clients_only(world: World) {
    let (public, confidential) = (public_client("public"), confidential_client("confidential"));
    let secret = new_hash();
    for (client, replaced) in [(public, false), (confidential, true)] {
        world.storage.create_client(&client).await.unwrap();
        let outcome = world
            .storage
            .replace_client_secret(&client.id, &secret, NOW)
            .await
            .unwrap();
        assert_eq!(outcome, replaced);
        let stored = world.storage.client(&client.id).await.unwrap().unwrap();
        assert_eq!(stored.secret_hash, replaced.then_some(secret));
    }
}

async fn a_deleted_client_leaves_nothing_usable(world: World) {
    let client = world.client("app").await;
    let other = world.client("other").await;
    let (grant, tokens) = world.redeemed(&client, &alice()).await;
    let (_, kept) = world.redeemed(&other, &alice()).await;
    let unspent = world.approved(&client, &alice()).await;
    let waiting = world
        .pending(&client, &alice(), grant.upstream_session)
        .await;

    assert!(world.storage.delete_client(&client, NOW).await.unwrap());

    let storage = &world.storage;
    assert!(storage.client(&client).await.unwrap().is_none());
    assert!(
        storage
            .access_token(&tokens.access, NOW)
            .await
            .unwrap()
            .is_none()
    );
    let rotated = storage
        .rotate_refresh_token(&rotation_of(&client, &tokens))
        .await
        .unwrap();
    assert!(matches!(rotated, Rotate::Refused), "{rotated:?}");
    assert!(
        storage
            .consent(unspent.browser, &client, &alice())
            .await
            .unwrap()
            .is_none()
    );
    assert!(
        storage
            .request(&waiting.request, waiting.browser, NOW)
            .await
            .unwrap()
            .is_none()
    );
    for session in [grant.upstream_session, unspent.grant.upstream_session] {
        let state = storage
            .upstream_session(session)
            .await
            .unwrap()
            .unwrap()
            .state;
        assert_eq!(state, UpstreamState::Ended(EndReason::ClientDeleted));
    }
    assert_eq!(
        storage
            .claim_revocations(NOW, NOW + HOUR, 10)
            .await
            .unwrap()
            .len(),
        2
    );
    assert!(
        storage
            .access_token(&kept.access, NOW)
            .await
            .unwrap()
            .is_some()
    );
    assert!(!storage.delete_client(&client, NOW).await.unwrap());
}

async fn a_confidential_client_without_a_secret_is_not_read(world: World) {
    let client = confidential_client("app");
    world.storage.create_client(&client).await.unwrap();
    world.raw("UPDATE clients SET secret_hash = NULL").await;

    let error = world.storage.client(&client.id).await.unwrap_err();

    assert!(
        matches!(&error, StorageError::Inconsistent { table: "clients", row, .. } if row == "app"),
        "{error:?}"
    );
}

fn confidential_client(id: &str) -> Client {
    let key = SigningKey::generate(Alg::Es256, Some("k1".to_owned())).unwrap();
    let keys = JwkSet::new(vec![key.public().clone()]);
    let public = public_client(id);
    Client {
        settings: ClientSettings {
            auth_method: ClientAuthMethod::SecretPost,
            keys: Some(ClientKeys::Registered(keys)),
            post_logout_redirect_uris: vec!["https://app.example/bye".parse().unwrap()],
            redirect_uris: vec![
                "https://app.example/cb?x=\"1\"".parse().unwrap(),
                "https://app.example/other".parse().unwrap(),
            ],
            id_token_alg: IdTokenAlg::Rs256,
            pairwise: Some("https://sector.example/list.json".parse().unwrap()),
            ..public.settings
        },
        secret_hash: Some(new_hash()),
        ..public
    }
}
