//! The connections behind the verbs: lent, taken back in whatever state, and replaced.

use std::sync::Arc;
use std::time::Duration;

use aip_storage::StorageError;
use aip_storage::grant::{Approval, RevokeReason};
use aip_storage_sql::{Database, PgOptions};
use sqlx::{Connection as _, Executor as _};
use tokio::time::{Instant, timeout};

use crate::world::{NOW, World, alice, at_once};

super::on_both_engines!(
    work_is_told_what_it_used_of_the_database,
    many_more_callers_than_connections_are_served,
    callers_that_leave_in_the_middle_leave_nothing_half_done,
);

const TEST_TIMEOUT: Duration = Duration::from_secs(20);

async fn work_is_told_what_it_used_of_the_database(world: World) {
    let client = world.client("app").await;

    let (found, one) = crate::world::measure(world.storage.client(&client)).await;
    found.unwrap().unwrap();
    assert_eq!(one.statements, 1);
    assert!(one.execute_time > Duration::ZERO);

    let (grant, _) = world.redeemed(&client, &alice()).await;
    let revoke = world
        .storage
        .revoke_grant(grant.id, RevokeReason::ByPerson, NOW);
    let (done, several) = crate::world::measure(revoke).await;
    done.unwrap();
    assert!(several.statements > 1, "{several:?}");
}

async fn many_more_callers_than_connections_are_served(world: World) {
    let client = world.client("app").await;
    let found = at_once(200, |_| {
        let (storage, client) = (Arc::clone(&world.storage), client.clone());
        async move { storage.client(&client).await.unwrap().is_some() }
    })
    .await;
    assert!(found.iter().all(|it| *it));
}

/// Each caller is cut off after another number of steps of its transaction.
async fn callers_that_leave_in_the_middle_leave_nothing_half_done(world: World) {
    let client = world.client("app").await;
    let mut approvals: Vec<Approval> = Vec::new();
    for _ in 0..40 {
        approvals.push(world.approved(&client, &alice()).await);
    }
    for (n, approval) in approvals.iter().enumerate() {
        let id = approval.grant.id;
        let work = world.storage.revoke_grant(id, RevokeReason::ByPerson, NOW);
        let patience = Duration::from_micros(100 * u64::try_from(n).unwrap());
        // Whether it is done by then does not matter.
        let _ = timeout(patience, work).await;
    }

    // What was not revoked can be revoked: no lock and no half-done transaction is left.
    for approval in &approvals {
        let revoke = world
            .storage
            .revoke_grant(approval.grant.id, RevokeReason::ByPerson, NOW);
        timeout(TEST_TIMEOUT, revoke).await.unwrap().unwrap();
    }
    assert_eq!(world.storage.grants_of(&alice()).await.unwrap().len(), 0);
}

#[tokio::test]
async fn after_a_restart_of_the_server_its_database_answers_again() {
    let world = World::postgres().await;
    at_once(32, |_| {
        let storage = Arc::clone(&world.storage);
        async move { storage.ping().await.unwrap() }
    })
    .await;

    world.end_connections().await;

    // The first one to notice may fail; then there are new connections.
    let mut failures = 0;
    for _ in 0..20 {
        failures += u32::from(world.storage.ping().await.is_err());
    }
    assert!(failures <= 1, "{failures}");
}

#[tokio::test]
async fn who_waits_too_long_for_a_connection_is_told_that_the_database_is_away() {
    let world = World::postgres().await;
    let options = PgOptions {
        pool_size: 1,
        ..PgOptions::default()
    };
    let narrow = Database::connect(&world.url.parse().unwrap(), options)
        .await
        .unwrap();
    let storage = narrow.storage().await.unwrap();
    let client = world.client("app").await;
    let mut locking = sqlx::PgConnection::connect(&world.url).await.unwrap();
    let lock = "BEGIN; LOCK TABLE clients IN ACCESS EXCLUSIVE MODE";
    locking.execute(lock).await.unwrap();
    // The one connection waits for the lock.
    let holder = Arc::clone(&storage);
    let stuck = tokio::spawn(async move { holder.client(&client).await });

    let began = Instant::now();
    let mut refused = storage.ping().await;
    while refused.is_ok() && began.elapsed() < TEST_TIMEOUT {
        refused = storage.ping().await;
    }

    assert!(
        matches!(refused, Err(StorageError::Unavailable(_))),
        "{refused:?}"
    );
    assert!(began.elapsed() < TEST_TIMEOUT);
    stuck.abort();
}

#[tokio::test]
async fn a_statement_that_takes_too_long_is_given_up_with_its_connection() {
    let world = World::postgres().await;
    let options = PgOptions {
        pool_size: 1,
        statement_time: Duration::from_millis(300),
    };
    let hasty = Database::connect(&world.url.parse().unwrap(), options)
        .await
        .unwrap();
    let storage = hasty.storage().await.unwrap();
    let client = world.client("app").await;
    let mut locking = sqlx::PgConnection::connect(&world.url).await.unwrap();
    let lock = "BEGIN; LOCK TABLE clients IN ACCESS EXCLUSIVE MODE";
    locking.execute(lock).await.unwrap();

    let stuck = timeout(TEST_TIMEOUT, storage.client(&client))
        .await
        .unwrap();

    assert!(
        matches!(stuck, Err(StorageError::Unavailable(_))),
        "{stuck:?}"
    );
    storage.ping().await.unwrap();
}
