//! What clients may cost, and what hostile ones get (RFC 9112 §11).

use std::time::Duration;

use aip_listen::ListenConfig;

use crate::client::{Client, exchange};
use crate::server::Running;

#[tokio::test]
async fn a_request_is_answered_and_knows_its_peer() {
    let server = Running::plain(ListenConfig::default()).await;
    let answer = exchange(
        server.address,
        "GET /peer HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    )
    .await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains("\r\n\r\n127.0.0.1:"), "{answer}");
}

#[tokio::test]
async fn headers_that_are_too_large_or_too_many_are_431() {
    let server = Running::plain(ListenConfig::default()).await;
    let large = format!("X-Large: {}\r\n", "a".repeat(40 * 1024));
    let many = "X-Many: a\r\n".repeat(200);
    for headers in [large, many] {
        let request = format!("GET / HTTP/1.1\r\nHost: a\r\n{headers}\r\n");
        let answer = exchange(server.address, &request).await;
        assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    }
    assert_eq!(server.requests(), 0);
}

/// A front end that goes by the other length would take the rest for a second request.
#[tokio::test]
async fn content_length_beside_chunked_hides_no_second_request() {
    let server = Running::plain(ListenConfig::default()).await;
    let lengths = [
        "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n",
    ];
    for (number, lengths) in (1..).zip(lengths) {
        let request = format!(
            "POST /echo HTTP/1.1\r\nHost: a\r\n{lengths}\r\n0\r\n\r\n\
             GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n"
        );
        let answer = exchange(server.address, &request).await;
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
        assert_eq!(server.requests(), number);
    }
}

#[tokio::test]
async fn ambiguous_lengths_and_headers_are_400() {
    let server = Running::plain(ListenConfig::default()).await;
    let ambiguous = [
        "Content-Length: 4\r\nContent-Length: 5\r\n",
        "Content-Length: +4\r\n",
        "Content-Length: 4, 5\r\n",
        "Transfer-Encoding: gzip\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Transfer-Encoding : chunked\r\n",
        "X-Folded: a\r\n b\r\n",
    ];
    for headers in ambiguous {
        let request = format!("POST /echo HTTP/1.1\r\nHost: a\r\n{headers}\r\n0\r\n\r\n");
        let answer = exchange(server.address, &request).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{headers:?}: {answer}");
    }
    assert_eq!(server.requests(), 0);
}

#[tokio::test]
async fn a_slow_loris_is_cut_off_after_the_header_timeout() {
    let server = Running::plain(ListenConfig {
        header_read_timeout: Duration::from_millis(200),
        ..ListenConfig::default()
    })
    .await;
    let begun = tokio::time::Instant::now();
    let answer = exchange(server.address, "GET / HTTP/1.1\r\nHost: a\r\nX-Slow: ").await;
    assert!(begun.elapsed() >= Duration::from_millis(200));
    assert!(!answer.contains("200 OK"), "{answer}");
    assert_eq!(server.requests(), 0);
}

#[tokio::test]
async fn head_options_and_unknown_methods_do_nothing() {
    let server = Running::plain(ListenConfig::default()).await;
    let expected = [
        ("HEAD / HTTP/1.1", "200"),
        ("OPTIONS /echo HTTP/1.1", "405"),
        ("BREW /echo HTTP/1.1", "405"),
        // An override is not honoured: this stays a GET, which the route does not have.
        ("GET /echo HTTP/1.1\r\nX-HTTP-Method-Override: POST", "405"),
    ];
    for (head, status) in expected {
        let request = format!("{head}\r\nHost: a\r\nConnection: close\r\n\r\n");
        let answer = exchange(server.address, &request).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{answer}"
        );
        assert!(answer.ends_with("\r\n\r\n"), "no body: {answer}");
    }
}

#[tokio::test]
async fn connections_above_the_cap_wait_for_a_slot() {
    let server = Running::plain(ListenConfig {
        max_connections: 1,
        ..ListenConfig::default()
    })
    .await;
    let mut first = Client::connect(server.address).await;
    first.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    first.read_until("hello").await;

    let mut second = Client::connect(server.address).await;
    second.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let early = tokio::time::timeout(Duration::from_millis(200), second.read_until("hello")).await;
    assert!(early.is_err(), "answered above the cap");
    assert_eq!(server.requests(), 1);

    drop(first);
    second.read_until("hello").await;
    assert_eq!(server.requests(), 2);
}

#[tokio::test]
async fn one_network_does_not_hold_every_connection() {
    let server = Running::plain(ListenConfig {
        max_connections: 10,
        ..ListenConfig::default()
    })
    .await;
    let mut held = Vec::new();
    for _ in 0..9 {
        let mut client = Client::connect(server.address).await;
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        client.read_until("hello").await;
        held.push(client);
    }
    let refused = exchange(server.address, "").await;
    assert_eq!(refused, "", "closed at once");
    assert_eq!(server.requests(), 9);
    held.pop();
    // The place is free once the server has seen the end of the connection.
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while server.requests() < 10 {
        assert!(
            tokio::time::Instant::now() < deadline,
            "no place becomes free"
        );
        let request = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
        exchange(server.address, request).await;
    }
}
