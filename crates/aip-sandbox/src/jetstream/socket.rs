//! Its connections: web sockets, and one document.

use std::sync::Arc;

use aip_base::lock;
use futures_util::{SinkExt as _, StreamExt as _};
use http::header::SEC_WEBSOCKET_PROTOCOL;
use http::{HeaderValue, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use url::Url;

use super::{FIRST_TIME_MICROS, Jetstream, Sent, Shared};

const DICTIONARY: &str = "GET /xrpc/network.bsky.jetstream.getZstdDictionary ";
const STREAM_V2: &str = "network.bsky.jetstream.subscribeEvents";

/// The stream that a connection requested.
struct ConnectionRequest {
    v2: bool,
    cursor: Option<i64>,
    compressed: bool,
    /// How many requests there were with it.
    number: usize,
}

/// Accepts connections until it is aborted, and ends them then.
pub(super) async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let shared = Arc::clone(&shared);
        connections.spawn(async move {
            // A peer that leaves is its own affair.
            let _ = serve(stream, &shared).await;
        });
    }
}

async fn serve(mut stream: TcpStream, shared: &Shared) -> anyhow::Result<()> {
    let mut begins = [0; DICTIONARY.len()];
    // The request line comes in one piece.
    let length = stream.peek(&mut begins).await?;
    if begins[..length] == *DICTIONARY.as_bytes() {
        let mut head = [0; 4096];
        let _ = stream.read(&mut head).await?;
        let length = Jetstream::DICTIONARY.len();
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/octet-stream\r\n\
             content-length: {length}\r\nconnection: close\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(Jetstream::DICTIONARY).await?;
        return Ok(());
    }
    let mut accepted = None;
    #[allow(
        clippy::result_large_err,
        reason = "the library says what a callback returns"
    )]
    let take = |request: &Request, response: Response| match shared.take(request) {
        Ok(taken) => {
            let protocol = HeaderValue::from_static("xrpc.v1.json");
            let mut response = response;
            if taken.v2 {
                let headers = response.headers_mut();
                headers.insert(SEC_WEBSOCKET_PROTOCOL, protocol);
            }
            accepted = Some(taken);
            Ok(response)
        }
        Err(refusal) => Err(refusal),
    };
    let socket = tokio_tungstenite::accept_hdr_async(stream, take).await?;
    match accepted {
        Some(request) => shared.stream(socket, &request).await,
        None => Ok(()),
    }
}

impl Shared {
    #[allow(
        clippy::result_large_err,
        reason = "the library says what a refusal is"
    )]
    fn take(&self, request: &Request) -> Result<ConnectionRequest, ErrorResponse> {
        let target = request.uri().to_string();
        let url = Url::parse("ws://localhost").and_then(|base| base.join(&target));
        let query = |name: &str| {
            let url = url.as_ref().ok()?;
            let mut pairs = url.query_pairs();
            pairs
                .find(|(key, _)| key == name)
                .map(|(_, value)| value.into_owned())
        };
        let v2 = target.contains(STREAM_V2);
        let cursor = query("cursor").and_then(|cursor| cursor.parse().ok());
        let mut state = lock(&self.state);
        state.requests.push(target.clone());
        if v2 && cursor.is_some_and(|cursor| cursor < state.floor) {
            let error = json!({ "error": "CursorTooOld", "message": "begin later" });
            let mut refusal = ErrorResponse::new(Some(error.to_string()));
            *refusal.status_mut() = StatusCode::BAD_REQUEST;
            return Err(refusal);
        }
        Ok(ConnectionRequest {
            v2,
            cursor,
            compressed: query("zstdDictionary").is_some(),
            number: state.requests.len(),
        })
    }

    async fn stream(
        &self,
        mut socket: WebSocketStream<TcpStream>,
        request: &ConnectionRequest,
    ) -> anyhow::Result<()> {
        let mut watched = self.changes.subscribe();
        let mut next = {
            let mut state = lock(&self.state);
            state.streams += 1;
            let now = state.events.len();
            (0..now)
                .find(|at| {
                    request
                        .cursor
                        .is_some_and(|cursor| place(request.v2, *at) >= cursor)
                })
                .unwrap_or(now)
        };
        loop {
            let (cut, silent, due, other) = {
                let state = lock(&self.state);
                let due = if state.silent {
                    Vec::new()
                } else {
                    state.events[next..].to_vec()
                };
                let cut = request.number <= state.cut_before;
                (cut, state.silent, due, state.other_dictionary)
            };
            if cut {
                return Ok(());
            }
            for event in due {
                let text = text(request.v2, next, event);
                next += 1;
                let message = if request.compressed {
                    let id = other.unwrap_or(Jetstream::DICTIONARY_ID);
                    Message::Binary(Jetstream::packed(text.as_bytes(), id).into())
                } else {
                    Message::text(text)
                };
                socket.send(message).await?;
            }
            tokio::select! {
                // Reading answers pings.
                message = socket.next(), if !silent => match message {
                    None => return Ok(()),
                    Some(Ok(Message::Ping(_))) => lock(&self.state).pings += 1,
                    Some(_) => {}
                },
                seen = watched.changed() => seen?,
            }
        }
    }
}

/// The cursor of the event at that index.
fn place(v2: bool, at: usize) -> i64 {
    let number = i64::try_from(at).unwrap_or(i64::MAX - 1) + 1;
    if v2 {
        number
    } else {
        FIRST_TIME_MICROS + number * 1000
    }
}

fn text(v2: bool, at: usize, sent: Sent) -> String {
    let (kind, did, mut told) = match sent {
        Sent::Raw(text) => return text,
        Sent::Event(kind, did, told) => (kind, did, told),
    };
    told["did"] = Value::from(did.as_str());
    told["time"] = json!("2026-11-26T01:52:18.012Z");
    told["seq"] = json!(9_000_000 + at);
    let mut event = json!({ "did": did });
    event[kind] = told;
    if v2 {
        event["seq"] = json!(place(v2, at));
        event["time"] = json!("2026-11-26T01:52:18.012Z");
        event["$type"] = json!(format!("{STREAM_V2}#{kind}"));
        json!({ "$type": "message", "payload": event }).to_string()
    } else {
        event["time_us"] = json!(place(v2, at));
        event["kind"] = json!(kind);
        event.to_string()
    }
}
