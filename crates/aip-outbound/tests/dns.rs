//! The resolver against a name server on loopback: records, "no such name", and nothing else.

#![allow(clippy::unwrap_used, reason = "a set-up step that fails ends the test")]

use std::net::SocketAddr;

use aip_base::{DnsError, DnsTxt as _};
use aip_outbound::{Dns, Resolve as _};
use tokio::net::UdpSocket;

const A: u8 = 1;
const SOA: u8 = 6;
const TXT: u8 = 16;

/// The records of a type that the stand-in has for every name below `alice.org`.
fn records(kind: u8) -> Vec<Vec<u8>> {
    match kind {
        // Two character strings make one value (RFC 1035 §3.3.14).
        TXT => vec![b"\x07did=did\x04:web".to_vec(), b"\x05other".to_vec()],
        A => vec![vec![10, 0, 0, 7]],
        _ => vec![],
    }
}

/// Answers one query (RFC 1035 §4.1): known names below `alice.org`, SERVFAIL for
/// `broken.org`, NXDOMAIN for the rest.
fn answer(query: &[u8]) -> Vec<u8> {
    let name_end = 12 + query[12..].iter().position(|byte| *byte == 0).unwrap() + 1;
    let question = &query[12..name_end + 4];
    let known = question
        .to_ascii_lowercase()
        .windows(10)
        .any(|part| part == b"\x05alice\x03org");
    let kind = question[question.len() - 3];
    let found = if known { records(kind) } else { vec![] };
    // The negative answer needs the zone's SOA to be believed (RFC 2308 §2.2).
    let authority = u8::from(found.is_empty());
    let broken = question.windows(7).any(|part| part == b"\x06broken");
    let rcode = if broken {
        2
    } else if known {
        0
    } else {
        3
    };
    let count = u8::try_from(found.len()).unwrap();
    let mut message = query[..2].to_vec();
    message.extend([0x81, 0x80 | rcode, 0, 1, 0, count, 0, authority, 0, 0]);
    message.extend(question);
    let mut record = |name: &[u8], kind: u8, data: &[u8]| {
        message.extend(name);
        message.extend([
            0,
            kind,
            0,
            1,
            0,
            0,
            0,
            60,
            0,
            u8::try_from(data.len()).unwrap(),
        ]);
        message.extend(data);
    };
    for data in &found {
        record(&[0xc0, 12], kind, data);
    }
    if found.is_empty() {
        let mut soa = vec![0, 0];
        soa.extend([0, 0, 0, 60].repeat(5));
        record(&[0], SOA, &soa);
    }
    message
}

async fn name_server() -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut query = [0; 1500];
        while let Ok((length, from)) = socket.recv_from(&mut query).await {
            socket
                .send_to(&answer(&query[..length]), from)
                .await
                .unwrap();
        }
    });
    address
}

#[tokio::test]
async fn txt_records_come_with_their_strings_joined() {
    let dns = Dns::new(&[name_server().await]).unwrap();
    let mut records = dns.txt("_atproto.alice.org").await.unwrap();
    records.sort();
    assert_eq!(records, ["did=did:web", "other"]);
}

#[tokio::test]
async fn a_name_that_does_not_exist_is_distinguished_from_a_failure() {
    let dns = Dns::new(&[name_server().await]).unwrap();
    assert_eq!(dns.txt("_atproto.bob.org").await, Err(DnsError::NoRecord));
    assert_eq!(dns.addresses("bob.org").await, Err(DnsError::NoRecord));

    let error = dns.txt("_atproto.broken.org").await.unwrap_err();
    assert!(matches!(error, DnsError::Failed(_)), "{error}");
}

#[tokio::test]
async fn addresses_are_handed_on_as_they_are_for_the_guard_to_judge() {
    let dns = Dns::new(&[name_server().await]).unwrap();
    let addresses = dns.addresses("pds.alice.org").await.unwrap();
    assert_eq!(addresses, ["10.0.0.7".parse::<std::net::IpAddr>().unwrap()]);
}
