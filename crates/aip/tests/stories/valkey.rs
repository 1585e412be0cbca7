//! With Valkey between the replicas: what is lost with it is speed.

use aip_testkit::valkey::{SERVER_TIMEOUT, ValkeyServer};
use futures_util::future::join_all;
use http::StatusCode;
use tokio::time::{Duration, Instant, sleep};

use crate::keeping::{GET_SESSION, STALE, app_with_session, refreshes, session};
use crate::on_both_engines;
use crate::world::World;

on_both_engines!(
    replicas_share_nonces_in_valkey,
    losing_valkey_in_the_middle_costs_no_session,
);

async fn replicas_share_nonces_in_valkey(world: &World) {
    let valkey = world.valkey().await;
    until_connected(&valkey, 1).await;
    let (app, tokens) = app_with_session(world).await;
    let _before = world.replica().await;
    until_connected(&valkey, 2).await;
    let answer = app.query(&tokens.access, GET_SESSION).await;
    assert_eq!(answer.ok()["did"], world.alice().did.as_str());
    // This replica never spoke to the PDS, and began with the right nonce.
    let asked = world.pds().requests();
    let refused = asked
        .iter()
        .filter(|it| it.answered() != Some(StatusCode::OK));
    assert_eq!(refused.count(), 0, "{asked:?}");
}

async fn losing_valkey_in_the_middle_costs_no_session(world: &World) {
    let mut valkey = world.valkey().await;
    let (app, tokens) = app_with_session(world).await;
    let replicas = [world.replica().await, world.replica().await, world.aip()];
    until_connected(&valkey, replicas.len()).await;
    for (round, lost) in ["nothing", "its data", "itself", "itself still"]
        .iter()
        .enumerate()
    {
        world.pass(STALE);
        let uses = (0..20).map(async |number| {
            world.lead_to(&replicas[number % replicas.len()]);
            app.query(&tokens.access, GET_SESSION).await
        });
        let lose = async {
            match *lost {
                "its data" => valkey.wipe().await,
                "itself" => valkey.kill().await,
                _ => {}
            }
        };
        let (answers, ()) = tokio::join!(join_all(uses), lose);
        for answer in answers {
            assert_eq!(answer.ok()["did"], world.alice().did.as_str(), "{lost}");
        }
        assert_eq!(refreshes(world), round + 1, "Valkey loses {lost}");
    }
    assert_eq!(session(world).await.generation, 4);
}

/// Waits until so many replicas are connected.
async fn until_connected(valkey: &ValkeyServer, replicas: usize) {
    let expected = format!("aip:notices\n{replicas}");
    let deadline = Instant::now() + SERVER_TIMEOUT;
    while valkey.cli(&["PUBSUB", "NUMSUB", "aip:notices"]).await != expected {
        assert!(Instant::now() < deadline, "not {replicas} connections");
        sleep(Duration::from_millis(20)).await;
    }
}
