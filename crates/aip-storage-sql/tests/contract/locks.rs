//! The order in which transactions lock rows: two that meet in the worst moment both succeed. PostgreSQL
//! alone has locks of rows; the stories that run on both engines have them meet by chance.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use aip_base::RowId;
use aip_storage::StorageError;
use aip_storage::audit::AuditKind;
use aip_storage::client::ClientId;
use aip_storage::grant::RevokeReason;
use aip_storage::housekeeping::RetentionClass;
use aip_storage::upstream::EndReason;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::client_documents::pending;
use crate::logouts::{browser_of, given_on, told};
use crate::world::{DAY, NOW, World, alice, at_once, new_event};

super::on_both_engines!(
    grants_and_sessions_end_at_once,
    apps_are_deleted_while_people_sign_out,
);

/// How long a test waits for what must come.
const TEST_TIMEOUT: Duration = Duration::from_secs(30);

type Outcome = JoinHandle<Result<(), StorageError>>;

/// A lock that somebody else holds.
struct HeldRowLock(PgConnection);

impl HeldRowLock {
    async fn row(world: &World, table: &str, id: RowId) -> Self {
        let mut connection = PgConnection::connect(&world.url).await.unwrap();
        let lock = format!("BEGIN; SELECT 1 FROM {table} WHERE id = '{id}' FOR UPDATE");
        connection.execute(AssertSqlSafe(lock)).await.unwrap();
        Self(connection)
    }

    async fn release(mut self) {
        self.0.execute("COMMIT").await.unwrap();
    }
}

/// Starts a verb and returns when so many of this database wait for a lock.
async fn started(
    world: &World,
    waiting: u32,
    verb: impl Future<Output = Result<(), StorageError>> + Send + 'static,
) -> Outcome {
    let running = tokio::spawn(verb);
    let waits = "SELECT CAST(count(*) AS TEXT) FROM pg_stat_activity
        WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let all_wait = async {
        while world.strings(waits).await != [waiting.to_string()] {
            tokio::task::yield_now().await;
        }
    };
    timeout(TEST_TIMEOUT, all_wait).await.unwrap();
    running
}

async fn both_succeed(outcomes: [Outcome; 2]) {
    for outcome in outcomes {
        let outcome = timeout(TEST_TIMEOUT, outcome).await.unwrap();
        outcome.unwrap().unwrap();
    }
}

/// Whoever ends the session has its lock, or is the next to have it, when somebody ends its grant.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_ends_a_session_and_who_ends_its_grant_do_not_wait_for_each_other() {
    let world = World::postgres().await;
    let app = told(&world, "app").await;
    for several in [false, true] {
        let session = world.session(&app, &alice()).await.id;
        let browser = browser_of(&world, &[alice()]).await;
        let grant = given_on(&world, &app, browser, &alice(), "openid", session).await;
        given_on(&world, &app, browser, &alice(), "openid", session).await;
        let held = HeldRowLock::row(&world, "upstream_sessions", session).await;
        let storage = Arc::clone(&world.storage);
        let first = started(&world, 1, async move {
            let end = storage.end_upstream_session(session, EndReason::ByOperator, NOW);
            end.await.map(drop)
        });
        let first = first.await;
        let (storage, app) = (Arc::clone(&world.storage), app.clone());
        let second = started(&world, 2, async move {
            let reason = RevokeReason::ByPerson;
            if several {
                let did = alice();
                let end = storage.revoke_client_grants(
                    &app,
                    &did,
                    reason,
                    NOW,
                    new_event(AuditKind::GrantRevoked, &alice()),
                );
                return end.await.map(drop);
            }
            storage.revoke_grant(grant.grant.id, reason, NOW).await
        });
        let second = second.await;
        held.release().await;
        both_succeed([first, second]).await;
        assert!(world.storage.grants_of(&alice()).await.unwrap().is_empty());
    }
}

