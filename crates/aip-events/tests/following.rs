//! Following a stream of events at a server on the loopback interface, in both protocols: reconnecting,
//! compressed frames, and servers that misbehave.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "in a test, a surprise is a failure"
)]

use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aip_atproto::Did;
use aip_base::{SystemClock, SystemRng};
use aip_events::{Change, Connection, Dial, Event, Follower, Following, OpenError, Timing};
use aip_sandbox::{Jetstream, PlainHttp};
use async_trait::async_trait;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

/// Tests wait no longer than this for what must come.
const PATIENCE: Duration = Duration::from_secs(20);

const TIMING: Timing = Timing {
    open_timeout: Duration::from_secs(5),
    ping_after: Duration::from_millis(100),
    silent_after: Duration::from_secs(3),
    deliver_every: Duration::from_millis(20),
    keep_cursor_every: Duration::from_millis(20),
    lead_every: Duration::from_millis(20),
    retry_after: Some(Duration::from_millis(20)),
};

struct Tcp;

#[async_trait]
impl Dial for Tcp {
    async fn dial(&self, host: &str, port: u16, _: bool) -> io::Result<Connection> {
        Ok(Box::new(TcpStream::connect((host, port)).await?))
    }
}

/// Records what it receives.
#[derive(Default)]
struct RecordingFollower {
    does_not_lead: AtomicBool,
    /// How often it was asked whether it leads.
    lead_checks: AtomicUsize,
    events: Mutex<Vec<Event>>,
    cursor: Mutex<Option<i64>>,
    /// Takes nothing, as if its database were away.
    takes_nothing: AtomicBool,
    refused: AtomicUsize,
    missed: Mutex<usize>,
}

#[async_trait]
impl Follower for RecordingFollower {
    async fn leads(&self) -> bool {
        self.lead_checks.fetch_add(1, Ordering::SeqCst);
        !self.does_not_lead.load(Ordering::SeqCst)
    }

    async fn cursor(&self, _: &str) -> Option<i64> {
        *self.cursor.lock().unwrap()
    }

    async fn keep_cursor(&self, _: &str, cursor: i64) {
        *self.cursor.lock().unwrap() = Some(cursor);
    }

    async fn receive(&self, events: Vec<Event>) -> bool {
        if self.takes_nothing.load(Ordering::SeqCst) {
            self.refused.fetch_add(1, Ordering::SeqCst);
            return false;
        }
        self.events.lock().unwrap().extend(events);
        true
    }

    async fn events_missed(&self) -> bool {
        *self.missed.lock().unwrap() += 1;
        true
    }
}

impl RecordingFollower {
    /// The accounts of the events so far, repetitions left out.
    fn received(&self) -> Vec<(String, Change)> {
        let events = self.events.lock().unwrap();
        let mut received: Vec<_> = events
            .iter()
            .map(|it| (it.did.to_string(), it.change))
            .collect();
        let mut seen = Vec::new();
        received.retain(|it| {
            let new = !seen.contains(it);
            seen.push(it.clone());
            new
        });
        received
    }

    fn missed(&self) -> usize {
        *self.missed.lock().unwrap()
    }
}

/// A stream that is followed until this is dropped.
struct Followed {
    recorded: Arc<RecordingFollower>,
    task: JoinHandle<()>,
}

impl Followed {
    /// Waits until it was checked three times more who leads: then it is known.
    async fn lead_is_checked(&self) {
        let checks = || self.recorded.lead_checks.load(Ordering::SeqCst);
        let before = checks();
        until("a look at who leads", || checks() >= before + 3).await;
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Events are delivered when the connection ends.
const DELIVERED_AT_THE_END: Timing = Timing {
    deliver_every: Duration::from_hours(1),
    ..TIMING
};

fn following(url: &str, compress: bool) -> Following {
    Following {
        server: url.parse().unwrap(),
        compress,
        dial: Arc::new(Tcp),
        http: Arc::new(PlainHttp::default()),
        clock: Arc::new(SystemClock),
        rng: Arc::new(SystemRng),
        timing: TIMING,
    }
}

fn follow(url: &str, compress: bool, recorded: RecordingFollower) -> Followed {
    follow_by(following(url, compress), recorded)
}

fn follow_by(following: Following, recorded: RecordingFollower) -> Followed {
    let recorded = Arc::new(recorded);
    let follower = Arc::clone(&recorded);
    let task = tokio::spawn(async move { following.run(&*follower).await });
    Followed { recorded, task }
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let late = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < late, "not in time: {what}");
        sleep(Duration::from_millis(5)).await;
    }
}

