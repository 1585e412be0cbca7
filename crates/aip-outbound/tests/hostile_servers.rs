//! The outbound client against small hostile servers on loopback: everything it meets is bounded
//! in time and memory, and each failure says truthfully whether the request may have arrived.

#![allow(clippy::unwrap_used, reason = "a set-up step that fails ends the test")]

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use aip_base::{DnsError, Http, HttpError, Limits, OnBehalfOf, Share};
use aip_outbound::{Development, OperatorHttp, Outbound, OutboundConfig, Resolve};
use async_trait::async_trait;
use bytes::Bytes;
use http::Request;
use http_body::{Body as HttpBody, Frame};
use http_body_util::BodyExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

const LIMITS: Limits = Limits {
    max_bytes: 64 * 1024,
    deadline: Duration::from_secs(5),
};

struct NoDns;

#[async_trait]
impl Resolve for NoDns {
    async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, DnsError> {
        match host {
            "misspelt.org" => Err(DnsError::NoRecord),
            "empty.org" => Ok(Vec::new()),
            host => Err(DnsError::Failed(format!("{host} was looked up"))),
        }
    }
}

/// A server on loopback that hands each connection, after reading the request, to `answer`.
struct Server {
    url: String,
    requests: Arc<AtomicUsize>,
}

async fn serve<F>(answer: impl Fn(TcpStream) -> F + Send + Sync + 'static) -> Server
where
    F: Future<Output = std::io::Result<()>> + Send,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let requests = Arc::new(AtomicUsize::new(0));
    let (answer, counter) = (Arc::new(answer), Arc::clone(&requests));
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (answer, counter) = (Arc::clone(&answer), Arc::clone(&counter));
            tokio::spawn(async move {
                let mut head = [0; 4096];
                if stream.read(&mut head).await.is_ok_and(|n| n > 0) {
                    counter.fetch_add(1, Ordering::SeqCst);
                    // The client hanging up in the middle is what most of these tests are about.
                    let _ = answer(stream).await;
                }
            });
        }
    });
    Server { url, requests }
}

fn client_with(change: impl FnOnce(&mut OutboundConfig)) -> Outbound {
    let development = Development {
        allow_loopback: true,
        ..Development::default()
    };
    let mut config = OutboundConfig {
        development: Some(development),
        ..Default::default()
    };
    change(&mut config);
    Outbound::new(config, Arc::new(NoDns)).unwrap()
}

async fn get(client: &Outbound, url: &str) -> Result<aip_base::Fetched, HttpError> {
    client
        .fetch(Request::get(url).body(Bytes::new()).unwrap(), LIMITS)
        .await
}

#[tokio::test]
async fn an_endless_body_is_cut_at_the_limit() {
    let server = serve(async |mut stream: TcpStream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
        loop {
            stream.write_all(&[b'x'; 4096]).await?;
        }
    })
    .await;
    let error = get(&client_with(|_| ()), &server.url).await.unwrap_err();
    assert!(matches!(error, HttpError::TooLarge(65536)), "{error}");
}

#[tokio::test]
async fn what_came_of_an_answer_is_there_however_it_ends() {
    for (answer, body, ends) in [
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{\"a\":1",
            "{\"a\":1",
            "broke",
        ),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n9\r\nd",
            "abcd",
            "broke",
        ),
        (
            "HTTP/1.1 400 Bad\r\ncontent-length: 2\r\n\r\n{}",
            "{}",
            "whole",
        ),
        (
            "HTTP/1.1 200 OK\r\n\r\n0123456789",
            "01234567",
            "larger than 8 bytes",
        ),
    ] {
        let server =
            serve(async move |mut stream: TcpStream| stream.write_all(answer.as_bytes()).await)
                .await;
        let limits = Limits {
            max_bytes: if ends.starts_with("larger") { 8 } else { 99 },
            ..LIMITS
        };
        let request = Request::get(&server.url).body(Bytes::new()).unwrap();
        let client = client_with(|_| ());
        let partial = client.fetch_partial(request, limits).await.unwrap();
        assert_eq!(partial.fetched.body, body, "{answer}");
        let told = partial
            .broke
            .map_or_else(|| "whole".to_owned(), |error| error.to_string());
        assert!(told.contains(ends), "{answer}: {told}");
    }
    // Nothing came at all: the error is what there is.
    let server = serve(async |_: TcpStream| Ok(())).await;
    let request = Request::get(&server.url).body(Bytes::new()).unwrap();
    let error = client_with(|_| ())
        .fetch_partial(request, LIMITS)
        .await
        .unwrap_err();
    assert!(matches!(error, HttpError::Broken(_)), "{error}");
}