/// The clean-up leaves to its next round what somebody holds, and holds up nobody who comes to it later.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_clean_up_waits_for_nobody() {
    let world = World::postgres().await;
    let app = told(&world, "app").await;
    let session = world.session(&app, &alice()).await.id;
    let browser = browser_of(&world, &[alice()]).await;
    let mut grants = Vec::new();
    for _ in 0..4 {
        let given = given_on(&world, &app, browser, &alice(), "openid", session).await;
        grants.push(given.grant.id);
    }
    let (did, reason) = (alice(), RevokeReason::ByPerson);
    let end = world.storage.revoke_client_grants(
        &app,
        &did,
        reason,
        NOW,
        new_event(AuditKind::GrantRevoked, &alice()),
    );
    end.await.unwrap();
    grants.sort_unstable();
    let held = HeldRowLock::row(&world, "grants", grants[1]).await;
    // A sign-out locks them one after the other, and waits for the second one.
    let storage = Arc::clone(&world.storage);
    let out = started(&world, 1, async move {
        let did = alice();
        let out = storage.sign_out_account(browser, &did, NOW);
        out.await.map(drop)
    });
    let out = out.await;
    let later = NOW + DAY * 3650;
    let forgotten = async || {
        let round = timeout(TEST_TIMEOUT, world.storage.purge_expired(later, 1000));
        let counts = round.await.unwrap().unwrap().counts;
        let of_grants = counts
            .iter()
            .find(|(kind, _)| *kind == RetentionClass::Grants);
        of_grants.unwrap().1
    };
    assert_eq!(forgotten().await, 2, "those that nobody holds");
    held.release().await;
    let out = timeout(TEST_TIMEOUT, out).await.unwrap();
    out.unwrap().unwrap();
    assert_eq!(forgotten().await, 2);
}

/// Whoever deletes a client or a browser session deletes its requests, one of which somebody allows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_deletes_requests_and_who_allows_one_do_not_wait_for_each_other() {
    let world = World::postgres().await;
    for of_client in [false, true] {
        let app = told(&world, &format!("app-{of_client}")).await;
        let session = world.session(&app, &alice()).await.id;
        let approval = world.pending(&app, &alice(), session).await;
        let browser = approval.browser;
        let held = if of_client {
            HeldRowLock::row(&world, "upstream_sessions", session).await
        } else {
            HeldRowLock::row(&world, "browser_sessions", browser).await
        };
        let storage = Arc::clone(&world.storage);
        let deletion = started(&world, 1, async move {
            if of_client {
                return storage.delete_client(&app, NOW).await.map(drop);
            }
            let deleted = storage.delete_browser_session(browser, NOW);
            deleted.await.map(drop)
        });
        let deletion = deletion.await;
        let storage = Arc::clone(&world.storage);
        let yes = started(&world, 2, async move {
            storage.approve(&approval).await.map(drop)
        });
        let yes = yes.await;
        held.release().await;
        both_succeed([deletion, yes]).await;
        assert!(world.storage.grants_of(&alice()).await.unwrap().is_empty());
    }
}

