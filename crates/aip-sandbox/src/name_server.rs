//! A name server on the loopback interface that answers from the DNS stand-in (RFC 1035 §4): for a
//! program in a process of its own, which then resolves handles as in life without a question
//! that leaves the machine.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use hickory_proto::op::{Message, MessageType, Metadata, ResponseCode};
use hickory_proto::rr::rdata::TXT;
use hickory_proto::rr::{Name, RData, Record, RecordType};
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

use crate::dns::Dns;

/// How long a record may be cached.
const TTL_SECONDS: u32 = 60;
/// RFC 1035 §3.3: the most bytes of one of the strings that the text of a TXT record is cut into.
const MAX_STRING_BYTES: usize = 255;
/// The largest question that is read.
const MAX_QUESTION_BYTES: usize = 1500;

/// A name server with one zone. It ends when this is dropped.
pub struct NameServer {
    /// Where it listens, on UDP.
    pub address: SocketAddr,
    serving: JoinHandle<()>,
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
            let mut packet = [0; MAX_QUESTION_BYTES];
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

/// The answer to a packet; none if it is no question. Only TXT records exist.
fn answer(zone: &Dns, packet: &[u8]) -> Option<Vec<u8>> {
    let question = Message::from_vec(packet).ok()?;
    let query = question.queries.first()?;
    if question.metadata.message_type != MessageType::Query {
        return None;
    }
    let mut answer = Message::response(question.metadata.id, question.metadata.op_code);
    answer.metadata = Metadata::response_from_request(&question.metadata);
    answer.metadata.recursion_available = true;
    answer.add_query(query.clone());
    let texts = match query.query_type() {
        RecordType::TXT => zone.records(&query.name().to_ascii()).unwrap_or_default(),
        _ => Vec::new(),
    };
    if texts.is_empty() {
        answer.metadata.response_code = ResponseCode::NXDomain;
    }
    answer.add_answers(texts.iter().map(|text| txt_record(query.name(), text)));
    answer.to_vec().ok()
}

fn txt_record(name: &Name, text: &str) -> Record {
    let strings = text.as_bytes().chunks(MAX_STRING_BYTES).collect();
    let data = RData::TXT(TXT::from_bytes(strings));
    Record::from_rdata(name.clone(), TTL_SECONDS, data)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str = "_atproto.alice.test";

    /// A question about [`NAME`], as RFC 1035 §4.1 writes it.
    fn question(kind: u8) -> Vec<u8> {
        let mut packet = vec![7, 9, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        packet.extend(b"\x08_atproto\x05alice\x04test\x00\x00");
        packet.extend([kind, 0, 1]);
        packet
    }

    #[test]
    fn a_record_of_the_zone_is_answered() {
        let zone = Dns::default();
        zone.set_txt(NAME, ["did=did:web:a".to_owned()]);
        let answer = answer(&zone, &question(16)).unwrap();
        assert_eq!(answer[..12], [7, 9, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
        assert!(answer.ends_with(b"\x00\x0e\x0ddid=did:web:a"));
    }

    #[test]
    fn several_records_and_long_ones_arrive_as_they_were_set() {
        let zone = Dns::default();
        let texts = ["did=did:web:a ".to_owned(), "x".repeat(600)];
        zone.set_txt(NAME, texts.clone());
        let answer = Message::from_vec(&answer(&zone, &question(16)).unwrap()).unwrap();
        let read: Vec<String> = answer
            .answers
            .iter()
            .map(|record| record.data.to_string())
            .collect();
        assert_eq!(read, texts);
    }

    #[test]
    fn everything_else_does_not_exist() {
        let zone = Dns::default();
        let missing = answer(&zone, &question(16)).unwrap();
        assert_eq!(missing[..8], [7, 9, 0x81, 0x83, 0, 1, 0, 0]);
        zone.set_txt(NAME, ["did=did:web:a".to_owned()]);
        assert_eq!(answer(&zone, &question(1)).unwrap()[3], 0x83);
        assert_eq!(answer(&zone, b"short"), None);
    }

    #[test]
    fn what_is_no_question_has_no_answer() {
        let zone = Dns::default();
        zone.set_txt(NAME, ["did=did:web:a".to_owned()]);
        let response = answer(&zone, &question(16)).unwrap();
        assert_eq!(answer(&zone, &response), None);
    }
}
