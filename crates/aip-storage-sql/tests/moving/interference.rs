//! What others do around a move: they migrate, write late, or take the target away.

use std::sync::Arc;
use std::time::Duration;

use aip_base::SystemRng;
use aip_storage::StorageError;
use aip_storage_sql::{MoveError, MoveObserver, MovePoint, MoveState, SchemaError};
use aip_testkit::postgres::create_database_elsewhere;
use async_trait::async_trait;
use futures_util::stream::{self, StreamExt as _};
use sqlx::{Connection as _, PgConnection};
use tokio::sync::{Mutex, Notify};
use tokio::time::{Instant, sleep, timeout};

use crate::world::{NOW, World, new_hash, run, strings};
use crate::{PATIENCE, SilentObserver, StopsAt, contents, following, the_move, whole};

/// Does something at the source when a point is reached.
struct At {
    point: MovePoint,
    source: String,
    does: &'static str,
    /// What did it, with its transaction.
    session: Mutex<Option<PgConnection>>,
}

#[async_trait]
impl MoveObserver for At {
    async fn reached(&self, point: MovePoint) {
        if point == self.point {
            let mut session = PgConnection::connect(&self.source).await.unwrap();
            let done = sqlx::raw_sql(self.does).execute(&mut session);
            done.await.unwrap();
            *self.session.lock().await = Some(session);
        }
    }
    fn copied(&self, _: u64) {}
}

impl At {
    fn new(point: MovePoint, source: &str, does: &'static str) -> Self {
        Self {
            point,
            source: source.to_owned(),
            does,
            session: Mutex::default(),
        }
    }
}

/// Makes a database one that lacks the last migration, and no more than the note of it; the note.
async fn forget_last_migration(url: &str) -> String {
    let forget = "DELETE FROM aip_schema_migrations
        WHERE version = (SELECT max(version) FROM aip_schema_migrations)
        RETURNING CAST(row_to_json(aip_schema_migrations) AS TEXT)";
    strings(url, forget).await.remove(0)
}

