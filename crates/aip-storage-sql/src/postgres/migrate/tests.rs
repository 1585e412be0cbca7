//! Steps outside a transaction: built once, whoever else migrates and wherever it was killed.

use std::time::Duration;

use aip_testkit::postgres::create_database;
use sqlx::{Connection as _, Executor as _, PgConnection};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::{IndexState, index_state, migrate};
use crate::migrations::EngineMigration;
use crate::postgres::{PgOptions, PgStorage};
use crate::schema::SchemaError;

const INDEX: &str = "items_by_name";
/// No test takes longer.
const TEST_TIMEOUT: Duration = Duration::from_secs(30);
const POLL_INTERVAL: Duration = Duration::from_millis(20);

fn known() -> Vec<EngineMigration> {
    let table = "CREATE TABLE items (id BIGINT PRIMARY KEY, name TEXT NOT NULL);
                 INSERT INTO items SELECT n, 'item ' || n FROM generate_series(1, 1000) n";
    let index =
        "-- For the list of items.\nCREATE INDEX CONCURRENTLY items_by_name ON items (name);";
    let later = "ALTER TABLE items ADD COLUMN price BIGINT";
    vec![
        EngineMigration::new(1, "items", table, None),
        EngineMigration::new(2, "items by name", index, Some(INDEX)),
        EngineMigration::new(3, "prices", later, None),
    ]
}

async fn connect(url: &str) -> PgStorage {
    let url = &url.into();
    PgStorage::connect(url, PgOptions::default()).await.unwrap()
}

/// Migrates in a task, as a process of its own would.
fn migrate_apart(url: &str) -> JoinHandle<Result<Vec<i64>, SchemaError>> {
    let url = url.to_owned();
    tokio::spawn(async move { migrate(&connect(&url).await.connections, &known()).await })
}

/// A database with the first step, and a connection to it in a transaction that has written to the
/// table: no index is finished before that ends.
async fn with_a_writer() -> (String, PgConnection) {
    let url = create_database().await;
    let first = &known()[..1];
    migrate(&connect(&url).await.connections, first)
        .await
        .unwrap();
    let mut writer = PgConnection::connect(&url).await.unwrap();
    writer
        .execute("BEGIN; INSERT INTO items VALUES (0, 'new')")
        .await
        .unwrap();
    (url, writer)
}

async fn state(url: &str) -> IndexState {
    let mut connection = PgConnection::connect(url).await.unwrap();
    index_state(&mut connection, INDEX).await.unwrap()
}

async fn wait_until_it_is_being_built(url: &str) {
    let built = async {
        while state(url).await != IndexState::Invalid {
            sleep(POLL_INTERVAL).await;
        }
    };
    timeout(TEST_TIMEOUT, built).await.unwrap();
}

async fn finished(migrating: JoinHandle<Result<Vec<i64>, SchemaError>>) -> Vec<i64> {
    let finished = timeout(TEST_TIMEOUT, migrating).await.unwrap();
    finished.unwrap().unwrap()
}

#[tokio::test]
async fn a_step_outside_a_transaction_stands_between_steps_inside_one() {
    let url = create_database().await;
    let database = connect(&url).await;
    let versions = migrate(&database.connections, &known()).await.unwrap();
    assert_eq!(versions, [1, 2, 3]);
    assert_eq!(state(&url).await, IndexState::Valid);
    let again = migrate(&database.connections, &known()).await.unwrap();
    assert_eq!(again, [] as [i64; 0]);
}

#[tokio::test]
async fn of_several_processes_one_builds_the_index() {
    let url = create_database().await;
    let tasks: Vec<_> = (0..4).map(|_| migrate_apart(&url)).collect();
    let mut versions = Vec::new();
    for task in tasks {
        versions.extend(finished(task).await);
    }
    versions.sort_unstable();
    assert_eq!(versions, [1, 2, 3]);
    assert_eq!(state(&url).await, IndexState::Valid);
}

