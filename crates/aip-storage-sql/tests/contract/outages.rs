//! A database that is full, read-only or away: the verb fails as a whole, says that it is worth
//! another try, and the next try finds everything as it was.

use std::time::Duration;

use aip_storage::StorageError;
use aip_storage::grant::{Approve, RedeemCode, Rotate};
use aip_storage_sql::{ConnectError, Database, PgOptions};
use tokio::time::{Instant, timeout};

use crate::world::{NOW, World, alice, redemption_of, rotation_of, run};

super::on_both_engines!(
    a_disk_that_fills_up_while_a_request_is_approved_leaves_it_as_it_was,
    a_disk_that_fills_up_while_a_code_is_redeemed_leaves_it_unspent,
    a_disk_that_fills_up_during_a_rotation_leaves_the_token_unspent,
);

const TEST_TIMEOUT: Duration = Duration::from_secs(20);

async fn a_disk_that_fills_up_while_a_request_is_approved_leaves_it_as_it_was(world: World) {
    let client = world.client("app").await;
    let session = world.session(&client, &alice()).await;
    let approval = world.pending(&client, &alice(), session.id).await;
    for table in ["grants", "codes", "consents"] {
        world.fill_disk_of(table).await;
        away(&world.storage.approve(&approval).await);
        world.make_room_for(table).await;
        assert_eq!(world.storage.grants_of(&alice()).await.unwrap().len(), 0);
    }
    assert_eq!(
        world.storage.approve(&approval).await.unwrap(),
        Approve::Approved
    );
}

async fn a_disk_that_fills_up_while_a_code_is_redeemed_leaves_it_unspent(world: World) {
    let client = world.client("app").await;
    let approval = world.approved(&client, &alice()).await;
    let redemption = redemption_of(&approval);
    for table in ["access_tokens", "refresh_tokens"] {
        world.fill_disk_of(table).await;
        away(&world.storage.redeem_code(&redemption).await);
        world.make_room_for(table).await;
        let access = redemption.tokens.access;
        let stored = world.storage.access_token(&access, NOW).await.unwrap();
        assert!(stored.is_none());
    }
    let redeemed = world.storage.redeem_code(&redemption).await.unwrap();
    assert!(matches!(redeemed, RedeemCode::Redeemed(_)), "{redeemed:?}");
}

async fn a_disk_that_fills_up_during_a_rotation_leaves_the_token_unspent(world: World) {
    let client = world.client("app").await;
    let (_, tokens) = world.redeemed(&client, &alice()).await;
    let rotation = rotation_of(&client, &tokens);
    for table in ["access_tokens", "refresh_tokens"] {
        world.fill_disk_of(table).await;
        away(&world.storage.rotate_refresh_token(&rotation).await);
        world.make_room_for(table).await;
        let token = world.storage.refresh_token(&tokens.refresh, NOW).await;
        assert!(!token.unwrap().unwrap().spent);
    }
    let rotated = world.storage.rotate_refresh_token(&rotation).await.unwrap();
    assert!(matches!(rotated, Rotate::Rotated(_)), "{rotated:?}");
}

#[tokio::test]
async fn a_read_only_server_is_read_and_writes_again_when_it_may() {
    let world = World::postgres().await;
    let client = world.client("app").await;
    let (_, tokens) = world.redeemed(&client, &alice()).await;
    let rotation = rotation_of(&client, &tokens);
    let name = world
        .strings("SELECT CAST(current_database() AS TEXT)")
        .await;
    let set = |value: &str| {
        let name = &name[0];
        format!("ALTER DATABASE {name} SET default_transaction_read_only = {value}")
    };
    run(&world.url, set("on")).await.unwrap();
    world.end_connections().await;
    // The connections that were there.
    let _ = world.storage.ping().await;

    assert!(world.storage.client(&client).await.unwrap().is_some());
    away(&world.storage.rotate_refresh_token(&rotation).await);

    let back = format!("BEGIN READ WRITE; {}; COMMIT", set("off"));
    run(&world.url, back).await.unwrap();
    let rotated = world.storage.rotate_refresh_token(&rotation).await.unwrap();
    assert!(matches!(rotated, Rotate::Rotated(_)), "{rotated:?}");
}

#[tokio::test]
async fn a_server_that_is_not_there_is_reported_at_once_and_without_the_password() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = closed.local_addr().unwrap().port();
    drop(closed);
    for url in [
        format!("postgres://aip:secret@127.0.0.1:{port}/aip"),
        "postgres://aip:secret@localhost/aip?host=/nowhere".to_owned(),
        "postgres://aip:secret@db:port/aip".to_owned(),
    ] {
        let began = Instant::now();
        let url = url.parse().unwrap();
        let connect = Database::connect(&url, PgOptions::default());
        let refused = timeout(TEST_TIMEOUT, connect).await.unwrap().err().unwrap();
        assert!(matches!(refused, ConnectError::Postgres(_)), "{refused:?}");
        assert!(began.elapsed() < Duration::from_secs(5));
        let said = format!("{refused} {refused:?}");
        assert!(!said.contains("secret"), "{said}");
    }
}

#[tokio::test]
async fn what_is_no_database_file_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let text = directory.path().join("notes.txt");
    std::fs::write(
        &text,
        "no database, however long this text may be. ".repeat(100),
    )
    .unwrap();
    for path in [text.as_path(), directory.path()] {
        let url = format!("sqlite://{}", path.display());
        let refused = Database::connect(&url.parse().unwrap(), PgOptions::default())
            .await
            .err();
        assert!(
            matches!(refused, Some(ConnectError::Sqlite(_))),
            "{refused:?}"
        );
    }
}

fn away<T: std::fmt::Debug>(outcome: &Result<T, StorageError>) {
    assert!(
        matches!(outcome, Err(StorageError::Unavailable(_))),
        "{outcome:?}"
    );
}