#[tokio::test]
async fn no_content_coding_is_asked_for_and_one_that_comes_all_the_same_is_named() {
    let server = serve(async |mut stream: TcpStream| {
        let head = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 2\r\n\r\n{}";
        stream.write_all(head).await
    })
    .await;
    let error = get(&client_with(|_| ()), &server.url).await.unwrap_err();
    assert_eq!(error, HttpError::Compressed("gzip".to_owned()));
    assert!(error.may_have_arrived());

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let asked = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = vec![0; 4096];
        let length = stream.read(&mut head).await.unwrap();
        head.truncate(length);
        String::from_utf8(head).unwrap()
    });
    drop(get(&client_with(|_| ()), &url).await);
    let head = asked.await.unwrap();
    assert!(head.contains("accept-encoding: identity\r\n"), "{head}");
}

#[tokio::test]
async fn endless_headers_are_cut() {
    let server = serve(async |mut stream: TcpStream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\n").await?;
        loop {
            stream
                .write_all(b"x-padding: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n")
                .await?;
        }
    })
    .await;
    let error = get(&client_with(|_| ()), &server.url).await.unwrap_err();
    assert!(matches!(error, HttpError::Broken(_)), "{error}");
}

#[tokio::test]
async fn one_endless_header_is_cut() {
    let server = serve(async |mut stream: TcpStream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nx-padding: ").await?;
        loop {
            stream.write_all(&[b'y'; 4096]).await?;
        }
    })
    .await;
    let error = get(&client_with(|_| ()), &server.url).await.unwrap_err();
    assert!(matches!(error, HttpError::Broken(_)), "{error}");
}