#[tokio::test]
async fn an_index_whose_builder_was_killed_is_built_again() {
    let (url, mut writer) = with_a_writer().await;
    let killed = migrate_apart(&url);
    wait_until_it_is_being_built(&url).await;
    let kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                WHERE datname = current_database() AND pid <> pg_backend_pid()";
    writer.execute(kill).await.unwrap();
    let killed = timeout(TEST_TIMEOUT, killed).await.unwrap().unwrap();
    assert!(killed.is_err(), "{killed:?}");
    assert_eq!(state(&url).await, IndexState::Invalid);
    writer.execute("COMMIT").await.unwrap();

    assert_eq!(finished(migrate_apart(&url)).await, [2, 3]);
    assert_eq!(state(&url).await, IndexState::Valid);
}

/// The process is gone, and its backend builds on.
#[tokio::test]
async fn an_index_that_the_server_still_builds_for_a_killed_process_is_waited_for() {
    let (url, mut writer) = with_a_writer().await;
    let killed = migrate_apart(&url);
    wait_until_it_is_being_built(&url).await;
    killed.abort();
    assert!(killed.await.unwrap_err().is_cancelled());

    let next = migrate_apart(&url);
    sleep(10 * POLL_INTERVAL).await;
    assert!(!next.is_finished());
    writer.execute("COMMIT").await.unwrap();
    assert_eq!(finished(next).await, [2, 3]);
    assert_eq!(state(&url).await, IndexState::Valid);
}

#[tokio::test]
async fn an_index_that_was_built_and_not_noted_is_noted() {
    let (url, mut writer) = with_a_writer().await;
    writer.execute("COMMIT").await.unwrap();
    let build = "CREATE INDEX CONCURRENTLY items_by_name ON items (name)";
    writer.execute(build).await.unwrap();
    assert_eq!(finished(migrate_apart(&url)).await, [2, 3]);
    assert_eq!(state(&url).await, IndexState::Valid);
}

/// Others write to the table meanwhile, which a plain `CREATE INDEX` would not let them.
#[tokio::test]
async fn the_table_is_written_to_while_its_index_is_built() {
    let (url, mut writer) = with_a_writer().await;
    let migrating = migrate_apart(&url);
    wait_until_it_is_being_built(&url).await;
    let mut other = PgConnection::connect(&url).await.unwrap();
    let write = other.execute("INSERT INTO items VALUES (-1, 'newer')");
    timeout(TEST_TIMEOUT, write).await.unwrap().unwrap();
    writer.execute("COMMIT").await.unwrap();
    assert_eq!(finished(migrating).await, [2, 3]);
}

#[tokio::test]
async fn an_index_is_built_behind_a_pooler_of_transactions() {
    let direct = create_database().await;
    let pooled = aip_testkit::postgres::behind_pooler(&direct).await;
    assert_eq!(finished(migrate_apart(&pooled)).await, [1, 2, 3]);
    assert_eq!(state(&direct).await, IndexState::Valid);
}

/// A text that fails is named with its version, and can be corrected: nothing is noted.
#[tokio::test]
async fn a_step_outside_a_transaction_that_fails_is_not_noted() {
    let (url, mut writer) = with_a_writer().await;
    writer
        .execute("INSERT INTO items VALUES (-1, 'new'); COMMIT")
        .await
        .unwrap();
    let unique = "CREATE UNIQUE INDEX CONCURRENTLY items_by_name ON items (name)";
    let mut refused = known();
    refused[1] = EngineMigration::new(2, "items by name", unique, Some(INDEX));
    let database = connect(&url).await;
    for _ in 0..2 {
        let error = migrate(&database.connections, &refused).await.unwrap_err();
        assert!(error.to_string().contains("migration 2"), "{error}");
    }
    let versions = migrate(&database.connections, &known()).await.unwrap();
    assert_eq!(versions, [2, 3]);
}
