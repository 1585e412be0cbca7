//! A stand-in for a Jetstream server with both protocols
//! (<https://github.com/bluesky-social/jetstream>), with switches to misbehave.

mod socket;

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use aip_atproto::Did;
use aip_base::lock;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::stage::server::bind;

/// The first event of v1 was at this time, in microseconds since the epoch; each one after is a
/// millisecond later.
const FIRST_TIME_MICROS: i64 = 1_767_225_600_000_000;

/// An event server on a port of the loopback interface. It ends when this is dropped.
pub struct Jetstream {
    shared: Arc<Shared>,
    address: SocketAddr,
    accepting: JoinHandle<()>,
}

/// What its connections share.
struct Shared {
    state: Mutex<State>,
    /// Counts what has changed.
    changes: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    events: Vec<Sent>,
    requests: Vec<String>,
    /// Streams that have begun.
    streams: usize,
    pings: usize,
    /// Connections that began before this many requests are closed.
    cut_before: usize,
    silent: bool,
    /// v2 refuses cursors below it.
    floor: i64,
    /// The number that frames are compressed with, if it is not that of the dictionary.
    other_dictionary: Option<u32>,
}

/// Something in the stream.
#[derive(Clone)]
enum Sent {
    /// An event: its kind, the account, and what is told of it.
    Event(&'static str, String, Value),
    /// A text frame as it is.
    Raw(String),
}

impl Jetstream {
    /// The dictionary that its frames are compressed with, if that is asked for.
    pub const DICTIONARY: &[u8] = include_bytes!("dictionary.zstd");
    /// Its number.
    pub const DICTIONARY_ID: u32 = 20_261_130;

    /// Starts on a free port.
    ///
    /// # Errors
    /// When a port cannot be had.
    pub async fn start() -> io::Result<Self> {
        let listener = bind(0).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            changes: watch::Sender::new(0),
        });
        let accepting = tokio::spawn(socket::accept(listener, Arc::clone(&shared)));
        Ok(Self {
            shared,
            address,
            accepting,
        })
    }

    /// The URL of its stream in protocol v1.
    pub fn v1(&self) -> String {
        format!("ws://{}/subscribe", self.address)
    }

    /// The URL of its stream in protocol v2.
    pub fn v2(&self) -> String {
        let address = self.address;
        format!("ws://{address}/xrpc/network.bsky.jetstream.subscribeEvents")
    }

    /// Tells that the identity of an account has changed; the handle is what the event says, true or
    /// not.
    pub fn identity(&self, did: &Did, handle: &str) {
        self.event("identity", did, json!({ "handle": handle }));
    }

    /// Tells that an account is in use, or why it is not: true or not.
    pub fn account(&self, did: &Did, status: Option<&str>) {
        let mut told = json!({ "active": status.is_none() });
        if let Some(status) = status {
            told["status"] = json!(status);
        }
        self.event("account", did, told);
    }

    fn event(&self, kind: &'static str, did: &Did, told: Value) {
        self.send(Sent::Event(kind, did.as_str().to_owned(), told));
    }

    /// Sends a text frame as it is.
    pub fn raw(&self, text: impl Into<String>) {
        self.send(Sent::Raw(text.into()));
    }

    fn send(&self, sent: Sent) {
        self.shared.change(|state| state.events.push(sent));
    }

    /// Closes all connections without a word.
    pub fn cut(&self) {
        self.shared
            .change(|state| state.cut_before = state.requests.len());
    }

    /// Answers nothing any more on connections that are open or come, not even a ping; or does again.
    pub fn set_silent(&self, silent: bool) {
        self.shared.change(|state| state.silent = silent);
    }

    /// Keeps only the newest event: v2 refuses older cursors.
    pub fn forget_old(&self) {
        self.shared
            .change(|state| state.floor = i64::try_from(state.events.len()).unwrap_or(i64::MAX));
    }

    /// Compresses frames with a dictionary of another number than it tells.
    pub fn use_other_dictionary(&self, id: u32) {
        self.shared
            .change(|state| state.other_dictionary = Some(id));
    }

    /// The targets (path and query) of the streams that were asked for, oldest first.
    pub fn requests(&self) -> Vec<String> {
        lock(&self.shared.state).requests.clone()
    }

    /// How many streams have begun: each sends what happens from then on.
    pub fn streams(&self) -> usize {
        lock(&self.shared.state).streams
    }

    /// How many pings it has answered.
    pub fn pings(&self) -> usize {
        lock(&self.shared.state).pings
    }

    /// A zstd frame that names dictionary `id` and holds `text` as it is (RFC 8878 §3.1.1).
    pub fn packed(text: &[u8], id: u32) -> Vec<u8> {
        const MAX_BLOCK_BYTES: usize = 128 * 1024;
        // One segment of known size (4 bytes), with the number of a dictionary (4 bytes).
        let mut packed = vec![0x28, 0xb5, 0x2f, 0xfd, 0b1010_0011];
        packed.extend(id.to_le_bytes());
        packed.extend(u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes());
        let mut blocks = text.chunks(MAX_BLOCK_BYTES).peekable();
        while let Some(block) = blocks.next() {
            let size = u32::try_from(block.len()).unwrap_or(0);
            let header = size << 3 | u32::from(blocks.peek().is_none());
            packed.extend(&header.to_le_bytes()[..3]);
            packed.extend(block);
        }
        packed
    }
}

impl Drop for Jetstream {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Shared {
    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut lock(&self.state));
        self.changes.send_modify(|count| *count += 1);
    }
}