#[tokio::test]
async fn a_body_that_drips_ends_at_the_deadline() {
    let server = serve(async |mut stream: TcpStream| {
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9999\r\n\r\n")
            .await?;
        loop {
            stream.write_all(b"x").await?;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let limits = Limits {
        deadline: Duration::from_millis(200),
        ..LIMITS
    };
    let request = Request::get(&server.url).body(Bytes::new()).unwrap();
    let error = client_with(|_| ())
        .fetch(request, limits)
        .await
        .unwrap_err();
    assert!(matches!(error, HttpError::Deadline(_)), "{error}");
}

#[tokio::test]
async fn a_compressed_body_is_not_decompressed() {
    let server = serve(async |mut stream: TcpStream| {
        let head = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 4\r\n\r\n";
        stream.write_all(head).await?;
        stream.write_all(&[0x1f, 0x8b, 8, 0]).await
    })
    .await;
    let request = Request::get(&server.url).body(Bytes::new()).unwrap();
    let partial = client_with(|_| ()).fetch_partial(request, LIMITS).await;
    assert_eq!(partial.unwrap().fetched.body[..], [0x1f, 0x8b, 8, 0]);
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_not_followed() {
    let inside = serve(async |_| Ok(())).await;
    let location = inside.url.clone();
    let outside = serve(move |mut stream: TcpStream| {
        let answer =
            format!("HTTP/1.1 302 Found\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n");
        async move { stream.write_all(answer.as_bytes()).await }
    })
    .await;
    let fetched = get(&client_with(|_| ()), &outside.url).await.unwrap();
    assert_eq!(fetched.status, 302);
    assert_eq!(inside.requests.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn without_the_development_switch_loopback_is_refused() {
    let server = serve(async |_| Ok(())).await;
    let client = client_with(|config| config.development = None);
    let https = server.url.replace("http:", "https:");
    for url in [
        server.url.as_str(),
        &https,
        "http://localhost/",
        "http://localtest.me/",
    ] {
        let error = get(&client, url).await.unwrap_err();
        assert!(matches!(error, HttpError::Refused(_)), "{url}: {error}");
        assert!(!error.may_have_arrived());
    }
    assert_eq!(server.requests.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_listed_host_is_dialled_at_its_listed_address() {
    let server = serve(async |mut stream: TcpStream| {
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi")
            .await
    })
    .await;
    let address = server.url["http://".len()..]
        .trim_end_matches('/')
        .parse()
        .unwrap();
    let client = client_with(|config| {
        let hosts = [("pds.test".to_owned(), address)].into();
        config.development = Some(Development {
            hosts,
            allow_loopback: false,
        });
    });
    assert_eq!(
        get(&client, "http://pds.test/").await.unwrap().body[..],
        *b"hi"
    );
}

#[tokio::test]
async fn a_closed_port_is_known_not_to_have_received_anything() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    drop(listener);
    let error = get(&client_with(|_| ()), &url).await.unwrap_err();
    assert!(matches!(error, HttpError::Connect(_)), "{error}");
    assert!(!error.may_have_arrived());
}

#[tokio::test]
async fn a_failed_look_up_is_known_not_to_have_sent_anything() {
    let error = get(&client_with(|_| ()), "https://pds.org/")
        .await
        .unwrap_err();
    assert!(
        matches!(&error, HttpError::Connect(why) if why.contains("looked up")),
        "{error}"
    );
}

#[tokio::test]
async fn a_host_that_does_not_exist_is_a_definite_answer() {
    for url in ["https://misspelt.org/", "https://empty.org/"] {
        let error = get(&client_with(|_| ()), url).await.unwrap_err();
        assert!(matches!(error, HttpError::NoHost), "{error}");
        assert!(!error.may_have_arrived());
    }
}

#[tokio::test]
async fn a_server_that_hangs_up_may_have_received_the_request() {
    let server = serve(async |_| Ok(())).await;
    let error = get(&client_with(|_| ()), &server.url).await.unwrap_err();
    assert!(matches!(error, HttpError::Broken(_)), "{error}");
    assert!(error.may_have_arrived());
}

#[tokio::test]
async fn a_silent_server_may_have_received_the_request() {
    let server = serve(async |_stream| std::future::pending().await).await;
    let limits = Limits {
        deadline: Duration::from_millis(100),
        ..LIMITS
    };
    let request = Request::post(&server.url)
        .body(Bytes::from_static(b"x"))
        .unwrap();
    let error = client_with(|_| ())
        .fetch(request, limits)
        .await
        .unwrap_err();
    assert!(matches!(error, HttpError::Deadline(_)), "{error}");
    assert_eq!(server.requests.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_request_that_waits_for_a_busy_host_is_known_not_to_have_left() {
    let server = serve(async |mut stream: TcpStream| {
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n")
            .await?;
        std::future::pending().await
    })
    .await;
    let client = client_with(|config| {
        config.capacity.own = 1;
        config.connect_timeout = Duration::from_millis(50);
    });
    let request = || Request::get(&server.url).body(aip_base::empty()).unwrap();
    let streaming = client.send(request(), LIMITS.deadline).await.unwrap();
    let error = client.send(request(), LIMITS.deadline).await.unwrap_err();
    assert!(matches!(&error, HttpError::Busy(Share::Host)), "{error}");
    assert!(!error.may_have_arrived());
    let mut for_a_caller = request();
    for_a_caller.extensions_mut().insert(OnBehalfOf {
        account: "did:web:alice.example".into(),
        client: "app".into(),
    });
    let sent = client.send(for_a_caller, LIMITS.deadline).await;
    assert!(sent.is_ok(), "callers have capacity of their own");
    drop(streaming);
    assert!(client.send(request(), LIMITS.deadline).await.is_ok());
}

/// A body that comes in pieces, one every 50 ms.
struct Pieces {
    left: usize,
    pause: Pin<Box<tokio::time::Sleep>>,
}

impl HttpBody for Pieces {
    type Data = Bytes;
    type Error = aip_base::BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = self.get_mut();
        let Some(left) = this.left.checked_sub(1) else {
            return Poll::Ready(None);
        };
        ready!(this.pause.as_mut().poll(cx));
        this.left = left;
        let next = tokio::time::Instant::now() + Duration::from_millis(50);
        this.pause.as_mut().reset(next);
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(
            &[b'x'; 16 * 1024],
        )))))
    }
}

/// A server that says over the channel when a connection was closed by its other side; `head` is what it
/// answers at once.
async fn watch(head: &'static [u8]) -> (Server, tokio::sync::mpsc::UnboundedReceiver<()>) {
    let (told, closed) = tokio::sync::mpsc::unbounded_channel();
    let server = serve(move |mut stream: TcpStream| {
        let told = told.clone();
        async move {
            stream.write_all(head).await?;
            let mut read = vec![0; 64 * 1024];
            while stream.read(&mut read).await.is_ok_and(|count| count > 0) {}
            let _ = told.send(());
            Ok(())
        }
    });
    (server.await, closed)
}

/// A body that breaks off after its first piece, as one does whose sender has gone.
struct BrokenOff(Pieces);

impl HttpBody for BrokenOff {
    type Data = Bytes;
    type Error = aip_base::BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let piece = ready!(Pin::new(&mut self.0).poll_frame(cx));
        let gone = || Err(aip_base::BodyError("gone".into()));
        Poll::Ready(Some(if self.0.left == 0 {
            gone()
        } else {
            piece.unwrap_or_else(gone)
        }))
    }
}

#[tokio::test]
async fn what_nobody_waits_for_any_more_ends_at_the_server_as_well() {
    let is_closed = async |mut closed: tokio::sync::mpsc::UnboundedReceiver<()>| {
        let closed = tokio::time::timeout(Duration::from_secs(5), closed.recv());
        closed.await.ok().flatten().is_some()
    };
    let client = client_with(|_| ());
    // A download.
    let head = b"HTTP/1.1 200 OK\r\ncontent-length: 50000000\r\n\r\nthe beginning";
    let (server, closed) = watch(head).await;
    let request = Request::get(&server.url).body(aip_base::empty()).unwrap();
    let mut answer = client.send(request, LIMITS.deadline).await.unwrap();
    assert!(answer.body_mut().frame().await.unwrap().is_ok());
    drop(answer);
    assert!(is_closed(closed).await, "the download");
    // A call whose caller has gone before it was answered, or while its body was on the way.
    let pieces = |left: usize| Pieces {
        left,
        pause: Box::pin(tokio::time::sleep(Duration::ZERO)),
    };
    for left in [0, 10_000] {
        let (server, closed) = watch(b"").await;
        let request = Request::post(&server.url).body(pieces(left).boxed_unsync());
        let sending = client.send(request.unwrap(), LIMITS.deadline);
        let given_up = tokio::time::timeout(Duration::from_millis(200), sending).await;
        assert!(given_up.is_err());
        assert!(is_closed(closed).await, "{left} pieces");
    }
    // An upload that breaks off.
    let (server, closed) = watch(b"").await;
    let request = Request::post(&server.url).body(BrokenOff(pieces(2)).boxed_unsync());
    let sent = client.send(request.unwrap(), LIMITS.deadline).await;
    assert!(sent.unwrap_err().may_have_arrived());
    assert!(is_closed(closed).await, "the upload");
}

#[tokio::test]
async fn the_deadline_begins_when_the_request_has_left() {
    let server = serve(async |mut stream: TcpStream| {
        let mut read = vec![0; 64 * 1024];
        let mut end = Vec::new();
        while !end.ends_with(b"0\r\n\r\n") {
            let count = stream.read(&mut read).await?;
            end.extend_from_slice(&read[..count]);
        }
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
            .await
    })
    .await;
    let client = client_with(|_| ());
    let send = async |left: usize, deadline: Duration| {
        let pause = Box::pin(tokio::time::sleep(Duration::ZERO));
        let body = Pieces { left, pause }.boxed_unsync();
        let request = Request::post(&server.url).body(body).unwrap();
        client.send(request, deadline).await
    };
    let began = tokio::time::Instant::now();
    let answer = send(20, Duration::from_millis(500)).await;
    assert!(answer.is_ok(), "{:?}", answer.err());
    assert!(began.elapsed() > Duration::from_millis(500));
}

#[tokio::test]
async fn only_what_the_operator_named_is_reached_inside_his_network() {
    let server = serve(|mut stream| async move {
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi";
        stream.write_all(answer).await
    })
    .await;
    let guarded = client_with(|config| config.development = None);
    let refused = get(&guarded, &server.url).await.unwrap_err();
    assert!(matches!(refused, HttpError::Refused(_)), "{refused}");
    assert_eq!(server.requests.load(Ordering::SeqCst), 0);

    let client = OperatorHttp::new(&[]).unwrap();
    let request = Request::post(&server.url).body(Bytes::from_static(b"spans"));
    let answer = client.fetch(request.unwrap(), LIMITS).await.unwrap();
    assert_eq!(answer.body[..], *b"hi");
}
