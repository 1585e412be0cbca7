//! What one frame of the stream says. Whatever else it holds, such as a handle, is not read: it would
//! be the word of a third party.

use aip_atproto::Did;
use serde::Deserialize;

use crate::Protocol;

/// Cursors of v2 are numbers of events; from here on they would be taken for times.
const MAX_V2_CURSOR: i64 = 1_000_000_000_000_000;
/// What is quoted of a server's words, in bytes.
const MAX_QUOTE_BYTES: usize = 200;

/// Something has changed about an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Which.
    pub did: Did,
    /// What.
    pub change: Change,
}

/// What has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Its DID document or its handle.
    Identity,
    /// Whether it is in use, as the server says.
    Account {
        /// In use; otherwise deactivated, suspended, taken down or deleted.
        active: bool,
    },
}

/// A frame of the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// An event, and where in the stream it is.
    Event(Event, i64),
    /// Nothing of interest, perhaps with its place in the stream.
    Other(Option<i64>),
    /// The stream does not begin where it was asked to: events were missed.
    Gap(String),
    /// The server ends the stream, with its reason.
    Ended(String),
}

/// Not a frame of that protocol.
#[derive(Debug, thiserror::Error)]
#[error("a frame that cannot be read: {0}")]
pub struct MalformedFrame(#[source] serde_json::Error);

/// A frame of v1, and the payload of one of v2. Members of another type than they should have are as
/// good as none.
#[derive(Deserialize)]
struct Wire {
    #[serde(default)]
    did: serde_json::Value,
    /// v1.
    #[serde(default)]
    time_us: serde_json::Value,
    /// v1.
    #[serde(default)]
    kind: serde_json::Value,
    /// v2: `network.bsky.jetstream.subscribeEvents#KIND`.
    #[serde(default, rename = "$type")]
    r#type: serde_json::Value,
    /// v2.
    #[serde(default)]
    seq: serde_json::Value,
    #[serde(default)]
    account: serde_json::Value,
    /// v2: of an `#info`.
    #[serde(default)]
    name: serde_json::Value,
}

/// The envelope of v2 (`xrpc.v1.json`).
#[derive(Deserialize)]
struct Envelope {
    #[serde(rename = "$type")]
    r#type: String,
    payload: Option<Wire>,
    error: Option<String>,
    message: Option<String>,
}

impl Frame {
    /// Reads the text of a frame.
    pub fn parse(protocol: Protocol, text: &[u8]) -> Result<Self, MalformedFrame> {
        match protocol {
            Protocol::V1 => {
                let wire: Wire = object(text)?;
                let cursor = wire.time_us.as_i64().filter(|at| *at >= 0);
                let kind = wire.kind.as_str().unwrap_or_default();
                Ok(event(&wire, kind, cursor))
            }
            Protocol::V2 => {
                let envelope: Envelope = object(text)?;
                Ok(match (envelope.r#type.as_str(), envelope.payload) {
                    ("error", _) => {
                        let error = envelope.error.unwrap_or_default();
                        let message = envelope.message.unwrap_or_default();
                        Self::Ended(quote(&format!("{error}: {message}")))
                    }
                    (_, Some(wire)) => {
                        let name = wire.r#type.as_str().unwrap_or_default();
                        let kind = name.rsplit('#').next().unwrap_or_default();
                        if kind == "info" {
                            return Ok(info(&wire));
                        }
                        let cursor = wire.seq.as_i64();
                        let cursor = cursor.filter(|at| (0..MAX_V2_CURSOR).contains(at));
                        event(&wire, kind, cursor)
                    }
                    (_, None) => Self::Other(None),
                })
            }
        }
    }
}

/// Reads a JSON object. An array is none, although its elements could stand for the members.
fn object<'t, T: Deserialize<'t>>(text: &'t [u8]) -> Result<T, MalformedFrame> {
    if text.trim_ascii_start().first() != Some(&b'{') {
        return Err(MalformedFrame(serde::de::Error::custom(
            "not a JSON object",
        )));
    }
    serde_json::from_slice(text).map_err(MalformedFrame)
}

fn event(wire: &Wire, kind: &str, cursor: Option<i64>) -> Frame {
    let change = match kind {
        "identity" => Some(Change::Identity),
        "account" => wire
            .account
            .get("active")
            .and_then(serde_json::Value::as_bool)
            .map(|active| Change::Account { active }),
        _ => None,
    };
    let did = wire.did.as_str().and_then(|did| Did::parse(did).ok());
    match (change, did, cursor) {
        (Some(change), Some(did), Some(cursor)) => Frame::Event(Event { did, change }, cursor),
        _ => Frame::Other(cursor),
    }
}

/// Both notices that there are say that the stream begins elsewhere: `OutdatedCursor`, `FutureCursor`.
fn info(wire: &Wire) -> Frame {
    match wire.name.as_str() {
        Some(name) => Frame::Gap(quote(name)),
        None => Frame::Other(None),
    }
}

/// The server's own words, short and on one line.
pub(crate) fn quote(text: &str) -> String {
    let mut quoted = String::new();
    for character in text.chars() {
        let character = if character.is_control() {
            ' '
        } else {
            character
        };
        if quoted.len() + character.len_utf8() > MAX_QUOTE_BYTES {
            break;
        }
        quoted.push(character);
    }
    quoted
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALICE: &str = "did:plc:z72i7hdynmk6r22z27h6tvur";

    fn v1(text: &str) -> Frame {
        Frame::parse(Protocol::V1, text.as_bytes()).unwrap()
    }

    fn v2(text: &str) -> Frame {
        Frame::parse(Protocol::V2, text.as_bytes()).unwrap()
    }

    fn alice(change: Change, cursor: i64) -> Frame {
        let did = Did::parse(ALICE).unwrap();
        Frame::Event(Event { did, change }, cursor)
    }

    #[test]
    fn every_kind_of_event_is_read_in_both_protocols() {
        let envelope = |kind: &str, inner: &str| {
            format!(
                r#"{{"$type":"message","payload":{{"$type":"network.bsky.jetstream.subscribeEvents#{kind}","seq":7,"did":"{ALICE}","time":"2026-11-26T01:52:18.012Z"{inner}}}}}"#
            )
        };
        let plain = |kind: &str, inner: &str| {
            format!(r#"{{"did":"{ALICE}","time_us":1700000000000001,"kind":"{kind}"{inner}}}"#)
        };
        let identity =
            format!(r#","identity":{{"did":"{ALICE}","handle":"evil.example","seq":3}}"#);
        let account = |rest: &str| format!(r#","account":{{"did":"{ALICE}","seq":3,{rest}}}"#);
        let commit = r#","commit":{"operation":"create"}"#;
        for (kind, inner, change) in [
            ("identity", identity, Some(Change::Identity)),
            (
                "account",
                account(r#""active":true"#),
                Some(Change::Account { active: true }),
            ),
            (
                "account",
                account(r#""active":false,"status":"deactivated""#),
                Some(Change::Account { active: false }),
            ),
            ("account", account(r#""active":"yes""#), None),
            ("account", r#","account":7"#.to_owned(), None),
            ("commit", commit.to_owned(), None),
            ("sync", String::new(), None),
            ("something-new", String::new(), None),
        ] {
            let found = (v1(&plain(kind, &inner)), v2(&envelope(kind, &inner)));
            let expected = match change {
                Some(change) => (alice(change, 1_700_000_000_000_001), alice(change, 7)),
                None => (
                    Frame::Other(Some(1_700_000_000_000_001)),
                    Frame::Other(Some(7)),
                ),
            };
            assert_eq!(found, expected, "{kind} {inner}");
        }
    }

    #[test]
    fn notices_and_errors_of_v2_are_told_apart() {
        let info = |name: &str| {
            v2(&format!(
                r#"{{"$type":"message","payload":{{"$type":"network.bsky.jetstream.subscribeEvents#info","name":"{name}"}}}}"#
            ))
        };
        assert_eq!(info("OutdatedCursor"), Frame::Gap("OutdatedCursor".into()));
        assert_eq!(info("FutureCursor"), Frame::Gap("FutureCursor".into()));
        let slow = r#"{"$type":"error","error":"ConsumerTooSlow","message":"read\nfaster"}"#;
        assert_eq!(
            v2(slow),
            Frame::Ended("ConsumerTooSlow: read faster".into())
        );
        assert_eq!(v2(r#"{"$type":"message"}"#), Frame::Other(None));
        let endless = format!(r#"{{"$type":"error","error":"{}"}}"#, "é".repeat(10_000));
        let Frame::Ended(quoted) = v2(&endless) else {
            panic!("not an error");
        };
        assert!(quoted.len() <= MAX_QUOTE_BYTES, "{}", quoted.len());
    }

    #[test]
    fn what_has_no_account_or_no_place_is_no_event() {
        for (text, cursor) in [
            (r#"{"kind":"identity","time_us":5}"#.to_owned(), Some(5)),
            (
                r#"{"kind":"identity","time_us":5,"did":7}"#.to_owned(),
                Some(5),
            ),
            (
                r#"{"kind":"identity","time_us":5,"did":"did:key:zQ3"}"#.to_owned(),
                Some(5),
            ),
            (
                format!(r#"{{"kind":"identity","time_us":-5,"did":"{ALICE}"}}"#),
                None,
            ),
            (
                format!(r#"{{"kind":"identity","time_us":1e30,"did":"{ALICE}"}}"#),
                None,
            ),
            (format!(r#"{{"kind":"identity","did":"{ALICE}"}}"#), None),
            ("{}".to_owned(), None),
        ] {
            assert_eq!(v1(&text), Frame::Other(cursor), "{text}");
        }
        for seq in ["-1", "1000000000000000", "\"7\"", "null"] {
            let text = format!(
                r#"{{"$type":"message","payload":{{"$type":"x#identity","seq":{seq},"did":"{ALICE}"}}}}"#
            );
            assert_eq!(v2(&text), Frame::Other(None), "{seq}");
        }
    }

    proptest! {
        #[test]
        fn whatever_comes_is_read_or_refused(
            text in prop::collection::vec(any::<u8>(), 0..200),
            value in "[-a-z0-9:{}\\[\\]\",#.]{0,60}",
        ) {
            let event = format!(r#"{{"did":{value},"kind":"account","time_us":{value},"account":{value}}}"#);
            for protocol in [Protocol::V1, Protocol::V2] {
                for text in [&text[..], value.as_bytes(), event.as_bytes()] {
                    drop(Frame::parse(protocol, text));
                }
            }
        }
    }

    #[test]
    fn garbage_is_told_as_such() {
        let deep = "[".repeat(20_000);
        for text in [
            "",
            "null",
            "[]",
            "7",
            "{\"did\":",
            "\u{0}",
            &deep,
            "{\"kind\":\"\u{7}\"}",
        ] {
            for protocol in [Protocol::V1, Protocol::V2] {
                assert!(
                    Frame::parse(protocol, text.as_bytes()).is_err(),
                    "{text:.20}"
                );
            }
        }
        assert!(Frame::parse(Protocol::V1, &[0xff, 0xfe]).is_err());
        assert!(Frame::parse(Protocol::V2, br#"{"kind":"identity"}"#).is_err());
    }
}