async fn remember(url: &str, migration: &str) {
    let note = format!(
        "INSERT INTO aip_schema_migrations
            SELECT * FROM json_populate_record(NULL::aip_schema_migrations, '{migration}')"
    );
    run(url, note).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn neither_side_of_a_move_is_migrated() {
    let world = World::postgres().await;
    let to = create_database_elsewhere().await;
    let the_move = the_move(&world.url, &to).await;
    the_move.copy(&SilentObserver, &SystemRng).await.unwrap();
    let target = World::migrated(to.clone(), None).await;
    for side in [&world, &target] {
        let migration = forget_last_migration(&side.url).await;
        let refused = side.database.migrate().await.unwrap_err();
        assert!(
            matches!(&refused, SchemaError::Moving { pending } if pending.len() == 1),
            "{refused}"
        );
        for command in ["aip database move status", "aip database move cancel"] {
            assert!(refused.to_string().contains(command), "{refused}");
        }
        remember(&side.url, &migration).await;
        // With nothing to do there is nothing against it: a Pod that is started again does that.
        assert!(side.database.migrate().await.unwrap().is_empty());
    }
    whole(&the_move, &SilentObserver).await.unwrap();
    forget_last_migration(&world.url).await;
    let refused = world.database.migrate().await.unwrap_err();
    assert!(matches!(refused, SchemaError::Moved { .. }), "{refused}");
    // The database that is in use by now is one like any other.
    forget_last_migration(&to).await;
    let applied = target.database.migrate().await;
    assert!(
        // It is there already, which most migrations mind.
        matches!(applied, Ok(_) | Err(SchemaError::Failed(_))),
        "{applied:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_does_not_begin_while_its_source_is_migrated() {
    let world = World::postgres().await;
    let to = create_database_elsewhere().await;
    let mut migrating = PgConnection::connect(&world.url).await.unwrap();
    // The lock of migrations: the letters `aip-sql`.
    let lock = format!(
        "BEGIN; SELECT pg_advisory_xact_lock({})",
        i64::from_be_bytes(*b"aip-sql\0")
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(lock))
        .execute(&mut migrating)
        .await
        .unwrap();
    let (from, target) = (world.url.clone(), to.clone());
    let copying = tokio::spawn(async move {
        let the_move = the_move(&from, &target).await;
        the_move.copy(&SilentObserver, &SystemRng).await
    });
    // One has the lock of the move, the other one asks for that of migrations.
    let waits = "SELECT CAST(pid AS TEXT) FROM pg_stat_activity
        WHERE datname = current_database()
            AND (query LIKE 'SELECT virtualtransaction%' OR query LIKE '%pg_try_advisory_xact_lock%')
            AND state = 'idle in transaction' AND pid <> pg_backend_pid()";
    let deadline = Instant::now() + PATIENCE;
    while world.strings(waits).await.len() < 2 {
        assert!(Instant::now() < deadline, "nobody waits for the migration");
        sleep(Duration::from_millis(20)).await;
    }
    let marker = "SELECT CAST(relname AS TEXT) FROM pg_class WHERE relname = 'aip_move'";
    assert!(world.strings(marker).await.is_empty());
    sqlx::raw_sql("COMMIT")
        .execute(&mut migrating)
        .await
        .unwrap();
    copying.await.unwrap().unwrap();
    assert_eq!(world.strings(marker).await, ["aip_move"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn autovacuum_keeps_away_from_the_target_until_it_is_in_use() {
    let world = World::postgres().await;
    let to = create_database_elsewhere().await;
    let kept_away = "SELECT CAST(relname AS TEXT) FROM pg_class
        WHERE 'autovacuum_enabled=false' = ANY (reloptions) ORDER BY 1";
    let the_move = the_move(&world.url, &to).await;
    the_move.copy(&SilentObserver, &SystemRng).await.unwrap();
    let tables = the_move.status().await.unwrap().tables;
    let kept = strings(&to, kept_away).await;
    assert_eq!(u64::try_from(kept.len()).unwrap(), tables, "{kept:?}");
    the_move.switch(&SilentObserver).await.unwrap();
    assert!(strings(&to, kept_away).await.is_empty());
    // Whoever was killed before that leaves it to `finish`.
    run(&to, "ALTER TABLE clients SET (autovacuum_enabled = false)")
        .await
        .unwrap();
    the_move.finish(&SilentObserver).await.unwrap();
    assert!(strings(&to, kept_away).await.is_empty());
    assert!(world.strings(kept_away).await.is_empty());
}

/// The fence lapses before the source is closed, as it does while a process is suspended.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_whose_fence_has_lapsed_is_not_closed() {
    let world = World::postgres().await;
    let to = create_database_elsewhere().await;
    let the_move = the_move(&world.url, &to).await;
    the_move.copy(&SilentObserver, &SystemRng).await.unwrap();
    let lapse = "UPDATE aip_move SET fenced_until = clock_timestamp();
        INSERT INTO replays (hash, expires_at) VALUES ('\\x0a', 1)";
    let late = At::new(MovePoint::Compared, &world.url, lapse);
    let refused = the_move.switch(&late).await.unwrap_err();
    assert!(matches!(refused, MoveError::PauseTooLong(_)), "{refused}");
    assert_eq!(the_move.status().await.unwrap().state, MoveState::Copied);
    world.storage.claim_once(&new_hash(), NOW).await.unwrap();
    let expected = contents(&world.url).await;
    the_move.switch(&SilentObserver).await.unwrap();
    assert_eq!(contents(&to).await, expected);
    assert!(expected.iter().any(|row| row.contains("\\\\x0a")));
}

/// Somebody whose write was let through before the fence is not done when the source is closed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_with_a_late_writer_is_opened_again() {
    let world = World::postgres().await;
    let to = create_database_elsewhere().await;
    let the_move = the_move(&world.url, &to).await;
    let the_move = the_move.pausing_at_most(Duration::from_secs(6));
    the_move.copy(&SilentObserver, &SystemRng).await.unwrap();
    let write = "BEGIN; SELECT set_config('aip.move', id, true) FROM aip_move;
        INSERT INTO replays (hash, expires_at) VALUES ('\\x0b', 1)";
    let late = At::new(MovePoint::SourceClosed, &world.url, write);
    let refused = the_move.switch(&late).await.unwrap_err();
    assert!(matches!(refused, MoveError::PauseTooLong(_)), "{refused}");
    assert_eq!(the_move.status().await.unwrap().state, MoveState::Copied);
    world.storage.claim_once(&new_hash(), NOW).await.unwrap();
    let mut writer = late.session.lock().await.take().unwrap();
    sqlx::raw_sql("COMMIT").execute(&mut writer).await.unwrap();
    let expected = contents(&world.url).await;
    the_move.switch(&SilentObserver).await.unwrap();
    assert_eq!(contents(&to).await, expected);
    assert!(expected.iter().any(|row| row.contains("\\\\x0b")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_whose_target_was_emptied_tells_no_history() {
    let to = create_database_elsewhere().await;
    let (world, _) = following(&to).await;
    let client = world.client("app").await;
    let empty = "DROP SCHEMA public CASCADE; CREATE SCHEMA public";
    let reads = async || world.storage.client(&client).await;
    let is_refused = async || matches!(reads().await, Err(StorageError::Unavailable(_)));

    // Before the switch the source is the truth.
    the_move(&world.url, &to)
        .await
        .copy(&SilentObserver, &SystemRng)
        .await
        .unwrap();
    run(&to, empty).await.unwrap();
    assert!(reads().await.unwrap().is_some());
    world.storage.claim_once(&new_hash(), NOW).await.unwrap();
    let the_move = the_move(&world.url, &to).await;
    let refused = the_move
        .copy(&SilentObserver, &SystemRng)
        .await
        .unwrap_err();
    assert!(refused.to_string().contains("move cancel"), "{refused}");
    the_move.cancel().await.unwrap();

    // Once it is closed, the target may have been in use.
    let closed = StopsAt {
        point: MovePoint::SourceClosed,
        reached: std::sync::Arc::default(),
    };
    let reached = std::sync::Arc::clone(&closed.reached);
    let killed = tokio::spawn(async move { whole(&the_move, &closed).await });
    tokio::time::timeout(PATIENCE, reached.notified())
        .await
        .unwrap();
    killed.abort();
    assert!(reads().await.unwrap().is_some());
    run(&to, empty).await.unwrap();
    let deadline = Instant::now() + PATIENCE;
    while !is_refused().await {
        assert!(Instant::now() < deadline, "history is told as the present");
        sleep(Duration::from_millis(100)).await;
    }
    let again = self::the_move(&world.url, &to).await;
    let refused = again.cancel().await.unwrap_err();
    assert!(matches!(refused, MoveError::IsLive), "{refused}");
}

/// Stands still at a point until it is told to go on.
struct Suspended {
    point: MovePoint,
    reached: Arc<Notify>,
    go_on: Arc<Notify>,
}

#[async_trait]
impl MoveObserver for Suspended {
    async fn reached(&self, point: MovePoint) {
        if point == self.point {
            self.reached.notify_one();
            self.go_on.notified().await;
        }
    }
    fn copied(&self, _: u64) {}
}

/// A process is suspended in its pause, and the connections end by which it keeps others from the move.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_processes_that_switch_the_one_that_was_overtaken_changes_nothing_more() {
    let points = [
        MovePoint::Announced,
        MovePoint::Fenced,
        MovePoint::Drained,
        MovePoint::Compared,
        MovePoint::SourceClosed,
    ];
    let all = points
        .into_iter()
        .flat_map(|point| [(point, true), (point, false)]);
    stream::iter(all)
        .for_each_concurrent(3, |(point, switches)| overtaken_at(point, switches))
        .await;
}

async fn overtaken_at(point: MovePoint, switches: bool) {
    let world = World::postgres().await;
    let to = create_database_elsewhere().await;
    let first = the_move(&world.url, &to).await;
    first.copy(&SilentObserver, &SystemRng).await.unwrap();
    world.storage.claim_once(&new_hash(), NOW).await.unwrap();
    let (reached, go_on) = (Arc::<Notify>::default(), Arc::<Notify>::default());
    let suspended = Suspended {
        point,
        reached: Arc::clone(&reached),
        go_on: Arc::clone(&go_on),
    };
    let first = tokio::spawn(async move { first.switch(&suspended).await });
    timeout(PATIENCE, reached.notified()).await.unwrap();
    let end_locks = "SELECT CAST(pg_terminate_backend(pid) AS TEXT) FROM pg_locks
        WHERE locktype = 'advisory' AND pid <> pg_backend_pid()
            AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    for side in [&world.url, &to] {
        assert_eq!(strings(side, end_locks).await, ["true"], "{point}");
    }

    let second = the_move(&world.url, &to).await;
    let write = "INSERT INTO replays (hash, expires_at) VALUES ('\\x0c', 1)";
    let used = if switches {
        second.switch(&SilentObserver).await.unwrap();
        &to
    } else {
        second.cancel().await.unwrap();
        &world.url
    };
    run(used, write).await.unwrap();
    let expected = contents(used).await;
    go_on.notify_one();
    first.await.unwrap().unwrap_err();
    assert_eq!(contents(used).await, expected, "{point}");
    let written = world.storage.claim_once(&new_hash(), NOW).await;
    assert_eq!(written.is_err(), switches, "{point}: {written:?}");
    let state = second.status().await.unwrap().state;
    if switches {
        assert_eq!(state, MoveState::Live, "{point}");
    } else {
        assert_eq!(state, MoveState::None, "{point}");
    }
}
