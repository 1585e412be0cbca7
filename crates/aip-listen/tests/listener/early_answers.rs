//! Requests that are answered before all of their body has come (RFC 9112 §9.6): the answer arrives.

use aip_listen::ListenConfig;

use crate::client::Client;
use crate::server::Running;

/// Far more than the buffers of a connection hold.
const LARGE: usize = 5 * 1024 * 1024;

const HEAD: &str = "HTTP/1.1\r\nHost: a\r\n";

fn of_known_length(path: &str) -> String {
    let body = "a".repeat(LARGE);
    format!("POST {path} {HEAD}Content-Length: {LARGE}\r\n\r\n{body}")
}

fn chunked(path: &str) -> String {
    let chunk = "a".repeat(64 * 1024);
    let chunks = format!("{:x}\r\n{chunk}\r\n", chunk.len()).repeat(LARGE / chunk.len());
    format!("POST {path} {HEAD}Transfer-Encoding: chunked\r\n\r\n{chunks}0\r\n\r\n")
}

#[tokio::test]
async fn who_reads_only_after_writing_everything_gets_the_answer() {
    let server = Running::plain(ListenConfig::default()).await;
    for path in ["/refuse", "/refuse-after-a-part"] {
        for request in [of_known_length(path), chunked(path)] {
            let mut client = Client::connect(server.address).await;
            client.send(&request).await;
            let answer = client.read_until("too large").await;
            assert!(answer.starts_with("HTTP/1.1 413 "), "{path}: {answer}");
            // Nothing of the body is taken for a second request, and the next one is served.
            client.send(&format!("GET / {HEAD}\r\n")).await;
            let next = client.read_until("hello").await;
            assert!(next.starts_with("HTTP/1.1 200 "), "{path}: {next}");
        }
    }
}

#[tokio::test]
async fn who_waits_to_be_asked_for_the_body_is_answered_without_it() {
    let server = Running::plain(ListenConfig::default()).await;
    let request =
        format!("POST /refuse {HEAD}Expect: 100-continue\r\nContent-Length: {LARGE}\r\n\r\n");
    let mut client = Client::connect(server.address).await;
    client.send(&request).await;
    let answer = client.read_to_end().await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
}

#[tokio::test]
async fn a_body_without_end_is_not_read_for_ever() {
    let server = Running::plain(ListenConfig::default()).await;
    let mut client = Client::connect(server.address).await;
    let chunk = "a".repeat(1024 * 1024);
    let chunk = format!("{:x}\r\n{chunk}\r\n", chunk.len());
    let head = format!("POST /refuse {HEAD}Transfer-Encoding: chunked\r\n\r\n");
    client.send(&head).await;
    let mut sent = 0;
    while client.try_send(&chunk).await {
        sent += 1;
        assert!(sent < 1024, "1 GiB was read");
    }
}
