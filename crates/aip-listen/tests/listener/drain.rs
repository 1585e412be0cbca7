//! The end: what runs is finished, what is idle is closed, what hangs is cut off.

use std::time::Duration;

use aip_listen::{Drained, ListenConfig, Stage};
use tokio::net::TcpStream;

use crate::client::{Client, DEADLINE};
use crate::server::Running;

const SLOW: &str = "GET /slow HTTP/1.1\r\nHost: a\r\n\r\n";

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
    assert_eq!(server.drained().await, Drained { cut: 0 });
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
    assert_eq!(server.drained().await, Drained { cut: 0 });
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
    assert_eq!(server.drained().await, Drained { cut: 1 });
}