/// A client gives its place up for one that is allowed something, while the browser in which both were used is
/// signed out: that holds the request of the one, and then the grants of the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_makes_room_for_a_client_and_who_signs_a_browser_out_do_not_wait_for_each_other() {
    let world = World::postgres().await;
    for all_accounts in [false, true] {
        let old = told(
            &world,
            &format!("https://old-{all_accounts}.example/c.json"),
        )
        .await;
        let session = world.session(&old, &alice()).await.id;
        let browser = browser_of(&world, &[alice()]).await;
        let mut ended = Vec::new();
        for _ in 0..2 {
            let given = given_on(&world, &old, browser, &alice(), "openid", session).await;
            ended.push(given.grant.id);
        }
        ended.sort_unstable();
        let end = world
            .storage
            .end_upstream_session(session, EndReason::ByOperator, NOW);
        end.await.unwrap();
        let id = old.as_str();
        let from_document = "UPDATE clients SET from_document = TRUE";
        world
            .raw(format!("{from_document} WHERE id = '{id}'"))
            .await;
        world.raw("DELETE FROM logout_deliveries").await;
        world.raw("DELETE FROM authorization_requests").await;
        let new = format!("https://new-{all_accounts}.example/c.json");
        let new: ClientId = new.parse().unwrap();
        let mut approval = pending(&world, &new, 1).await;
        let in_browser = format!("UPDATE authorization_requests SET browser_id = '{browser}'");
        world.raw(in_browser).await;
        approval.browser = browser;
        let held = HeldRowLock::row(&world, "grants", ended[1]).await;
        let storage = Arc::clone(&world.storage);
        let yes = started(&world, 1, async move {
            storage.approve(&approval).await.map(drop)
        });
        let yes = yes.await;
        let storage = Arc::clone(&world.storage);
        let out = started(&world, 2, async move {
            if all_accounts {
                return storage.delete_browser_session(browser, NOW).await.map(drop);
            }
            let did = alice();
            storage.sign_out_account(browser, &did, NOW).await.map(drop)
        });
        let out = out.await;
        held.release().await;
        both_succeed([yes, out]).await;
        assert!(world.storage.client(&old).await.unwrap().is_none());
        assert_eq!(
            world.storage.client(&new).await.unwrap().is_some(),
            !all_accounts,
            "its request ended with the browser session"
        );
        world.storage.delete_client(&new, NOW).await.unwrap();
    }
}

async fn grants_and_sessions_end_at_once(world: World) {
    let app = told(&world, "app").await;
    for _ in 0..3 {
        let browser = browser_of(&world, &[alice()]).await;
        let mut ends = Vec::new();
        for _ in 0..4 {
            let session = world.session(&app, &alice()).await.id;
            for _ in 0..2 {
                let given = given_on(&world, &app, browser, &alice(), "openid", session).await;
                ends.push((session, given.grant.id));
            }
        }
        let ends = Arc::new(ends);
        let outcomes = at_once(24, |n| {
            let (storage, ends) = (Arc::clone(&world.storage), Arc::clone(&ends));
            let app = app.clone();
            async move {
                let (session, grant) = ends[n % ends.len()];
                match n % 4 {
                    0 => {
                        let reason = EndReason::ByOperator;
                        let end = storage.end_upstream_session(session, reason, NOW);
                        end.await.map(drop)
                    }
                    1 => {
                        storage
                            .revoke_grant(grant, RevokeReason::ByPerson, NOW)
                            .await
                    }
                    2 => {
                        let reason = RevokeReason::ByPerson;
                        let did = alice();
                        let end = storage.revoke_client_grants(
                            &app,
                            &did,
                            reason,
                            NOW,
                            new_event(AuditKind::GrantRevoked, &alice()),
                        );
                        end.await.map(drop)
                    }
                    _ => storage.delete_browser_session(browser, NOW).await.map(drop),
                }
            }
        });
        for outcome in outcomes.await {
            outcome.unwrap();
        }
        assert!(world.storage.grants_of(&alice()).await.unwrap().is_empty());
    }
}

async fn apps_are_deleted_while_people_sign_out(world: World) {
    for round in 0..3 {
        let app = told(&world, &format!("app-{round}")).await;
        let browser = browser_of(&world, &[alice()]).await;
        let session = world.session(&app, &alice()).await.id;
        for _ in 0..6 {
            given_on(&world, &app, browser, &alice(), "openid", session).await;
        }
        let outcomes = at_once(12, |n| {
            let (storage, app) = (Arc::clone(&world.storage), app.clone());
            async move {
                match n % 3 {
                    0 => storage.delete_client(&app, NOW).await.map(drop),
                    1 => {
                        let did = alice();
                        let out = storage.sign_out_account(browser, &did, NOW);
                        out.await.map(drop)
                    }
                    _ => {
                        let reason = EndReason::ByOperator;
                        let end = storage.end_upstream_session(session, reason, NOW);
                        end.await.map(drop)
                    }
                }
            }
        });
        for outcome in outcomes.await {
            outcome.unwrap();
        }
        assert!(world.storage.client(&app).await.unwrap().is_none());
    }
}
