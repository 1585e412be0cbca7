//! Claiming the sessions that are due.

use std::sync::Arc;
use std::time::Duration;

use aip_atproto::Origin;
use aip_base::{RowId, Timestamp};
use aip_storage::Storage;
use aip_storage::refresh::ClaimDue;

use crate::world::{HOUR, MINUTE, NOW, World, alice, at_once, new_session};

super::on_both_engines!(
    due_sessions_are_claimed_once_each_and_oldest_first,
    the_sessions_of_some_servers_are_left_alone,
    a_row_that_cannot_be_read_keeps_no_other_from_being_claimed,
);

/// Long enough that it does not lapse while a story runs.
const LONG: Duration = HOUR;

async fn due_sessions_are_claimed_once_each_and_oldest_first(world: World) {
    const PDS: &str = "https://pds.example";
    let mut ids = Vec::new();
    for due in [3, 1, 2, 60] {
        ids.push(due_at(&world, PDS, NOW + due * MINUTE).await);
    }
    let now = NOW + 3 * MINUTE;
    let oldest = [Some(ids[1]), Some(ids[2])];
    assert_eq!(claim(&world, now, 2, &[]).await, oldest);
    assert_eq!(claim(&world, now, 10, &[]).await, [Some(ids[0])]);
    assert_eq!(claim(&world, now, 10, &[]).await, []);

    let mut due = Vec::new();
    for _ in 0..20 {
        due.push(due_at(&world, PDS, NOW).await);
    }
    let claims = at_once(4, |_| {
        let storage = Arc::clone(&world.storage);
        async move { claim_from(&storage, now, 5, &[]).await }
    });
    let mut claimed: Vec<_> = claims.await.concat().into_iter().flatten().collect();
    // Callers that meet may leave something over, but no two have the same.
    claimed.extend(claim(&world, now, 20, &[]).await.into_iter().flatten());
    claimed.sort();
    due.sort();
    assert_eq!(claimed, due);
}

async fn the_sessions_of_some_servers_are_left_alone(world: World) {
    let slow = due_at(&world, "https://slow.example", NOW).await;
    let fast = due_at(&world, "https://fast.example", NOW).await;
    let origin = |text| Origin::parse(text).unwrap();
    let except = [
        origin("https://slow.example"),
        origin("https://other.example"),
    ];
    assert_eq!(claim(&world, NOW, 10, &except).await, [Some(fast)]);
    assert_eq!(claim(&world, NOW, 10, &[]).await, [Some(slow)]);

    due_at(&world, "https://fast.example", NOW).await;
    let issuer = [origin("https://issuer.example")];
    assert_eq!(claim(&world, NOW, 10, &issuer).await, []);
}

async fn a_row_that_cannot_be_read_keeps_no_other_from_being_claimed(world: World) {
    let broken = due_at(&world, "https://pds.example", NOW).await;
    let whole = due_at(&world, "https://pds.example", NOW).await;
    world
        .raw(&format!(
            "UPDATE upstream_sessions SET pds = 'nowhere' WHERE id = '{broken}'"
        ))
        .await;
    assert_eq!(claim(&world, NOW, 10, &[]).await, [None, Some(whole)]);
}

async fn due_at(world: &World, pds: &str, due: Timestamp) -> RowId {
    let mut session = new_session(&"app".parse().unwrap(), &alice());
    session.pds = Origin::parse(pds).unwrap();
    session.next_refresh_at = due;
    world
        .storage
        .create_upstream_session(&session)
        .await
        .unwrap();
    session.id
}

/// Claims what is due, and says of what could be read which sessions it is.
pub(crate) async fn claim(
    world: &World,
    now: Timestamp,
    limit: u32,
    except: &[Origin],
) -> Vec<Option<RowId>> {
    claim_from(&world.storage, now, limit, except).await
}

async fn claim_from(
    storage: &Arc<dyn Storage>,
    now: Timestamp,
    limit: u32,
    except: &[Origin],
) -> Vec<Option<RowId>> {
    let due = ClaimDue {
        owner: "replica",
        length: LONG,
        now,
        limit,
        except,
    };
    let claimed = storage.claim_due(due).await.unwrap().into_iter();
    let mut claimed: Vec<_> = claimed
        .map(|it| {
            it.ok()
                .map(|(session, _)| (session.next_refresh_at, session.id))
        })
        .collect();
    // What one statement returns has no order of its own.
    claimed.sort();
    claimed.into_iter().map(|it| it.map(|(_, id)| id)).collect()
}
