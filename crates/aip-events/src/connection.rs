//! One connection to an event server: opened, read frame by frame, and given up when it is silent.

use std::io;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use http::header::SEC_WEBSOCKET_PROTOCOL;
use http::{HeaderValue, StatusCode};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error as WebSocketError, Message};

use crate::compression::Decoder;
use crate::frame::quote;
use crate::{Dictionary, DictionaryError, EventServer, Frame, MAX_FRAME_BYTES, Protocol, Timing};

/// The one sub-protocol of v2.
const V2_SUBPROTOCOL: HeaderValue = HeaderValue::from_static("xrpc.v1.json");
/// The error of a server that keeps nothing from as far back.
const CURSOR_TOO_OLD: &str = "CursorTooOld";

/// Both ways of a connection.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// A connection to a server, encrypted where that was asked for.
pub type Connection = Box<dyn Stream>;

/// Opens connections to servers that the operator named.
#[async_trait]
pub trait Dial: Send + Sync + 'static {
    /// Connects to `host` (a name, or an address, an IPv6 address in brackets), with TLS or without.
    async fn dial(&self, host: &str, port: u16, tls: bool) -> io::Result<Connection>;
}

/// A stream of events that is open.
pub struct Subscription {
    socket: WebSocketStream<Connection>,
    protocol: Protocol,
    decoder: Option<Decoder>,
    timing: Timing,
    /// When something was last received.
    heard_at: Instant,
    /// A ping was sent since then.
    pinged: bool,
}

/// A stream that could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The server is not reached.
    #[error("cannot connect: {0}")]
    Connect(#[from] io::Error),
    /// It took longer than that.
    #[error("not open within {0:?}")]
    TimedOut(Duration),
    /// What was asked for is too old: the stream can only begin later.
    #[error("the server keeps no events from as far back as the last one that was read")]
    CursorTooOld,
    /// The request was refused.
    #[error("the server answered with status {0}")]
    Refused(StatusCode),
    /// Not a web socket, or another sub-protocol.
    #[error("{0}")]
    Handshake(String),
    /// No dictionary.
    #[error(transparent)]
    Dictionary(#[from] DictionaryError),
}

/// A stream that has ended.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// Closed by the server, or cut.
    #[error("the connection is closed")]
    Closed,
    /// Nothing was heard for so long, not even the answer to a ping.
    #[error("nothing was heard for {0:?}")]
    Silent(Duration),
    /// Anything else that a socket can suffer.
    #[error("{0}")]
    Socket(String),
}

impl Subscription {
    /// Connects to `server` and asks for its events from `cursor` on, or from now on.
    pub async fn open(
        server: &EventServer,
        dial: &dyn Dial,
        cursor: Option<i64>,
        dictionary: Option<&Dictionary>,
        timing: Timing,
    ) -> Result<Self, OpenError> {
        let opening = Self::shake_hands(server, dial, cursor, dictionary, timing);
        let within = timing.open_timeout;
        tokio::time::timeout(within, opening)
            .await
            .unwrap_or(Err(OpenError::TimedOut(within)))
    }

    async fn shake_hands(
        server: &EventServer,
        dial: &dyn Dial,
        cursor: Option<i64>,
        dictionary: Option<&Dictionary>,
        timing: Timing,
    ) -> Result<Self, OpenError> {
        let url = server.request_url(cursor, dictionary.map(Dictionary::id));
        let request = url.as_str().into_client_request();
        let mut request = request.map_err(|error| handshake(&error))?;
        if server.protocol() == Protocol::V2 {
            let headers = request.headers_mut();
            headers.insert(SEC_WEBSOCKET_PROTOCOL, V2_SUBPROTOCOL);
        }
        let decoder = dictionary.map(Dictionary::decoder).transpose()?;
        let (host, port) = (server.host(), server.port());
        let connection = dial.dial(host, port, server.is_tls()).await?;
        let config = WebSocketConfig::default()
            .read_buffer_size(16 * 1024)
            .write_buffer_size(0)
            .max_write_buffer_size(16 * 1024)
            .max_message_size(Some(MAX_FRAME_BYTES))
            .max_frame_size(Some(MAX_FRAME_BYTES));
        let opened =
            tokio_tungstenite::client_async_with_config(request, connection, Some(config)).await;
        let (socket, _) = opened.map_err(|error| handshake(&error))?;
        Ok(Self {
            socket,
            protocol: server.protocol(),
            decoder,
            timing,
            heard_at: Instant::now(),
            pinged: false,
        })
    }

    /// The next frame; `Err` of the inner kind for one that cannot be read, after which the stream
    /// goes on. May be dropped while it waits: nothing is lost.
    pub async fn next(&mut self) -> Result<Result<Frame, String>, StreamError> {
        loop {
            let until = if self.pinged {
                self.heard_at + self.timing.silent_after
            } else {
                self.heard_at + self.timing.ping_after
            };
            let Ok(message) = tokio::time::timeout_at(until, self.socket.next()).await else {
                if self.pinged {
                    return Err(StreamError::Silent(self.timing.silent_after));
                }
                self.pinged = true;
                let ping = self.socket.send(Message::Ping(Bytes::new()));
                // A connection that takes nothing any more is silent, too.
                let sent = tokio::time::timeout_at(until + self.timing.ping_after, ping).await;
                sent.unwrap_or(Ok(())).map_err(|error| socket(&error))?;
                continue;
            };
            let message = message.ok_or(StreamError::Closed)?;
            let message = message.map_err(|error| socket(&error))?;
            self.heard_at = Instant::now();
            self.pinged = false;
            match message {
                Message::Text(text) => return Ok(self.read(text.as_bytes())),
                Message::Binary(packed) => return Ok(self.unpack(&packed)),
                Message::Close(_) => return Err(StreamError::Closed),
                Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
            }
        }
    }

    fn read(&self, text: &[u8]) -> Result<Frame, String> {
        Frame::parse(self.protocol, text).map_err(|error| error.to_string())
    }

    fn unpack(&mut self, packed: &[u8]) -> Result<Frame, String> {
        let decoder = self.decoder.as_mut();
        let decoder = decoder.ok_or("a compressed frame that was not asked for")?;
        let text = decoder.unpack(packed);
        let text = text.map_err(|error| format!("a frame that cannot be unpacked: {error}"))?;
        self.read(&text)
    }
}

fn handshake(error: &WebSocketError) -> OpenError {
    match error {
        WebSocketError::Http(answer) => {
            let body = answer.body().as_deref().unwrap_or_default();
            let says = String::from_utf8_lossy(body);
            if answer.status() == StatusCode::BAD_REQUEST && says.contains(CURSOR_TOO_OLD) {
                return OpenError::CursorTooOld;
            }
            OpenError::Refused(answer.status())
        }
        error => OpenError::Handshake(quote(&error.to_string())),
    }
}

fn socket(error: &WebSocketError) -> StreamError {
    match error {
        WebSocketError::ConnectionClosed | WebSocketError::AlreadyClosed => StreamError::Closed,
        error => StreamError::Socket(quote(&error.to_string())),
    }
}
