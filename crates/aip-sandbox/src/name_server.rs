//! A name server on the loopback interface that answers from the DNS stand-in (RFC 1035 §4): for a
//! program in a process of its own, which then resolves handles as in life without a question
//! that leaves the machine.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

use crate::dns::Dns;

const HEADER: usize = 12;
/// RFC 1035 §3.2.2.
const TXT: u16 = 16;
const NAME_ERROR: u8 = 3;

/// A name server with one zone. It ends when this is dropped.
pub struct NameServer {
    /// Where it listens, on UDP.
    pub address: SocketAddr,
    serving: JoinHandle<()>,
}

/// The one question of a packet.
struct Question<'a> {
    /// As it came, to be repeated in the answer.
    bytes: &'a [u8],
    name: String,
    kind: u16,
}

impl NameServer {
    /// Starts one that answers from `zone`.
    ///
    /// # Errors
    /// When loopback has no free port.
    pub async fn start(zone: Dns) -> io::Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = socket.local_addr()?;
        let serving = tokio::spawn(async move {
            let mut packet = [0; 1500];
            while let Ok((length, asker)) = socket.recv_from(&mut packet).await {
                if let Some(answer) = answer(&zone, &packet[..length]) {
                    // An asker that went away asks no more.
                    let _ = socket.send_to(&answer, asker).await;
                }
            }
        });
        Ok(Self { address, serving })
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// The answer to a packet, if it is a question. Only TXT records exist.
fn answer(zone: &Dns, packet: &[u8]) -> Option<Vec<u8>> {
    let question = Question::parse(packet)?;
    let records = match question.kind {
        TXT => zone.txt(&question.name).unwrap_or_default(),
        _ => Vec::new(),
    };
    let mut answer = packet.get(..2)?.to_vec();
    // An answer, recursion desired and available.
    let code = if records.is_empty() { NAME_ERROR } else { 0 };
    answer.extend([0x81, 0x80 | code]);
    for count in [1, u16::try_from(records.len()).ok()?, 0, 0] {
        answer.extend(count.to_be_bytes());
    }
    answer.extend(question.bytes);
    for record in records {
        let text = record.as_bytes();
        let length = u8::try_from(text.len()).ok()?;
        // The name of the question, TXT, IN, one minute.
        answer.extend([0xc0, 0x0c, 0, 16, 0, 1, 0, 0, 0, 60]);
        answer.extend((u16::from(length) + 1).to_be_bytes());
        answer.push(length);
        answer.extend(text);
    }
    Some(answer)
}

impl<'a> Question<'a> {
    fn parse(packet: &'a [u8]) -> Option<Self> {
        let rest = packet.get(HEADER..)?;
        let mut labels = Vec::new();
        let mut at = 0;
        loop {
            let length = usize::from(*rest.get(at)?);
            at += 1;
            if length == 0 {
                break;
            }
            labels.push(std::str::from_utf8(rest.get(at..at + length)?).ok()?);
            at += length;
        }
        let kind = u16::from_be_bytes([*rest.get(at)?, *rest.get(at + 1)?]);
        Some(Self {
            bytes: rest.get(..at + 4)?,
            name: labels.join("."),
            kind,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(kind: u8) -> Vec<u8> {
        let mut packet = vec![7, 9, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        packet.extend(b"\x08_atproto\x05alice\x04test\x00\x00");
        packet.extend([kind, 0, 1]);
        packet
    }

    #[test]
    fn a_record_of_the_zone_is_answered() {
        let zone = Dns::default();
        zone.set_txt("_atproto.alice.test", ["did=did:web:a".to_owned()]);
        let answer = answer(&zone, &question(16)).unwrap();
        assert_eq!(answer[..12], [7, 9, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
        assert!(answer.ends_with(b"\x00\x0e\x0ddid=did:web:a"));
    }

    #[test]
    fn everything_else_does_not_exist() {
        let zone = Dns::default();
        let missing = answer(&zone, &question(16)).unwrap();
        assert_eq!(missing[..8], [7, 9, 0x81, 0x83, 0, 1, 0, 0]);
        zone.set_txt("_atproto.alice.test", ["did=did:web:a".to_owned()]);
        assert_eq!(answer(&zone, &question(1)).unwrap()[3], 0x83);
        assert_eq!(answer(&zone, b"short"), None);
    }
}