async fn connected(server: &Jetstream, times: usize) {
    until("a stream", || server.streams() >= times).await;
}

fn did(name: &str) -> Did {
    Did::parse(&format!("did:web:{name}.example")).unwrap()
}

fn identity(name: &str) -> (String, Change) {
    (did(name).to_string(), Change::Identity)
}

fn account(name: &str, active: bool) -> (String, Change) {
    (did(name).to_string(), Change::Account { active })
}

/// Each protocol, and the compressed form of the one that has it.
fn streams(server: &Jetstream) -> [(String, bool); 3] {
    [
        (server.v1(), false),
        (server.v2(), false),
        (server.v2(), true),
    ]
}

#[tokio::test]
async fn events_are_told_and_a_new_connection_goes_on_where_the_last_one_stopped() {
    for at in 0..3 {
        let server = Jetstream::start().await.unwrap();
        let (url, compress) = &streams(&server)[at];
        server.identity(&did("before"), "before.example");
        let followed = follow(url, *compress, RecordingFollower::default());
        connected(&server, 1).await;
        server.identity(&did("one"), "one.example");
        server.account(&did("two"), Some("deactivated"));
        server.raw(r#"{"kind":"commit"}"#);
        server.account(&did("two"), None);
        let first = [identity("one"), account("two", false), account("two", true)];
        until("the first events", || followed.recorded.received() == first).await;
        until("the place", || {
            followed.recorded.cursor.lock().unwrap().is_some()
        })
        .await;

        // What happens while nobody is connected is told afterwards; some is told twice.
        server.set_silent(true);
        server.identity(&did("three"), "three.example");
        server.cut();
        server.set_silent(false);
        until("the missed event", || {
            followed.recorded.received().contains(&identity("three"))
        })
        .await;
        // v1 is read again from five seconds before.
        let repeated = usize::from(followed.recorded.received().contains(&identity("before")));
        assert_eq!(followed.recorded.received().len(), 4 + repeated, "{url}");
        assert_eq!(repeated, usize::from(at == 0), "{url}");
        let asked = server.requests();
        assert!(!asked[0].contains("cursor="), "{asked:?}");
        assert!(asked.last().unwrap().contains("cursor="), "{asked:?}");
        assert_eq!(asked[0].contains("zstdDictionary=20261130"), *compress);
        assert!(
            asked
                .iter()
                .all(|it| !it.to_ascii_lowercase().contains("did"))
        );
        // Asked once, at the beginning: nobody knows what another process left undone.
        assert_eq!(followed.recorded.missed(), 1, "{url}");
    }
}

#[tokio::test]
async fn a_process_that_does_not_lead_does_not_connect_and_one_that_loses_the_lead_leaves() {
    let server = Jetstream::start().await.unwrap();
    let recorded = RecordingFollower::default();
    recorded.does_not_lead.store(true, Ordering::SeqCst);
    let followed = follow(&server.v2(), false, recorded);
    followed.lead_is_checked().await;
    assert_eq!(server.requests(), [""; 0]);
    followed
        .recorded
        .does_not_lead
        .store(false, Ordering::SeqCst);
    connected(&server, 1).await;
    server.identity(&did("one"), "one.example");
    until("the event", || {
        followed.recorded.received() == [identity("one")]
    })
    .await;
    followed
        .recorded
        .does_not_lead
        .store(true, Ordering::SeqCst);
    followed.lead_is_checked().await;
    server.identity(&did("two"), "two.example");
    followed.lead_is_checked().await;
    assert_eq!(followed.recorded.received(), [identity("one")]);
    followed
        .recorded
        .does_not_lead
        .store(false, Ordering::SeqCst);
    until("the second event", || {
        followed.recorded.received().len() == 2
    })
    .await;
}

#[tokio::test]
async fn a_server_that_falls_silent_is_left_and_asked_again() {
    let server = Jetstream::start().await.unwrap();
    let followed = follow(&server.v1(), false, RecordingFollower::default());
    connected(&server, 1).await;
    // A server that has nothing to say and answers pings is not silent.
    // A second ping is sent only once the first was answered.
    until("three pings", || server.pings() >= 3).await;
    assert_eq!(server.requests().len(), 1);
    server.set_silent(true);
    connected(&server, 2).await;
    server.set_silent(false);
    server.identity(&did("one"), "one.example");
    until("the event", || {
        followed.recorded.received() == [identity("one")]
    })
    .await;
}

#[tokio::test]
async fn a_place_that_is_too_old_is_given_up_and_it_is_told_that_events_were_missed() {
    let server = Jetstream::start().await.unwrap();
    for name in ["one", "two", "three"] {
        server.identity(&did(name), "x.example");
    }
    server.forget_old();
    let recorded = RecordingFollower::default();
    *recorded.cursor.lock().unwrap() = Some(1);
    let followed = follow(&server.v2(), false, recorded);
    connected(&server, 1).await;
    server.identity(&did("four"), "four.example");
    until("the event", || {
        followed.recorded.received() == [identity("four")]
    })
    .await;
    assert_eq!(followed.recorded.missed(), 2);
    let asked = server.requests();
    assert!(
        asked[0].contains("cursor=1") && !asked[1].contains("cursor"),
        "{asked:?}"
    );
}

#[tokio::test]
async fn notices_that_the_stream_begins_elsewhere_and_errors_of_the_server_are_heard() {
    let server = Jetstream::start().await.unwrap();
    let followed = follow(&server.v2(), false, RecordingFollower::default());
    connected(&server, 1).await;
    let info = r#"{"$type":"message","payload":{"$type":"x#info","name":"FutureCursor"}}"#;
    server.raw(info);
    until("the notice", || followed.recorded.missed() == 2).await;
    // A server that tells it for ever is left, and nobody looks for it again. The next stream begins at no
    // place, which is told, as nothing was read that has one.
    for _ in 0..101 {
        server.raw(info);
    }
    connected(&server, 2).await;
    until("the new stream", || followed.recorded.missed() == 3).await;
    server.raw(r#"{"$type":"error","error":"ConsumerTooSlow"}"#);
    connected(&server, 3).await;
    until("the third stream", || followed.recorded.missed() == 4).await;
    server.identity(&did("one"), "one.example");
    until("the event", || {
        followed.recorded.received() == [identity("one")]
    })
    .await;
}

#[tokio::test]
async fn what_is_not_taken_is_read_again() {
    for at in 0..3 {
        let server = Jetstream::start().await.unwrap();
        let (url, compress) = &streams(&server)[at];
        let followed = follow(url, *compress, RecordingFollower::default());
        connected(&server, 1).await;
        server.identity(&did("one"), "one.example");
        until("the first event", || {
            followed.recorded.received() == [identity("one")]
        })
        .await;
        let takes_nothing = |it| followed.recorded.takes_nothing.store(it, Ordering::SeqCst);
        takes_nothing(true);
        server.account(&did("two"), None);
        // Often enough to be taken for a place that ends every connection, if it were that.
        until("it was not taken", || {
            followed.recorded.refused.load(Ordering::SeqCst) > 4
        })
        .await;
        takes_nothing(false);
        let both = [identity("one"), account("two", true)];
        until("both events", || followed.recorded.received() == both).await;
        assert_eq!(followed.recorded.missed(), 1, "{url}");
    }
}

#[tokio::test]
async fn what_the_first_stream_loses_is_told_once_the_next_one_is_open() {
    for at in 0..6 {
        let server = Jetstream::start().await.unwrap();
        let (url, compress) = &streams(&server)[at % 3];
        // What was read is refused while the stream goes on, or when it ends.
        let timing = if at < 3 { TIMING } else { DELIVERED_AT_THE_END };
        let following = Following {
            timing,
            ..following(url, *compress)
        };
        let followed = follow_by(following, RecordingFollower::default());
        let recorded = &followed.recorded;
        connected(&server, 1).await;
        until("the beginning", || recorded.missed() == 1).await;
        recorded.takes_nothing.store(true, Ordering::SeqCst);
        if at < 3 {
            server.identity(&did("one"), "one.example");
        } else {
            sent_before_the_cut(&server, "one").await;
        }
        until("the refusal", || {
            recorded.refused.load(Ordering::SeqCst) > 0
        })
        .await;
        // No place is kept at which the event could be read again: whoever is told asks everybody.
        until("what was lost is told", || recorded.missed() >= 2).await;
        assert_eq!(*recorded.cursor.lock().unwrap(), None, "{url} {at}");
        assert_eq!(recorded.received(), []);
        recorded.takes_nothing.store(false, Ordering::SeqCst);
        connected(&server, 2).await;
        if at < 3 {
            server.identity(&did("two"), "two.example");
        } else {
            sent_before_the_cut(&server, "two").await;
        }
        until("an event of the next stream", || {
            recorded.received() == [identity("two")]
        })
        .await;
    }
}

/// Sends an event, and closes the connection when it is on its way: at the second ping from then on at the
/// latest.
async fn sent_before_the_cut(server: &Jetstream, name: &str) {
    let pings = server.pings();
    server.identity(&did(name), "x.example");
    until("two pings", || server.pings() >= pings + 2).await;
    server.cut();
}

#[tokio::test]
async fn nothing_is_said_to_be_missed_before_a_stream_is_open_that_begins_at_no_place() {
    let nobody = "ws://127.0.0.1:1/subscribe";
    let followed = follow(nobody, false, RecordingFollower::default());
    followed.lead_is_checked().await;
    assert_eq!(followed.recorded.missed(), 0);
    // From a place that is kept, nothing is missed, but another process may have left something undone.
    let recorded = RecordingFollower::default();
    *recorded.cursor.lock().unwrap() = Some(1);
    let followed = follow(nobody, false, recorded);
    followed.lead_is_checked().await;
    assert_eq!(followed.recorded.missed(), 1);
}

#[tokio::test]
async fn so_many_events_are_read_in_a_second_and_none_is_lost() {
    let server = Jetstream::start().await.unwrap();
    let followed = follow(&server.v2(), false, RecordingFollower::default());
    connected(&server, 1).await;
    let began = Instant::now();
    for number in 0..2500 {
        server.identity(&did(&format!("host{number}")), "x.example");
    }
    until("all events", || {
        followed.recorded.events.lock().unwrap().len() >= 2500
    })
    .await;
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(900), "{took:?}");
}

#[tokio::test]
async fn garbage_is_skipped_and_a_stream_of_it_is_left() {
    for at in 0..3 {
        let server = Jetstream::start().await.unwrap();
        let (url, compress) = &streams(&server)[at];
        let followed = follow(url, *compress, RecordingFollower::default());
        connected(&server, 1).await;
        for garbage in ["", "null", "[1]", "{\"did\":", "not JSON"] {
            server.raw(garbage);
        }
        server.identity(&did("one"), "one.example");
        until("the event", || {
            followed.recorded.received() == [identity("one")]
        })
        .await;
        assert_eq!(server.requests().len(), 1, "{url}");
        for _ in 0..101 {
            server.raw("garbage");
        }
        until("another connection", || server.requests().len() >= 2).await;
        // A frame that is too large ends a connection as well. What ends every connection at the same
        // place is not asked for again.
        server.raw(format!("{{\"did\":\"{}\"}}", "x".repeat(70_000)));
        let both = [identity("one"), identity("two")];
        until("the second event", || {
            server.identity(&did("two"), "two.example");
            followed.recorded.received() == both
        })
        .await;
        assert!(followed.recorded.missed() >= 2, "{url}");
    }
}

#[tokio::test]
async fn frames_of_another_dictionary_are_skipped_until_the_server_is_asked_anew() {
    let server = Jetstream::start().await.unwrap();
    let followed = follow(&server.v2(), true, RecordingFollower::default());
    connected(&server, 1).await;
    server.use_other_dictionary(7);
    for _ in 0..101 {
        server.identity(&did("unreadable"), "x.example");
    }
    until("another connection", || server.requests().len() >= 2).await;
    server.use_other_dictionary(Jetstream::DICTIONARY_ID);
    until("an event", || {
        server.identity(&did("readable"), "x.example");
        followed.recorded.received() == [identity("readable")]
    })
    .await;
}

#[tokio::test]
async fn what_is_no_event_server_is_told_with_the_reason() {
    let server = Jetstream::start().await.unwrap();
    following(&server.v1(), true)
        .check_connection()
        .await
        .unwrap();
    following(&server.v2(), true)
        .check_connection()
        .await
        .unwrap();

    let plc = aip_sandbox::Sandbox::start(aip_sandbox::SandboxOptions::default())
        .await
        .unwrap();
    let origin = plc.plc.origin().replace("http://", "ws://");
    for compress in [false, true] {
        let url = format!("{origin}/xrpc/network.bsky.jetstream.subscribeEvents");
        let refused = following(&url, compress)
            .check_connection()
            .await
            .unwrap_err();
        assert!(refused.to_string().contains("status 404"), "{refused}");
    }
    let nobody = following("ws://127.0.0.1:1/subscribe", false)
        .check_connection()
        .await;
    assert!(matches!(nobody, Err(OpenError::Connect(_))), "{nobody:?}");
}
