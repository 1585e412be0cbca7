//! The end: what runs is finished, what is idle is closed, what hangs is cut off.

use std::sync::Arc;
use std::time::Duration;

use aip_listen::{Drained, ListenConfig, Stage};
use tokio::net::TcpStream;

use crate::client::{Client, DEADLINE};
use crate::server::Running;

const SLOW: &str = "GET /slow HTTP/1.1\r\nHost: a\r\n\r\n";
/// Its handler runs in a task of its own.
const DETACHED: &str = "GET /detached HTTP/1.1\r\nHost: a\r\n\r\n";

async fn until(mut holds: impl FnMut() -> bool) {
    let poll = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(DEADLINE, poll).await.expect("in time");
}

#[tokio::test]
async fn a_running_request_is_finished_and_its_connection_closed() {
    let server = Running::plain(ListenConfig::default()).await;
    let mut client = Client::connect(server.address).await;
    client.send(SLOW).await;
    until(|| server.requests() == 1).await;

    server.life.advance(Stage::Draining);
    server.go_on.add_permits(1);
    let answer = client.read_to_end().await;
    assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
    assert!(answer.ends_with("done"), "{answer}");
    assert_eq!(server.drained().await, Drained::default());
}

#[tokio::test]
async fn idle_connections_are_closed_and_new_ones_refused() {
    let server = Running::plain(ListenConfig::default()).await;
    let mut idle = Client::connect(server.address).await;
    idle.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    idle.read_until("hello").await;

    server.life.advance(Stage::Draining);
    assert_eq!(idle.read_to_end().await, "");
    let address = server.address;
    assert_eq!(server.drained().await, Drained::default());
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn a_request_that_hangs_is_cut_off_at_the_deadline_and_counted() {
    let server = Running::plain(ListenConfig {
        drain_timeout: Duration::from_millis(100),
        ..ListenConfig::default()
    })
    .await;
    let mut client = Client::connect(server.address).await;
    client.send(SLOW).await;
    until(|| server.requests() == 1).await;

    server.life.advance(Stage::Draining);
    assert_eq!(client.read_to_end().await, "");
    assert_eq!(server.drained().await.cut, 1);
}

#[tokio::test]
async fn a_handler_that_goes_on_after_its_client_left_is_waited_for() {
    let server = Running::plain(ListenConfig::default()).await;
    leave_during(DETACHED, &server).await;

    let go_on = Arc::clone(&server.go_on);
    server.life.advance(Stage::Draining);
    let drained = server.drained();
    tokio::pin!(drained);
    let early = tokio::time::timeout(Duration::from_millis(50), &mut drained).await;
    assert!(early.is_err(), "the handler has not finished");
    go_on.add_permits(1);
    assert_eq!(drained.await, Drained::default());
}

#[tokio::test]
async fn a_handler_that_hangs_holds_up_the_drain_no_longer_than_the_deadline() {
    let server = Running::plain(ListenConfig {
        drain_timeout: Duration::from_millis(100),
        ..ListenConfig::default()
    })
    .await;
    leave_during(DETACHED, &server).await;

    server.life.advance(Stage::Draining);
    assert_eq!(
        server.drained().await,
        Drained {
            cut: 0,
            unfinished_handlers: 1
        }
    );
}

/// Sends a request and closes the connection when its handler runs.
async fn leave_during(request: &str, server: &Running) {
    let mut client = Client::connect(server.address).await;
    client.send(request).await;
    until(|| server.handlers.len() == 1).await;
    drop(client);
}
