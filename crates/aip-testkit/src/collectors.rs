//! Collectors of traces, error reports and metrics on loopback, which keep what they are sent.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

/// No test waits longer than this for what must come.
const DEADLINE: Duration = Duration::from_secs(20);

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Received {
    /// Request line and headers.
    pub head: String,
    /// The body.
    pub body: Vec<u8>,
}

/// An HTTP server that keeps requests, and answers the first ones with `answers`.
pub struct HttpCollector {
    /// Where it listens.
    pub origin: String,
    received: Arc<Mutex<Vec<Received>>>,
}

/// A UDP socket that keeps datagrams.
pub struct UdpCollector {
    /// Where it listens.
    pub port: u16,
    received: Arc<Mutex<Vec<String>>>,
}

impl HttpCollector {
    /// Each request is answered with the next of `answers` (status line and headers), then 200.
    pub async fn start(answers: &[&'static str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let received: Arc<Mutex<Vec<Received>>> = Arc::default();
        let answers = Arc::new(Mutex::new(answers.to_vec()));
        let kept = Arc::clone(&received);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream, Arc::clone(&kept), Arc::clone(&answers)));
            }
        });
        Self { origin, received }
    }

    /// What came so far.
    pub fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }

    /// Waits until that many requests came.
    pub async fn after(&self, count: usize) -> Vec<Received> {
        until(|| {
            let received = self.received();
            (received.len() >= count).then_some(received)
        })
        .await
    }
}

async fn answer(
    stream: TcpStream,
    kept: Arc<Mutex<Vec<Received>>>,
    answers: Arc<Mutex<Vec<&'static str>>>,
) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if stream.read_line(&mut head).await? == 0 {
                return Ok(());
            }
        }
        let length = head
            .lines()
            .find_map(|line| {
                line.to_ascii_lowercase()
                    .strip_prefix("content-length:")?
                    .trim()
                    .parse()
                    .ok()
            })
            .unwrap_or(0);
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await?;
        kept.lock().unwrap().push(Received { head, body });
        let answer = {
            let mut answers = answers.lock().unwrap();
            if answers.is_empty() {
                "200 OK"
            } else {
                answers.remove(0)
            }
        };
        let answer = format!("HTTP/1.1 {answer}\r\ncontent-length: 0\r\n\r\n");
        stream.write_all(answer.as_bytes()).await?;
    }
}

impl UdpCollector {
    /// Starts it.
    pub async fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let port = socket.local_addr().unwrap().port();
        let received: Arc<Mutex<Vec<String>>> = Arc::default();
        let kept = Arc::clone(&received);
        tokio::spawn(async move {
            let mut datagram = vec![0; 65536];
            while let Ok(length) = socket.recv(&mut datagram).await {
                let text = String::from_utf8(datagram[..length].to_vec()).unwrap();
                kept.lock().unwrap().push(text);
            }
        });
        Self { port, received }
    }

    /// Waits for a line.
    pub async fn line(&self, line: &str) {
        until(|| self.text().lines().any(|it| it == line).then_some(())).await;
    }

    /// Everything that came.
    pub fn text(&self) -> String {
        self.received.lock().unwrap().join("\n")
    }
}

/// Polls until there is something.
async fn until<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let found = async {
        loop {
            if let Some(found) = look() {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(DEADLINE, found)
        .await
        .expect("it came in time")
}
