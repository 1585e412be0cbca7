//! Which server is followed, and what it is asked for.

use std::fmt;
use std::str::FromStr;

use url::Url;

use crate::MAX_FRAME_BYTES;

/// The longest URL of a server, in bytes; it is the name of the place in the stream, too.
const MAX_URL_BYTES: usize = 512;
const V1_PATH: &str = "/subscribe";
const V2_PATH: &str = "/xrpc/network.bsky.jetstream.subscribeEvents";
const DICTIONARY_PATH: &str = "/xrpc/network.bsky.jetstream.getZstdDictionary";
/// v1 always sends events of identities and accounts, whatever collections are wanted. Nobody writes
/// records of this one, so nothing else comes.
const NO_COLLECTION: &str = "tools.graze.aip.none";
/// Cursors of v1 are times, and several events may have the same: some are read again.
const V1_REWIND_MICROS: i64 = 5_000_000;

/// The protocols of Jetstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// `/subscribe`: cursors are microseconds since the epoch.
    V1,
    /// `network.bsky.jetstream.subscribeEvents`: cursors are numbers of events.
    V2,
}

/// A Jetstream server, by the URL of its stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventServer {
    url: Url,
    host: String,
    port: u16,
    protocol: Protocol,
}

/// Not the URL of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidEventServer {
    /// Not a URL, or one with more than scheme, host, port and path.
    #[error(
        "expected `wss://HOST/PATH` without user name, query and fragment, {MAX_URL_BYTES} bytes at most"
    )]
    Url,
    /// Another scheme.
    #[error("expected `wss://…`, or `ws://…` within a network of your own")]
    Scheme,
    /// Neither of the protocols.
    #[error("the path must end in `{V1_PATH}` (protocol v1) or `{V2_PATH}` (v2)")]
    Path,
}

impl FromStr for EventServer {
    type Err = InvalidEventServer;

    fn from_str(text: &str) -> Result<Self, InvalidEventServer> {
        if text.len() > MAX_URL_BYTES {
            return Err(InvalidEventServer::Url);
        }
        let url = Url::parse(text).map_err(|_| InvalidEventServer::Url)?;
        if !matches!(url.scheme(), "ws" | "wss") {
            return Err(InvalidEventServer::Scheme);
        }
        let plain = url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none();
        let (Some(host), Some(port), true) = (url.host_str(), url.port_or_known_default(), plain)
        else {
            return Err(InvalidEventServer::Url);
        };
        let protocol = if url.path().ends_with(V2_PATH) {
            Protocol::V2
        } else if url.path().ends_with(V1_PATH) {
            Protocol::V1
        } else {
            return Err(InvalidEventServer::Path);
        };
        Ok(Self {
            host: host.to_owned(),
            port,
            protocol,
            url,
        })
    }
}

impl fmt::Display for EventServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl EventServer {
    /// The URL of the stream, without a query.
    pub fn as_str(&self) -> &str {
        self.url.as_str()
    }

    /// The host: a name, or an address, an IPv6 address in brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether the connection is encrypted.
    pub fn is_tls(&self) -> bool {
        self.url.scheme() == "wss"
    }

    /// The protocol.
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// What is asked for: events of identities and accounts, from `cursor` on, or from now on.
    /// Compressed with the dictionary of that id, if there is one (v2 alone has a way to read it).
    pub(crate) fn request_url(&self, cursor: Option<i64>, dictionary: Option<u32>) -> Url {
        let mut url = self.url.clone();
        let mut query = url.query_pairs_mut();
        match self.protocol {
            Protocol::V1 => query.append_pair("wantedCollections", NO_COLLECTION),
            Protocol::V2 => query
                .append_pair("kinds", "identity")
                .append_pair("kinds", "account"),
        };
        query.append_pair("maxMessageSizeBytes", &MAX_FRAME_BYTES.to_string());
        if let Some(cursor) = cursor {
            let from = match self.protocol {
                Protocol::V1 => cursor.saturating_sub(V1_REWIND_MICROS),
                Protocol::V2 => cursor,
            };
            query.append_pair("cursor", &from.max(0).to_string());
        }
        if let (Protocol::V2, Some(id)) = (self.protocol, dictionary) {
            query.append_pair("zstdDictionary", &id.to_string());
        }
        drop(query);
        url
    }

