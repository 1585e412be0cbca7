//! Notices between processes: heard by every subscriber of every one.

use std::sync::Arc;
use std::time::Duration;

use aip_base::SystemRng;
use aip_storage::notices::{Notice, Notices};
use aip_storage_sql::{Database, PgOptions};
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use tokio::time::{Instant, timeout};

use crate::world::{World, alice, new_id};

const TEST_TIMEOUT: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_notice_is_heard_by_every_subscriber_and_its_sender() {
    let world = World::postgres().await;
    let notices = listening(&world.database);
    let (mut one, mut two) = (notices.subscribe(), notices.subscribe());
    until_heard(&*notices, &mut one).await;
    until_heard(&*notices, &mut two).await;

    for notice in [
        Notice::SessionSettled(new_id()),
        Notice::IdentityChanged(alice()),
    ] {
        notices.publish(&notice).await;
        heard(&mut one, &notice).await;
        heard(&mut two, &notice).await;
    }
}

#[tokio::test]
async fn a_subscriber_that_does_not_listen_holds_nobody_up() {
    let world = World::postgres().await;
    let notices = listening(&world.database);
    let (mut idle, mut listener) = (notices.subscribe(), notices.subscribe());
    until_heard(&*notices, &mut listener).await;
    for _ in 0..2000 {
        notices.publish(&Notice::IdentityChanged(alice())).await;
    }
    let last = Notice::SessionSettled(new_id());
    notices.publish(&last).await;

    // Both have lost some of many, and neither has lost the newest.
    heard(&mut listener, &last).await;
    heard(&mut idle, &last).await;
}

#[tokio::test]
async fn a_notice_reaches_the_other_processes_on_a_server() {
    let world = World::postgres().await;
    let elsewhere = Database::connect(&world.url.parse().unwrap(), PgOptions::default())
        .await
        .unwrap();
    let (here, there) = (listening(&world.database), listening(&elsewhere));
    let (mut heard_here, mut heard_elsewhere) = (here.subscribe(), there.subscribe());

    until_heard(&*here, &mut heard_elsewhere).await;
    until_heard(&*there, &mut heard_here).await;
}

#[tokio::test]
async fn a_listener_whose_connection_is_cut_listens_again() {
    let world = World::postgres().await;
    let notices = listening(&world.database);
    let mut stream = notices.subscribe();
    until_heard(&*notices, &mut stream).await;

    world
        .raw(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
             WHERE datname = current_database() AND query LIKE 'LISTEN%'",
        )
        .await;

    until_heard(&*notices, &mut stream).await;
}

#[tokio::test]
async fn a_stream_listens_on_without_what_it_came_from() {
    let world = World::postgres().await;
    let notices = listening(&world.database);
    let mut stream = notices.subscribe();
    drop(notices);

    until_heard(&*listening(&world.database), &mut stream).await;
}

fn listening(database: &Database) -> Arc<dyn Notices> {
    database.notices(Arc::new(SystemRng)).unwrap()
}

/// Listening begins, and begins again, some time after it was asked for.
async fn until_heard(sender: &dyn Notices, stream: &mut BoxStream<'static, Notice>) {
    let deadline = Instant::now() + TEST_TIMEOUT;
    let notice = Notice::SessionSettled(new_id());
    loop {
        sender.publish(&notice).await;
        let soon = timeout(Duration::from_millis(100), async {
            while stream.next().await.unwrap() != notice {}
        });
        if soon.await.is_ok() {
            return;
        }
        assert!(Instant::now() < deadline, "nothing is heard");
    }
}

async fn heard(stream: &mut BoxStream<'static, Notice>, notice: &Notice) {
    let found = timeout(TEST_TIMEOUT, async {
        while stream.next().await.unwrap() != *notice {}
    });
    assert!(found.await.is_ok(), "{notice:?} was not heard");
}
