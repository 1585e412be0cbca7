//! Moves between two PostgreSQL servers: nothing is lost, whoever writes and wherever the move is killed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "in a test, a surprise is a failure"
)]

#[allow(
    dead_code,
    reason = "the world of the contract has more than a move needs"
)]
#[path = "../contract/world.rs"]
mod world;

mod interference;

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use aip_base::SystemRng;
use aip_keys::TokenHash;
use aip_storage::grant::Rotate;
use aip_storage::{Storage, StorageError};
use aip_storage_sql::{
    ConnectError, Database, DatabaseMove, MAX_PAUSE, MoveError, MoveObserver, MovePoint, MoveState,
    PgOptions,
};
use aip_testkit::postgres::create_database_elsewhere;
use async_trait::async_trait;
use futures_util::stream::{self, StreamExt as _};
use sqlx::{Connection as _, PgConnection};
use strum::IntoEnumIterator as _;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};

use crate::world::{NOW, World, alice, bob, new_hash, rotation_of, run, strings};

const PATIENCE: Duration = Duration::from_mins(1);

/// Triggers and tables of a move.
const LEFT: &str = "SELECT CAST(tgname AS TEXT) FROM pg_trigger WHERE NOT tgisinternal
    UNION SELECT CAST(relname AS TEXT) FROM pg_class WHERE relname LIKE 'aip\\_move%' AND relkind = 'r' ORDER BY 1";
const FOREIGN_KEYS: &str =
    "SELECT concat(conrelid::regclass, ' ', conname, ' ', pg_get_constraintdef(oid))
    FROM pg_constraint WHERE contype = 'f' AND convalidated ORDER BY 1";

struct SilentObserver;

#[async_trait]
impl MoveObserver for SilentObserver {
    async fn reached(&self, _: MovePoint) {}
    fn copied(&self, _: u64) {}
}

/// Goes on nowhere from a point.
struct StopsAt {
    point: MovePoint,
    reached: Arc<Notify>,
}

#[async_trait]
impl MoveObserver for StopsAt {
    async fn reached(&self, point: MovePoint) {
        if point == self.point {
            self.reached.notify_one();
            pending::<()>().await;
        }
    }
    fn copied(&self, _: u64) {}
}

async fn the_move(from: &str, to: &str) -> DatabaseMove {
    DatabaseMove::connect(&from.into(), &to.into())
        .await
        .unwrap()
}

async fn whole(the_move: &DatabaseMove, observer: &dyn MoveObserver) -> Result<(), MoveError> {
    the_move.copy(observer, &SystemRng).await?;
    the_move.switch(observer).await?;
    the_move.finish(observer).await
}

/// The rows of the tables that are moved, as text.
async fn contents(url: &str) -> Vec<String> {
    let tables = strings(
        url,
        "SELECT CAST(relname AS TEXT) FROM pg_class
         WHERE relkind = 'r' AND relpersistence = 'p' AND relnamespace = 'public'::regnamespace
             AND relname NOT LIKE 'aip\\_%' ORDER BY relname",
    );
    let mut contents = Vec::new();
    for table in tables.await {
        let rows = format!("SELECT concat('{table} ', row_to_json(t)) FROM {table} t ORDER BY 1");
        contents.extend(strings(url, rows).await);
    }
    contents
}

/// A world whose storage follows a move to `to`, and the storage of a server that does not.
async fn following(to: &str) -> (World, Arc<dyn Storage>) {
    let mut world = World::postgres().await;
    let (url, next) = (world.url.parse().unwrap(), to.parse().unwrap());
    let database = Database::connect_following(&url, &next, PgOptions::default());
    world.database = database.await.unwrap();
    let storage = world.database.storage().await.unwrap();
    let behind = std::mem::replace(&mut world.storage, storage);
    (world, behind)
}