    /// Where the dictionary is that its frames may be compressed with; `None` where it has no such
    /// place.
    pub(crate) fn dictionary_url(&self) -> Option<String> {
        if self.protocol == Protocol::V1 {
            return None;
        }
        let scheme = if self.is_tls() { "https" } else { "http" };
        let prefix = self.url.path().strip_suffix(V2_PATH)?;
        let (host, port) = (&self.host, self.port);
        Some(format!("{scheme}://{host}:{port}{prefix}{DICTIONARY_PATH}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_says_which_protocol_is_spoken() {
        for (url, protocol, host, port, tls) in [
            (
                "wss://jetstream.example/subscribe",
                Protocol::V1,
                "jetstream.example",
                443,
                true,
            ),
            (
                "ws://events.internal:6008/subscribe",
                Protocol::V1,
                "events.internal",
                6008,
                false,
            ),
            (
                "wss://jetstream.example/xrpc/network.bsky.jetstream.subscribeEvents",
                Protocol::V2,
                "jetstream.example",
                443,
                true,
            ),
            (
                "ws://[::1]:7/js/xrpc/network.bsky.jetstream.subscribeEvents",
                Protocol::V2,
                "[::1]",
                7,
                false,
            ),
        ] {
            let server: EventServer = url.parse().unwrap();
            assert_eq!(server.protocol(), protocol, "{url}");
            let found = (server.host(), server.port(), server.is_tls());
            assert_eq!(found, (host, port, tls), "{url}");
            assert_eq!(server.to_string(), url);
        }
    }

    #[test]
    fn what_is_no_url_of_a_stream_is_refused_with_what_it_should_be() {
        let long = format!("wss://jetstream.example/{}/subscribe", "a".repeat(600));
        for (url, why) in [
            ("", InvalidEventServer::Url),
            ("jetstream.example", InvalidEventServer::Url),
            (&long, InvalidEventServer::Url),
            (
                "wss://user:pw@jetstream.example/subscribe",
                InvalidEventServer::Url,
            ),
            (
                "wss://jetstream.example/subscribe?cursor=1",
                InvalidEventServer::Url,
            ),
            (
                "wss://jetstream.example/subscribe#x",
                InvalidEventServer::Url,
            ),
            (
                "https://jetstream.example/subscribe",
                InvalidEventServer::Scheme,
            ),
            ("wss://jetstream.example", InvalidEventServer::Path),
            (
                "wss://jetstream.example/subscribe-v2",
                InvalidEventServer::Path,
            ),
        ] {
            assert_eq!(url.parse::<EventServer>(), Err(why), "{url}");
        }
    }

    #[test]
    fn identities_and_accounts_are_asked_for_and_nobody_is_named() {
        let v1: EventServer = "wss://j.example/subscribe".parse().unwrap();
        let v2 = "ws://j.example:80/p/xrpc/network.bsky.jetstream.subscribeEvents";
        let v2: EventServer = v2.parse().unwrap();
        let asked = |server: &EventServer, cursor, dictionary| {
            server
                .request_url(cursor, dictionary)
                .query()
                .unwrap()
                .to_owned()
        };
        assert_eq!(
            asked(&v1, Some(1_700_000_000_000_000), Some(7)),
            "wantedCollections=tools.graze.aip.none&maxMessageSizeBytes=65536\
             &cursor=1699999995000000"
        );
        assert_eq!(
            asked(&v2, Some(12), Some(7)),
            "kinds=identity&kinds=account&maxMessageSizeBytes=65536&cursor=12&zstdDictionary=7"
        );
        assert_eq!(
            asked(&v2, None, None),
            "kinds=identity&kinds=account&maxMessageSizeBytes=65536"
        );
        assert!(asked(&v1, Some(3), None).ends_with("&cursor=0"));
        assert_eq!(v1.dictionary_url(), None);
        assert_eq!(
            v2.dictionary_url().unwrap(),
            "http://j.example:80/p/xrpc/network.bsky.jetstream.getZstdDictionary"
        );
    }
}
