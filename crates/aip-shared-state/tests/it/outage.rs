//! A server that dies, stalls or forgets costs speed, and nothing else.

use std::sync::Arc;
use std::time::Duration;

use aip_atproto::Origin;
use aip_base::SystemRng;
use aip_shared_state::SharedState;
use aip_shared_state::valkey::{COMMAND_TIMEOUT, Valkey};
use aip_storage::nonces::{ReceivedNonce, ServerRole, SharedNonces as _};
use aip_storage::notices::{LocalNotices, Notice};
use aip_storage::rates::{RateLimits as _, Verdict};
use aip_testkit::shared_state::until_heard;
use aip_testkit::valkey::ValkeyServer;
use tokio::time::Instant;

use crate::support::{NOW, ONE_AN_HOUR, config, connected, until_it_works};

#[tokio::test]
async fn a_server_that_is_killed_is_done_without_and_found_again() {
    let mut server = ValkeyServer::start().await;
    let valkey = connected(&server.url()).await;
    let shared = SharedState::local().behind(&valkey);
    let take = || shared.rates.take("somebody", ONE_AN_HOUR, NOW);
    assert_eq!(take().await.unwrap(), Verdict::Permitted);
    assert_ne!(take().await.unwrap(), Verdict::Permitted);

    server.kill().await;
    // What stands behind it has not counted yet, and does from now on.
    assert_eq!(take().await.unwrap(), Verdict::Permitted);
    let began = Instant::now();
    for _ in 0..1000 {
        assert_ne!(take().await.unwrap(), Verdict::Permitted);
    }
    assert!(
        began.elapsed() < COMMAND_TIMEOUT,
        "an outage holds nobody up"
    );

    server.begin().await;
    until_it_works(&valkey).await;
    // It has forgotten, and that is all.
    assert_eq!(take().await.unwrap(), Verdict::Permitted);
}

#[tokio::test]
async fn a_server_that_stalls_holds_up_one_call_and_no_other() {
    let server = ValkeyServer::start().await;
    let valkey = connected(&server.url()).await;
    let shared = SharedState::local().behind(&valkey);
    server.stall(Duration::from_secs(20)).await;
    let began = Instant::now();
    for call in 0..100 {
        let key = format!("call {call}");
        let verdict = shared.rates.take(&key, ONE_AN_HOUR, NOW).await;
        assert_eq!(verdict.unwrap(), Verdict::Permitted);
    }
    let took = began.elapsed();
    assert!(took < 2 * COMMAND_TIMEOUT, "{took:?}");
}

#[tokio::test]
async fn calls_under_way_when_the_server_dies_all_get_an_answer() {
    let mut server = ValkeyServer::start().await;
    let shared = SharedState::local().behind(&connected(&server.url()).await);
    let callers: Vec<_> = (0..8)
        .map(|caller| {
            let rates = Arc::clone(&shared.rates);
            tokio::spawn(async move {
                for call in 0..300 {
                    let key = format!("{caller} {call}");
                    rates.take(&key, ONE_AN_HOUR, NOW).await.unwrap();
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    server.kill().await;
    for caller in callers {
        caller.await.unwrap();
    }
}

#[tokio::test]
async fn a_wiped_server_forgets_and_goes_on() {
    let server = ValkeyServer::start().await;
    let valkey = connected(&server.url()).await;
    let (role, origin) = (
        ServerRole::Resource,
        Origin::parse("https://pds.example").unwrap(),
    );
    let given = ReceivedNonce {
        nonce: "n".to_owned(),
        at: NOW,
    };
    valkey.offer_nonce(role, &origin, &given).await.unwrap();
    let take = || valkey.take("somebody", ONE_AN_HOUR, NOW);
    assert_eq!(take().await.unwrap(), Verdict::Permitted);
    server.wipe().await;
    server.cli(&["SCRIPT", "FLUSH"]).await;
    assert_eq!(valkey.newest_nonce(role, &origin).await.unwrap(), None);
    assert_eq!(take().await.unwrap(), Verdict::Permitted);
    assert_ne!(take().await.unwrap(), Verdict::Permitted);
}

#[tokio::test]
async fn what_somebody_else_wrote_under_our_keys_is_written_over() {
    let server = ValkeyServer::start().await;
    let valkey = connected(&server.url()).await;
    let (role, origin) = (
        ServerRole::Resource,
        Origin::parse("https://pds.example").unwrap(),
    );
    server.cli(&["SET", "aip:rate:somebody", "nonsense"]).await;
    let nonce = "aip:nonce:resource:https://pds.example";
    server.cli(&["SET", nonce, "nonsense"]).await;
    let verdict = valkey.take("somebody", ONE_AN_HOUR, NOW).await;
    assert_eq!(verdict.unwrap(), Verdict::Permitted);
    assert_eq!(valkey.newest_nonce(role, &origin).await.unwrap(), None);
    let given = ReceivedNonce {
        nonce: "n".to_owned(),
        at: NOW,
    };
    valkey.offer_nonce(role, &origin, &given).await.unwrap();
    let newest = valkey.newest_nonce(role, &origin).await.unwrap();
    assert_eq!(newest, Some(given));
}

#[tokio::test]
async fn notices_go_another_way_while_the_server_is_away_and_come_back() {
    let mut server = ValkeyServer::start().await;
    let row = "0192f3a4-7b1c-7def-8abc-0123456789ab";
    let notice = Notice::SessionSettled(row.parse().unwrap());
    // The database, which both replicas reach.
    let behind = Arc::new(LocalNotices::default());
    let replica = async |url: &str| {
        let mut state = SharedState::local();
        state.notices = Arc::clone(&behind) as _;
        state.behind(&connected(url).await)
    };
    let (one, two) = (replica(&server.url()).await, replica(&server.url()).await);
    let mut listener = two.notices.subscribe();
    until_heard(&*one.notices, &notice, &mut listener).await;
    server.kill().await;
    until_heard(&*one.notices, &notice, &mut listener).await;
    server.begin().await;
    // Only Valkey connects these two.
    let alone = connected(&server.url()).await;
    until_heard(&*alone, &notice, &mut listener).await;
}

#[tokio::test]
async fn a_server_that_comes_later_is_found() {
    let mut server = ValkeyServer::start().await;
    server.kill().await;
    let valkey = Valkey::start(config(&server.url()), Arc::new(SystemRng));
    assert!(valkey.take("early", ONE_AN_HOUR, NOW).await.is_err());
    assert!(config(&server.url()).check().await.is_err());
    server.begin().await;
    until_it_works(&valkey).await;
    config(&server.url()).check().await.unwrap();
}