/// A session whose refresh is under way: lease, fence and journal.
async fn refreshing(world: &World) {
    let client = world.client("keeper").await;
    let session = world.session(&client, &bob()).await;
    let id = session.id;
    world
        .raw(format!(
            "UPDATE upstream_sessions SET lease_owner = 'one', lease_until = 9000000000000000, fence = 7
                 WHERE id = '{id}';
             INSERT INTO upstream_refresh_journal VALUES ('{id}', 7, '\\x01', 5)"
        ))
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_is_moved_while_it_is_written() {
    let to = create_database_elsewhere().await;
    let (world, behind) = following(&to).await;
    refreshing(&world).await;
    let client = world.client("app").await;
    let stop = Arc::new(AtomicBool::new(false));
    let rotations = Arc::new(AtomicUsize::new(0));
    let mut writers = Vec::new();
    for _ in 0..4 {
        let (_, mut tokens) = world.redeemed(&client, &alice()).await;
        let storage = Arc::clone(&world.storage);
        let (stop, rotations, client) = (Arc::clone(&stop), Arc::clone(&rotations), client.clone());
        writers.push(tokio::spawn(async move {
            let (mut spent, mut longest) = (Vec::new(), Duration::ZERO);
            let mut last = Instant::now();
            while !stop.load(Ordering::SeqCst) {
                let rotation = rotation_of(&client, &tokens);
                match storage.rotate_refresh_token(&rotation).await {
                    Ok(Rotate::Rotated(_)) => {
                        spent.push(tokens.refresh);
                        tokens = rotation.tokens;
                        longest = longest.max(last.elapsed());
                        last = Instant::now();
                        rotations.fetch_add(1, Ordering::SeqCst);
                    }
                    Err(StorageError::Unavailable(_)) => {}
                    other => panic!("{other:?}"),
                }
                sleep(Duration::from_millis(5)).await;
            }
            (spent, tokens.refresh, longest)
        }));
    }
    let more = async |number: usize| {
        let enough = rotations.load(Ordering::SeqCst) + number;
        let waited = async {
            while rotations.load(Ordering::SeqCst) < enough {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(PATIENCE, waited).await.expect("the writers write");
    };
    more(20).await;
    let the_move = the_move(&world.url, &to).await;
    the_move.copy(&SilentObserver, &SystemRng).await.unwrap();
    more(20).await;
    assert_eq!(the_move.status().await.unwrap().state, MoveState::Copied);
    let moved = the_move.switch(&SilentObserver).await.unwrap();
    assert!(moved.paused <= MAX_PAUSE, "{moved:?}");
    let left_behind = contents(&world.url).await;
    more(20).await;
    assert_eq!(contents(&world.url).await, left_behind);
    the_move.finish(&SilentObserver).await.unwrap();
    more(20).await;
    stop.store(true, Ordering::SeqCst);

    let (url, next) = (world.url.parse().unwrap(), to.parse().unwrap());
    let again = Database::connect_following(&url, &next, PgOptions::default());
    let again = again.await.unwrap().storage().await.unwrap();
    for writer in writers {
        let (spent, live, longest) = writer.await.unwrap();
        assert!(longest <= MAX_PAUSE, "{longest:?}");
        for storage in [&world.storage, &again] {
            let is_spent = async |token: &TokenHash| {
                storage
                    .refresh_token(token, NOW)
                    .await
                    .unwrap()
                    .unwrap()
                    .spent
            };
            for token in &spent {
                assert!(is_spent(token).await);
            }
            assert!(!is_spent(&live).await);
        }
    }
    // A server with an old configuration reads what was, and writes nothing.
    let refused = behind.claim_once(&new_hash(), NOW).await;
    assert!(
        matches!(refused, Err(StorageError::Unavailable(_))),
        "{refused:?}"
    );
    let journal = "SELECT concat(fence, ' ', sent_at) FROM upstream_refresh_journal";
    assert_eq!(strings(&to, journal).await, ["7 5"]);
    let lease = "SELECT concat(lease_owner, ' ', fence) FROM upstream_sessions WHERE lease_until IS NOT NULL";
    assert_eq!(strings(&to, lease).await, ["one 7"]);
    let fresh = World::postgres().await;
    assert_eq!(
        strings(&to, FOREIGN_KEYS).await,
        fresh.strings(FOREIGN_KEYS).await
    );
    assert_eq!(strings(&to, LEFT).await, ["aip_move"]);
    assert_eq!(the_move.status().await.unwrap().state, MoveState::Finished);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_move_that_is_killed_at_any_point_is_completed() {
    stream::iter(MovePoint::iter())
        .for_each_concurrent(4, killed_at)
        .await;
}

async fn killed_at(point: MovePoint) {
    let world = World::postgres().await;
    let to = create_database_elsewhere().await;
    refreshing(&world).await;
    let client = world.client("app").await;
    let (_, tokens) = world.redeemed(&client, &alice()).await;
    let reached = Arc::new(Notify::new());
    let observer = StopsAt {
        point,
        reached: Arc::clone(&reached),
    };
    let killed = the_move(&world.url, &to).await;
    // Who is killed in the pause leaves a fence that lapses so soon.
    let killed = killed.pausing_at_most(Duration::from_secs(8));
    let killed = tokio::spawn(async move { whole(&killed, &observer).await });
    timeout(PATIENCE, reached.notified())
        .await
        .unwrap_or_else(|_| panic!("{point} is never reached"));
    killed.abort();
    assert!(killed.await.is_err(), "it was killed");

    let the_move = the_move(&world.url, &to).await;
    let state = the_move.status().await.unwrap().state;
    let is_over = matches!(
        state,
        MoveState::Closed | MoveState::Live | MoveState::Finished
    );
    let until = Instant::now() + PATIENCE;
    let rotation = rotation_of(&client, &tokens);
    loop {
        match world.storage.rotate_refresh_token(&rotation).await {
            // Before the source is closed it is written again as soon as the fence has lapsed.
            Ok(Rotate::Rotated(_)) if !is_over => break,
            Err(StorageError::Unavailable(_)) if is_over => break,
            Err(StorageError::Unavailable(_)) if Instant::now() < until => {
                sleep(Duration::from_millis(100)).await;
            }
            other => panic!("{point}: {other:?}"),
        }
    }
    let expected = contents(&world.url).await;
    whole(&the_move, &SilentObserver)
        .await
        .unwrap_or_else(|error| panic!("{point}: {error}"));
    assert_eq!(contents(&to).await, expected, "{point}");
    assert_eq!(strings(&to, LEFT).await, ["aip_move"], "{point}");
    assert_eq!(
        strings(&to, FOREIGN_KEYS).await,
        world.strings(FOREIGN_KEYS).await,
        "{point}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_that_takes_too_long_ends_and_nothing_is_switched() {
    let world = World::postgres().await;
    let to = create_database_elsewhere().await;
    let short = the_move(&world.url, &to).await;
    let short = short.pausing_at_most(Duration::from_secs(3));
    short.copy(&SilentObserver, &SystemRng).await.unwrap();
    let mut slow = PgConnection::connect(&world.url).await.unwrap();
    let mut slow = slow.begin().await.unwrap();
    let insert = "INSERT INTO replays (hash, expires_at) VALUES ('\\x0a', 1)";
    sqlx::query(insert).execute(&mut *slow).await.unwrap();
    let late = short.switch(&SilentObserver).await.unwrap_err();
    assert!(matches!(late, MoveError::PauseTooLong(_)), "{late}");
    assert!(world.storage.claim_once(&new_hash(), NOW).await.is_ok());
    slow.commit().await.unwrap();

    let expected = contents(&world.url).await;
    let the_move = the_move(&world.url, &to).await;
    the_move.switch(&SilentObserver).await.unwrap();
    assert_eq!(contents(&to).await, expected);
    assert!(expected.iter().any(|row| row.contains("\\\\x0a")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_move_that_is_given_up_leaves_both_as_they_were() {
    let to = create_database_elsewhere().await;
    let (world, _) = following(&to).await;
    let client = world.client("app").await;
    let the_move = the_move(&world.url, &to).await;
    let early = the_move.switch(&SilentObserver).await.unwrap_err();
    assert!(matches!(early, MoveError::NotCopied), "{early}");
    let early = the_move.finish(&SilentObserver).await.unwrap_err();
    assert!(matches!(early, MoveError::NotLive), "{early}");
    the_move.copy(&SilentObserver, &SystemRng).await.unwrap();
    // What was written since is known to this target alone, so there is no second one.
    let second = create_database_elsewhere().await;
    let second = self::the_move(&world.url, &second).await;
    let refused = second.copy(&SilentObserver, &SystemRng).await.unwrap_err();
    assert!(
        refused.to_string().contains("to another one already"),
        "{refused}"
    );
    let undone = "DELETE FROM aip_schema_migrations
        WHERE version = (SELECT max(version) FROM aip_schema_migrations)";
    run(&to, undone).await.unwrap();
    let changed = the_move.switch(&SilentObserver).await.unwrap_err();
    assert!(matches!(changed, MoveError::SchemaChanged), "{changed}");
    the_move.cancel().await.unwrap();
    assert!(world.strings(LEFT).await.is_empty());
    let tables = "SELECT CAST(tablename AS TEXT) FROM pg_tables WHERE schemaname = 'public'";
    assert!(strings(&to, tables).await.is_empty());
    world.redeemed(&client, &alice()).await;

    whole(&the_move, &SilentObserver).await.unwrap();
    let late = the_move.cancel().await.unwrap_err();
    assert!(matches!(late, MoveError::IsLive), "{late}");
    world.redeemed(&client, &alice()).await;

    // And back, to an empty database: the one that was left refuses.
    let back = self::the_move(&to, &world.url).await;
    let refused = back.check().await.unwrap_err().to_string();
    assert!(refused.contains("part of another move"), "{refused}");
    let home = crate::world::empty_postgres().await;
    let expected = contents(&to).await;
    whole(&self::the_move(&to, &home).await, &SilentObserver)
        .await
        .unwrap();
    assert_eq!(contents(&home).await, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn databases_that_are_not_fit_are_refused_and_nothing_is_changed() {
    let world = World::postgres().await;
    world.client("app").await;
    let full = World::migrated(create_database_elsewhere().await, None).await;
    full.client("other").await;
    let to = create_database_elsewhere().await;
    let at = |url: &str, name: &str| {
        let (before, after) = url.split_once('?').unwrap();
        let (server, _) = before.rsplit_once('/').unwrap();
        format!("{server}/{name}?{after}")
    };
    run(
        &to,
        "CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0",
    )
    .await
    .unwrap();
    run(&to, "CREATE ROLE guest LOGIN").await.unwrap();
    let guest = to.replace("//aip@", "//guest@");
    for (target, words) in [
        (&full.url, "clients has 1 row(s)"),
        (&world.url, "the same database"),
        (&at(&to, "latin"), "encoding LATIN1 in place of UTF8"),
        (&guest, "GRANT CREATE, USAGE ON SCHEMA public TO guest"),
    ] {
        let the_move = the_move(&world.url, target).await;
        for refused in [
            the_move.check().await,
            the_move.copy(&SilentObserver, &SystemRng).await,
        ] {
            let refused = refused.unwrap_err();
            assert!(matches!(refused, MoveError::Refused(_)), "{refused}");
            assert!(refused.to_string().contains(words), "{refused}");
        }
    }
    assert!(world.strings(LEFT).await.is_empty());
    assert!(strings(&to, LEFT).await.is_empty());

    // A server is not led to a database that is not the next one of its own, nor does it use one that was moved.
    whole(&the_move(&full.url, &to).await, &SilentObserver)
        .await
        .unwrap();
    let empty = create_database_elsewhere().await;
    let nowhere = at(&to, "nowhere");
    for (url, next, words) in [
        (&world.url, &to, "was not moved from that"),
        (&full.url, &empty, "does not lead to where"),
        (
            &world.url,
            &nowhere,
            "cannot connect to the database of database.next_url",
        ),
    ] {
        let (url, next) = (url.parse().unwrap(), next.parse().unwrap());
        let refused = Database::connect_following(&url, &next, PgOptions::default()).await;
        let Err(ConnectError::Following(refused)) = refused else {
            panic!("{refused:?}");
        };
        assert!(refused.to_string().contains(words), "{refused}");
    }
}

#[tokio::test]
async fn there_is_nothing_in_the_schema_that_a_move_would_miss() {
    let world = World::postgres().await;
    let others = "SELECT CAST(relname AS TEXT) FROM pg_class
        WHERE relnamespace = 'public'::regnamespace AND relkind IN ('S', 'v', 'm', 'p', 'f')";
    assert!(world.strings(others).await.is_empty());
    let without_key = "SELECT CAST(relname AS TEXT) FROM pg_class c
        WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND relpersistence = 'p'
            AND NOT EXISTS (SELECT FROM pg_index WHERE indrelid = c.oid AND indisprimary)";
    assert!(world.strings(without_key).await.is_empty());
}
