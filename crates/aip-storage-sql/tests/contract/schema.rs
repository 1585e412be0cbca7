//! Migrations, and that both engines end up with the same tables.

use aip_storage_sql::{Database, PgOptions, SchemaError};
use sqlx::{Connection as _, Row as _};

use crate::world::{World, at_once, empty_postgres, empty_sqlite};

super::on_both_engines!(
    a_database_of_a_newer_program_is_refused,
    a_second_migration_does_nothing
);

async fn a_database_of_a_newer_program_is_refused(world: World) {
    world
        .raw(
            "INSERT INTO aip_schema_migrations
                 (version, description, success, checksum, execution_time)
             SELECT 9999, 'later', success, checksum, 0
             FROM aip_schema_migrations WHERE version = 1",
        )
        .await;

    for refused in [
        world.database.storage().await.err(),
        world.database.migrate().await.err(),
    ] {
        assert!(
            matches!(refused, Some(SchemaError::Ahead { version: 9999 })),
            "{refused:?}"
        );
    }
}

async fn a_second_migration_does_nothing(world: World) {
    assert_eq!(world.database.migrate().await.unwrap(), [] as [i64; 0]);
    assert!(
        world
            .database
            .status()
            .await
            .unwrap()
            .steps
            .iter()
            .all(|step| step.applied)
    );
}

#[tokio::test]
async fn an_empty_database_is_behind_and_looking_leaves_it_empty() {
    let (sqlite, _directory) = empty_sqlite();
    for url in [sqlite, empty_postgres().await] {
        let database = connect(&url).await;
        let steps = database.status().await.unwrap().pending();
        assert!(!steps.is_empty());
        let refused = database.storage().await.err();
        assert!(
            matches!(&refused, Some(SchemaError::Behind { pending }) if *pending == steps),
            "{refused:?}"
        );
        assert_eq!(database.migrate().await.unwrap(), steps);
        database.storage().await.unwrap();
    }
}

#[tokio::test]
async fn of_several_processes_that_migrate_one_applies_each_step() {
    let (sqlite, _directory) = empty_sqlite();
    for url in [sqlite, empty_postgres().await] {
        let steps = connect(&url).await.status().await.unwrap().pending();
        let applied = at_once(4, |_| {
            let url = url.clone();
            async move { connect(&url).await.migrate().await.unwrap() }
        })
        .await;
        // Another process may go on after a step that runs outside a transaction.
        let mut all: Vec<_> = applied.into_iter().flatten().collect();
        all.sort_unstable();
        assert_eq!(all, steps);
    }
}

/// Each makes the file, unless it finds it. To change a new file to the write-ahead log SQLite needs
/// it alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_processes_open_a_new_file_at_once() {
    for _ in 0..25 {
        let (url, _directory) = empty_sqlite();
        at_once(6, |_| {
            let url = url.clone();
            async move {
                let database = connect(&url).await;
                database.migrate().await.unwrap();
                database.storage().await.unwrap();
            }
        })
        .await;
    }
}

/// The last one to close a file removes its write-ahead log.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_is_opened_while_others_close_it() {
    let (url, _directory) = empty_sqlite();
    connect(&url).await.migrate().await.unwrap();
    at_once(6, |_| {
        let url = url.clone();
        async move {
            for _ in 0..25 {
                let database = connect(&url).await;
                database.storage().await.unwrap();
                database.close().await;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn both_engines_have_the_same_columns_and_indexes() {
    let (sqlite, postgres) = (World::sqlite().await, World::postgres().await);
    let mut connection = sqlx::SqliteConnection::connect(&sqlite.url).await.unwrap();
    let rows = sqlx::query(
        "SELECT t.name || '.' || c.name || ' '
                || CASE c.type WHEN 'BLOB' THEN 'BYTEA' ELSE c.type END
                || CASE c.\"notnull\" WHEN 1 THEN ' NOT NULL' ELSE '' END
         FROM sqlite_master t JOIN pragma_table_info(t.name) c
         WHERE t.type = 'table' AND t.name <> 'aip_schema_migrations'
         UNION ALL
         SELECT name FROM sqlite_master WHERE type = 'index' AND name NOT LIKE 'sqlite_autoindex%'",
    );
    let of_sqlite = rows.fetch_all(&mut connection).await.unwrap();
    let mut connection = sqlx::PgConnection::connect(&postgres.url).await.unwrap();
    let rows = sqlx::query(
        "SELECT table_name || '.' || column_name || ' ' || upper(data_type)
                || CASE is_nullable WHEN 'NO' THEN ' NOT NULL' ELSE '' END
         FROM information_schema.columns
         WHERE table_schema = 'public' AND table_name <> 'aip_schema_migrations'
         UNION ALL
         SELECT CAST(indexname AS TEXT) FROM pg_indexes
         WHERE schemaname = 'public'
             AND indexname NOT LIKE '%\\_pkey' AND indexname NOT LIKE '%\\_key'",
    );
    let of_postgres = rows.fetch_all(&mut connection).await.unwrap();

    let mut of_sqlite: Vec<String> = of_sqlite.iter().map(|row| row.get(0)).collect();
    let mut of_postgres: Vec<String> = of_postgres.iter().map(|row| row.get(0)).collect();
    of_sqlite.sort();
    of_postgres.sort();
    assert!(of_sqlite.len() > 100, "{of_sqlite:?}");
    assert_eq!(of_sqlite, of_postgres);
}

#[cfg(unix)]
#[tokio::test]
async fn a_sqlite_database_is_readable_by_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;

    let (url, directory) = empty_sqlite();
    let path = directory.path().join("aip.db");
    std::fs::write(&path, "").unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();

    // Kept open: with its last connection the write-ahead log goes.
    let database = connect(&url).await;
    database.migrate().await.unwrap();

    for name in ["aip.db", "aip.db-wal", "aip.db-shm"] {
        let mode = std::fs::metadata(directory.path().join(name))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

async fn connect(url: &str) -> Database {
    Database::connect(&url.parse().unwrap(), PgOptions::default())
        .await
        .unwrap()
}
